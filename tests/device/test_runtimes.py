"""Real models on a booted device: its runtimes load and run them, and agree with the host's."""

from __future__ import annotations

import base64
import io
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import Provision
from tests.models import make
from tests.models.cases import CASES, apart, on_this_host
from tests.models.photos import CLASSES

pytestmark = pytest.mark.fleet

HATSERVE = "/opt/hatserve/bin/hatserve"

#: Not /tmp, which is memory.
FOLDER = "/var/tmp/hatfleet-models"


@pytest.fixture(scope="module")
def models() -> Path:
    return make.ensure()


@pytest.fixture(scope="module")
def send(provision: Provision, applied: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Copy a file, or an array as a .npy file, to the device; return where it is there."""
    local = tmp_path_factory.mktemp("send")

    def copy(name: str, content: Path | np.ndarray) -> str:
        source = content if isinstance(content, Path) else local / name
        if not isinstance(content, Path):
            np.save(source, content, allow_pickle=False)
        there = f"{FOLDER}/{name}"
        script = f"mkdir -p {FOLDER} && cat > {shlex.quote(there)}"
        provision("lab", "ssh", applied, "--", script, stdin=source)
        return there

    return copy


@pytest.fixture(scope="module")
def ran(
    applied: str, on_device: Callable[..., str], send: Callable[..., str], models: Path
) -> Callable[[str], tuple[Any, dict[str, np.ndarray]]]:
    """Run a case on the device; return what hatserve told and the outputs."""

    def run(name: str) -> tuple[Any, dict[str, np.ndarray]]:
        case = CASES[name]
        words = [HATSERVE, "run", send(case.model.name, models / case.model.name), "--json"]
        for number, (tensor, value) in enumerate(case.inputs(models).items()):
            words += ["--input", f"{tensor}={send(f'{name}-{number}.npy', value)}"]
        words += ["--output-dir", f"{FOLDER}/{name}"]
        report = json.loads(on_device(applied, shlex.join(words)))
        texts = {one["name"]: on_device(applied, f"base64 {shlex.quote(one['file'])}") for one in report["outputs"]}
        return report, {tensor: np.load(io.BytesIO(base64.b64decode(text))) for tensor, text in texts.items()}

    return run


@pytest.mark.parametrize("name", CASES)
def test_a_device_agrees_with_the_host(
    name: str, ran: Callable[[str], tuple[Any, dict[str, np.ndarray]]], models: Path
) -> None:
    report, found = ran(name)
    assert report["sha256"] == CASES[name].model.sha256
    assert apart(found, on_this_host(CASES[name], models)) == []
    if name == "efficientnet":
        assert CLASSES[report["outputs"][0]["argmax"]] == "espresso"


def test_what_is_no_model_is_refused_there_too(
    applied: str, on_device: Callable[..., str], send: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "cut.onnx").write_bytes(b"\x08\x08 cut")
    there = send("cut.onnx", tmp_path / "cut.onnx")
    said = on_device(applied, f"{HATSERVE} run {there} 2>&1", expect=1)
    assert "this is no ONNX model that onnxruntime can run" in said
    assert "Traceback" not in said
