"""TFLite models on the host's own LiteRT."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hatserve.backends import litert
from hatserve.backends.errors import InputMismatchError, NotAModelError, RuntimeMissingError
from hatserve.backends.model import ANY, Options, TensorSpec
from hatserve.errors import UsageError

from tests.models import tiny

DEFAULT = Options()
MODEL = tiny.tflite_model()


def rows(count: int, value: float = 1) -> np.ndarray:
    return np.full((count, 4), value, np.float32)


def test_a_model_says_what_it_takes_and_gives() -> None:
    with litert.load(MODEL, DEFAULT) as model:
        assert model.inputs == tuple(TensorSpec(name, "float32", (ANY, 4)) for name in ("left", "right"))
        assert model.outputs == (TensorSpec("total", "float32", (ANY, 4)),)


def test_calls_of_other_sizes_follow_each_other() -> None:
    with litert.load(MODEL, Options(threads=2)) as model:
        for count in (1, 3, 3, 2):
            total = model.run({"left": rows(count, 1), "right": rows(count, 2)})["total"]
            assert np.array_equal(total, rows(count, 3))


def test_outputs_stay_as_they_are_when_the_model_runs_again() -> None:
    with litert.load(MODEL, DEFAULT) as model:
        first = model.run({"left": rows(1), "right": rows(1)})["total"]
        model.run({"left": rows(1, 5), "right": rows(1, 5)})
        assert np.array_equal(first, rows(1, 2))


def test_a_wrong_input_is_refused_and_the_model_goes_on() -> None:
    with litert.load(MODEL, DEFAULT) as model:
        with pytest.raises(InputMismatchError, match="has the shape 1 x 5"):
            model.run({"left": np.zeros((1, 5), np.float32), "right": rows(1)})
        with pytest.raises(InputMismatchError, match="cannot run on these inputs"):
            model.run({"left": rows(2), "right": rows(3)})
        assert np.array_equal(model.run({"left": rows(2), "right": rows(2)})["total"], rows(2, 2))


@pytest.mark.parametrize(
    "data",
    [b"", b"nonsense", MODEL[:200], tiny.onnx_model(), b"\0" * 1024],
    ids=["empty", "nonsense", "cut", "onnx", "zeros"],
)
def test_what_is_no_model_is_refused(data: bytes) -> None:
    with pytest.raises(NotAModelError, match="no TFLite model that LiteRT can run"):
        litert.load(data, DEFAULT)


def test_without_a_runtime_the_package_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ai_edge_litert", "tflite_runtime"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RuntimeMissingError, match="need the Python package ai-edge-litert"):
        litert.load(MODEL, DEFAULT)


def test_the_predecessor_is_taken_where_there_is_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    from ai_edge_litert import interpreter

    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setitem(sys.modules, "tflite_runtime", SimpleNamespace(interpreter=interpreter))
    with litert.load(MODEL, DEFAULT) as model:
        assert np.array_equal(model.run({"left": rows(1), "right": rows(1)})["total"], rows(1, 2))


def test_an_unknown_delegate_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match="no delegate 'gpu'") as caught:
        litert.load(MODEL, Options(delegate="gpu"))
    assert caught.value.hint == "there is: edgetpu"


def test_a_delegate_whose_library_is_missing_is_told(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(litert.DELEGATES, "edgetpu", "libno-such-thing.so.1")
    with pytest.raises(RuntimeMissingError, match=r"edgetpu \(libno-such-thing\.so\.1\) cannot be used"):
        litert.load(MODEL, Options(delegate="edgetpu"))
    assert "Traceback" not in capfd.readouterr().err
