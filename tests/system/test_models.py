"""Real models on the host's own runtimes: they come out as pinned, and know what is in a photograph."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hatserve.backends import litert, onnx
from hatserve.backends.model import Options

from tests.models import make
from tests.models.cases import CASES, apart, on_this_host
from tests.models.catalogue import ARTEFACTS, CHELSEA, COFFEE, EFFICIENTNET, ROCKET, Artefact
from tests.models.photos import CLASSES, pixels

#: The likeliest classes of the photographs, with their probabilities as they were measured once.
SHOWN = {
    COFFEE: (("espresso", 0.951),),
    CHELSEA: (("tiger cat", 0.385), ("Egyptian cat", 0.363), ("tabby", 0.167)),
    ROCKET: (("missile", 0.320), ("projectile", 0.211)),
}


@pytest.fixture(scope="module")
def models() -> Path:
    return make.ensure()


def hatserve(*arguments: object) -> Any:
    command = [str(Path(sys.executable).with_name("hatserve")), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_files_are_those_of_the_catalogue_and_sha256sum_says_so(models: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=models, check=True, capture_output=True)
    names = {path.name for path in models.iterdir()}
    assert names == {"SHA256SUMS", "LICENCES", *(one.name for one in ARTEFACTS)}
    licences = (models / "LICENCES").read_text()
    assert all(one.name in licences and one.licence in licences for one in ARTEFACTS)


def test_converting_again_gives_the_same_bytes(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    # In another process, whose sets and dictionaries are in another order.
    command = [sys.executable, "-m", "tests.models.make"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    again = Path(done.stdout.strip())
    assert again != models
    assert again.name == models.name
    for one in ARTEFACTS:
        assert hashlib.sha256((again / one.name).read_bytes()).hexdigest() == one.sha256


def test_a_damaged_file_is_made_again(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    copy = tmp_path / "hatfleet" / "models" / models.name
    copy.mkdir(parents=True)
    for path in models.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    (copy / EFFICIENTNET.name).write_bytes(b"\0" * 100)
    assert make.ensure() == copy
    assert make.whole(copy)


@pytest.mark.parametrize("photograph", SHOWN, ids=lambda one: one.name)
def test_the_classifier_knows_what_a_photograph_shows(models: Path, photograph: Artefact) -> None:
    with onnx.load((models / EFFICIENTNET.name).read_bytes(), Options()) as model:
        found = model.run({"image": pixels(models / photograph.name, 224)})["probabilities"][0]
    assert abs(found.sum() - 1) < 1e-5
    order = found.argsort()[::-1]
    for place, (name, probability) in enumerate(SHOWN[photograph]):
        assert CLASSES[int(order[place])] == name
        assert abs(found[order[place]] - probability) < 0.01


@pytest.mark.parametrize("name", CASES)
def test_the_command_gives_what_the_library_gives(models: Path, name: str, tmp_path: Path) -> None:
    case = CASES[name]
    given = []
    for number, (tensor, value) in enumerate(case.inputs(models).items()):
        np.save(tmp_path / f"{number}.npy", value)
        given += ["--input", f"{tensor}={tmp_path}/{number}.npy"]
    report = hatserve("run", models / case.model.name, *given, "--output-dir", tmp_path / "out", "--json")
    assert report["sha256"] == case.model.sha256
    found = {one["name"]: np.load(one["file"]) for one in report["outputs"]}
    assert apart(found, on_this_host(case, models)) == []


@pytest.mark.parametrize("name", CASES)
def test_more_threads_give_the_same(models: Path, name: str) -> None:
    case = CASES[name]
    one, two = (hatserve("run", models / case.model.name, "--threads", count, "--json") for count in (1, 2))
    assert [out["shape"] for out in one["outputs"]] == [out["shape"] for out in two["outputs"]]
    assert [out["argmax"] for out in one["outputs"]] == [out["argmax"] for out in two["outputs"]]


def test_a_wake_word_remembers_until_it_is_loaded_again(models: Path) -> None:
    case = CASES["wake-word-inside"]
    data = (models / case.model.name).read_bytes()
    with litert.load(data, Options()) as model:
        first, second = (model.run(case.inputs(models)) for _ in range(2))
    assert len(np.unique(first[model.outputs[0].name])) > 20
    assert apart(first, second) != []
    assert apart(first, on_this_host(case, models)) == []


def test_outputs_that_are_too_far_apart_are_found() -> None:
    want = {"f": np.asarray([1.0, -100.0], np.float32), "i": np.asarray([3], np.uint8)}
    assert apart({"f": want["f"] + np.float32(0.05), "i": want["i"] + np.uint8(1)}, want) == []
    assert apart({**want, "f": want["f"] + np.float32(0.2)}, want) == ["f: 0.2 apart, 0.1 allowed"]
    assert apart({**want, "f": want["f"] * np.float32("nan")}, want) == ["f: nan apart, 0.1 allowed"]
    assert apart({**want, "i": want["i"] + np.uint8(2)}, want) == ["i: 2 apart, 1 allowed"]
    for other in ({"f": want["f"]}, {**want, "i": want["i"].astype(np.int8)}, {**want, "f": want["f"][:1]}):
        assert apart(other, want) == ["the outputs have other names, shapes or types"]
