"""ONNX models on the host's own onnxruntime."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hatserve.backends import onnx
from hatserve.backends.errors import InputMismatchError, NotAModelError, OutOfMemoryError, RuntimeMissingError
from hatserve.backends.model import ANY, Options, TensorSpec

from tests.models import tiny
from tests.unit.hatserve import graphs

DEFAULT = Options()


def picture(count: int = 1) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, (count, tiny.SIDE, tiny.SIDE, 3), np.uint8)


def test_a_model_says_what_it_takes_and_gives() -> None:
    with onnx.load(tiny.onnx_model(), DEFAULT) as model:
        assert model.inputs == (TensorSpec("image", "uint8", (ANY, tiny.SIDE, tiny.SIDE, 3)),)
        assert model.outputs == (TensorSpec("probabilities", "float32", (ANY, tiny.CLASSES)),)


def test_what_comes_out_depends_on_what_goes_in_and_on_nothing_else() -> None:
    with onnx.load(tiny.onnx_model(), DEFAULT) as model:
        pictures = picture(2)
        both = model.run({"image": pictures})["probabilities"]
        assert both.shape == (2, tiny.CLASSES)
        assert np.allclose(both.sum(axis=1), 1)
        first = model.run({"image": pictures[:1]})["probabilities"]
        assert np.allclose(first, both[:1], atol=1e-6)
        assert not np.allclose(both[0], both[1], atol=1e-6)


def test_outputs_stay_as_they_are_when_the_model_runs_again() -> None:
    with onnx.load(tiny.onnx_model(), DEFAULT) as model:
        first = model.run({"image": picture()})["probabilities"]
        before = first.copy()
        model.run({"image": 255 - picture()})
        assert np.array_equal(first, before)


def test_a_wrong_input_is_refused_before_anything_runs() -> None:
    with onnx.load(tiny.onnx_model(), DEFAULT) as model, pytest.raises(InputMismatchError, match="float64, not uint8"):
        model.run({"image": picture().astype(float)})


@pytest.mark.parametrize(
    "data",
    [b"", b"nonsense", tiny.onnx_model()[:1000], graphs.of_an_unknown_operator(), tiny.tflite_model()],
    ids=["empty", "nonsense", "cut", "unknown-operator", "tflite"],
)
def test_what_is_no_model_is_refused(data: bytes) -> None:
    with pytest.raises(NotAModelError, match="no ONNX model that onnxruntime can run"):
        onnx.load(data, DEFAULT)


@pytest.mark.parametrize("data", [graphs.of_words(), graphs.of_a_list()], ids=["words", "list"])
def test_a_model_of_anything_but_numbers_is_refused(data: bytes) -> None:
    with pytest.raises(NotAModelError, match="cannot be given or taken here"):
        onnx.load(data, DEFAULT)


@pytest.mark.parametrize("place", ["initialiser", "node"])
def test_weights_outside_of_the_bytes_are_never_read(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("weights.bin").write_bytes(np.ones(graphs.SIZE, np.float32).tobytes())
    names = ["weights.bin", "./weights.bin", str(tmp_path / "weights.bin"), f"../..{tmp_path}/weights.bin"]
    # The first of the others is how onnxruntime itself notes that weights are at an address in memory.
    for name in (*names, "*/_ORT_MEM_ADDR_/*", "../null", ""):
        with pytest.raises(NotAModelError):
            onnx.load(graphs.with_weights_in(name, in_node=place == "node"), DEFAULT)
    assert capfd.readouterr().out == ""


def test_onnxruntime_itself_would_read_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # If this fails, onnxruntime has become stricter, and the test above proves less than it says.
    import onnxruntime

    monkeypatch.chdir(tmp_path)
    Path("weights.bin").write_bytes(np.ones(graphs.SIZE, np.float32).tobytes())
    session = onnxruntime.InferenceSession(graphs.with_weights_in("weights.bin"))
    assert session.run(None, {"x": np.zeros(graphs.SIZE, np.float32)})[0].sum() == graphs.SIZE


def test_memory_that_is_not_there_is_told_and_the_model_goes_on() -> None:
    with onnx.load(graphs.that_fills(), DEFAULT) as model:
        with pytest.raises(OutOfMemoryError, match="not enough memory"):
            model.run({"shape": np.asarray([1 << 24, 1 << 24])})
        assert model.run({"shape": np.asarray([2, 2])})["zeros"].shape == (2, 2)


def test_inputs_that_only_the_graph_knows_to_be_wrong_are_an_error_of_the_input() -> None:
    with onnx.load(graphs.that_fills(), DEFAULT) as model, pytest.raises(InputMismatchError, match="cannot run"):
        model.run({"shape": np.asarray([-5, 2])})


def test_without_onnxruntime_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RuntimeMissingError, match="need the Python package onnxruntime"):
        onnx.load(tiny.onnx_model(), DEFAULT)


def test_telemetry_is_off_before_onnxruntime_is_imported() -> None:
    script = (
        "import sys, os\n"
        "from hatserve.backends import onnx\n"
        "assert 'onnxruntime' not in sys.modules\n"
        "class Watch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'onnxruntime': print(os.environ.get('ORT_DISABLE_TELEMETRY'))\n"
        "sys.meta_path.insert(0, Watch())\n"
        "print(onnx.runtime().split()[0])\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "onnxruntime"]


def test_threads_sleep_while_they_wait_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    seen = []
    real = onnxruntime.InferenceSession

    def watched(data: bytes, settings: onnxruntime.SessionOptions, **more: object) -> object:
        seen.append(
            (settings.get_session_config_entry("session.intra_op.allow_spinning"), settings.intra_op_num_threads)
        )
        return real(data, settings, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", watched)
    onnx.load(tiny.onnx_model(), DEFAULT).close()
    onnx.load(tiny.onnx_model(), Options(threads=2, spinning=True)).close()
    assert seen == [("0", 1), ("1", 2)]
