"""What all backends share: telling files apart, options, what inputs must be."""

from __future__ import annotations

import numpy as np
import pytest
from hatserve.backends import BACKENDS, kind_of
from hatserve.backends.errors import InputMismatchError, NotAModelError
from hatserve.backends.model import ANY, Options, TensorSpec, check_inputs
from hatserve.errors import UsageError

from tests.models import tiny

SPECS = (TensorSpec("image", "uint8", (ANY, 4, 3)), TensorSpec("scale", "float32", ()))
GOOD = {"image": np.zeros((2, 4, 3), np.uint8), "scale": np.float32(1)}


def test_the_content_of_a_file_says_what_runs_it() -> None:
    assert kind_of(tiny.onnx_model(), "model.bin") == "onnx"
    assert kind_of(tiny.tflite_model(), "model.onnx") == "litert"
    assert kind_of(b"\x01HEF....", "model.onnx") == "hailo"
    assert kind_of(b"\x3a\x00", "model.onnx") == "onnx"


@pytest.mark.parametrize("content", [b"", b"TFL3", b"HEF\x01", b"#!/bin/sh\n"])
def test_other_files_are_refused_by_name(content: bytes) -> None:
    with pytest.raises(NotAModelError, match=r"^notes\.txt is no ONNX, TFLite or HEF file"):
        kind_of(content, "notes.txt")


def test_inputs_that_fit_are_taken() -> None:
    check_inputs(SPECS, {**GOOD, "scale": np.asarray(1, np.float32)})


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"image": np.zeros((2, 4, 3), np.int8)}, "'image' is of type int8, not uint8"),
        ({"image": np.zeros((2, 3, 4), np.uint8)}, "'image' has the shape 2 x 3 x 4"),
        ({"image": np.zeros((4, 3), np.uint8)}, "'image' has the shape 4 x 3"),
        ({"image": np.zeros((0, 4, 3), np.uint8)}, "'image' has the shape 0 x 4 x 3"),
        ({"scale": np.zeros(1, np.float32)}, "'scale' has the shape 1"),
        ({"colour": np.zeros(1)}, "the model has no input 'colour'"),
    ],
)
def test_an_input_that_does_not_fit_is_named_with_what_would(change: dict[str, np.ndarray], found: str) -> None:
    with pytest.raises(InputMismatchError) as caught:
        check_inputs(SPECS, {**GOOD, **change})
    assert found in str(caught.value)
    assert caught.value.hint == "the model takes: image (uint8, any x 4 x 3); scale (float32, one number)"


def test_a_missing_input_is_named() -> None:
    with pytest.raises(InputMismatchError, match="'scale' is missing"):
        check_inputs(SPECS, {"image": GOOD["image"]})


@pytest.mark.parametrize(
    ("backend", "options"),
    [
        ("onnx", Options(delegate="edgetpu")),
        ("onnx", Options(formats={"y": "uint8"})),
        ("litert", Options(spinning=True)),
        ("hailo", Options(threads=2)),
    ],
)
def test_an_option_that_a_backend_has_no_use_for_is_refused(backend: str, options: Options) -> None:
    with pytest.raises(UsageError, match=f"the backend {backend} has no option"):
        BACKENDS[backend].load(b"", options)


def test_numbers_below_one_are_refused() -> None:
    for options in (Options(threads=0), Options(timeout_ms=0)):
        with pytest.raises(UsageError, match="start at 1"):
            BACKENDS["onnx"].load(tiny.onnx_model(), options)
