"""``hatserve run``: a model from a file, inputs from files or made up, and what is told about it."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hatserve.backends.model import ANY, TensorSpec
from hatserve.cli.main import main

from hatserve import trial
from tests.models import tiny


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny.onnx_model())
    return path


@pytest.fixture
def adder(tmp_path: Path) -> Path:
    path = tmp_path / "adder.tflite"
    path.write_bytes(tiny.tflite_model())
    return path


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    assert main(["run", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 2) -> str:
    assert main(["run", *map(str, arguments)]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("hatserve: ")
    return said.err


def test_what_is_told_is_what_was_run(model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    report = told(capsys, model, "--repeat", 5, "--output-dir", tmp_path / "out")
    assert report["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert report["backend"] == "onnx"
    assert report["runtime"].startswith("onnxruntime ")
    assert [one["name"] for one in report["inputs"]] == ["image"]
    (output,) = report["outputs"]
    saved = np.load(output["file"])
    assert (list(saved.shape), str(saved.dtype)) == (output["shape"], output["dtype"]) == ([1, tiny.CLASSES], "float32")
    assert output["sha256"] == hashlib.sha256(saved.tobytes()).hexdigest()
    assert output["argmax"] == saved.argmax()
    latency = report["latency_ms"]
    assert report["runs"] == 5
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]


def test_made_up_inputs_depend_on_the_seed_alone(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, again, other = (told(capsys, model, "--seed", seed) for seed in (7, 7, 8))
    assert first["inputs"] == again["inputs"] != other["inputs"]
    assert first["outputs"] == again["outputs"]


def test_inputs_come_from_files(adder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    files = []
    for name, value in {"left": 1, "right": 2}.items():
        np.save(tmp_path / f"{name}.npy", np.full((3, 4), value, np.float32))
        files += ["--input", f"{name}={tmp_path / name}.npy"]
    report = told(capsys, adder, *files, "--output-dir", tmp_path)
    assert np.array_equal(np.load(report["outputs"][0]["file"]), np.full((3, 4), 3, np.float32))


def test_people_get_lines(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(model), "--repeat", "3"]) == 0
    words = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert words == ["model", "runtime", "input", "output", "loading", "latency"]


def test_a_model_that_is_not_there_or_none_is_refused(
    model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "the model cannot be read" in refused(capsys, tmp_path / "absent.onnx")
    assert "the model cannot be read" in refused(capsys, tmp_path)
    (tmp_path / "page.html").write_text("<html>")
    assert "page.html is no ONNX, TFLite or HEF file" in refused(capsys, tmp_path / "page.html", code=1)
    model.write_bytes(model.read_bytes()[:-100])
    assert "no ONNX model that onnxruntime can run" in refused(capsys, model, code=1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--repeat", "0"], "at least once, not 0 times"),
        (["--threads", "0"], "start at 1"),
        (["--input", "image"], "--input takes NAME=VALUE, not 'image'"),
        (["--input", "=x.npy"], "--input takes NAME=VALUE, not '=x.npy'"),
        (["--input", "picture=x.npy"], "the model has no input 'picture'\n  its inputs: image"),
        (["--input", "image=absent.npy"], "absent.npy cannot be read as a .npy file"),
        (["--delegate", "edgetpu"], "the backend onnx has no option delegate"),
        (["--format", "probabilities=uint8"], "the backend onnx has no option formats"),
    ],
)
def test_wrong_arguments_are_refused(
    arguments: list[str], said: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(capsys, model, *arguments)


def test_an_input_of_the_wrong_shape_is_refused(
    model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 16, 16, 4), np.uint8))
    error = refused(capsys, model, "--input", f"image={tmp_path / 'x.npy'}")
    assert (
        "the input 'image' has the shape 1 x 16 x 16 x 4\n  the model takes: image (uint8, any x 16 x 16 x 3)" in error
    )


def test_a_file_that_would_run_code_or_has_many_arrays_is_refused(
    model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    np.save(tmp_path / "objects.npy", np.asarray([object()]), allow_pickle=True)
    np.savez(tmp_path / "many.npz", a=np.zeros(1), b=np.zeros(1))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "objects.npy").read_bytes()[:20])
    (tmp_path / "empty.npy").write_bytes(b"")
    for name in ("objects.npy", "cut.npy", "empty.npy"):
        assert "cannot be read as a .npy file" in refused(capsys, model, "--input", f"image={tmp_path / name}")
    assert "has several arrays" in refused(capsys, model, "--input", f"image={tmp_path / 'many.npz'}")


def test_a_file_of_more_numbers_than_there_is_memory_is_told(
    model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": (1 << 30, 1 << 20)}
    with (tmp_path / "huge.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
    assert "not enough memory" in refused(capsys, model, "--input", f"image={tmp_path / 'huge.npy'}", code=1)


def test_outputs_that_cannot_be_written_are_told(
    model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refused(capsys, model, "--output-dir", tmp_path / "file", code=1)


def test_a_missing_runtime_is_told(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "need the Python package onnxruntime" in refused(capsys, model, code=1)


def test_percentiles_are_latencies_that_were_measured() -> None:
    assert trial.percentiles((5.0,)) == dict.fromkeys(("first", "p50", "p90", "p99", "max"), 5.0)
    hundred = tuple(float(number) for number in range(100, 0, -1))
    assert trial.percentiles(hundred) == {"first": 100, "p50": 50, "p90": 90, "p99": 99, "max": 100}


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", "float64"])
def test_made_up_numbers_are_of_the_type_and_shape_asked_for(dtype: str) -> None:
    found = trial.made_up(TensorSpec("x", dtype, (ANY, 50, 2)), 0)
    assert (str(found.dtype), found.shape) == (dtype, (1, 50, 2))
    assert len(np.unique(found)) > 1


def test_names_of_tensors_become_names_of_files(tmp_path: Path) -> None:
    paths = trial.save({"a/b:0": np.zeros(1), "a_b_0": np.ones(1), "../x": np.ones(1)}, tmp_path)
    assert [path.parent for path in paths.values()] == [tmp_path] * 3
    assert np.load(paths["a_b_0"]) == 1
