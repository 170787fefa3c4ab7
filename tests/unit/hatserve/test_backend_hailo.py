"""HEF models on the fake hailo_platform: what HailoRT demands, and what goes wrong with chips."""

from __future__ import annotations

import json
import multiprocessing
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hatserve.backends import hailo, hailo_status, onnx
from hatserve.backends.errors import (
    InputMismatchError,
    ModelFailedError,
    NotAModelError,
    OutOfMemoryError,
    RuntimeMissingError,
)
from hatserve.backends.model import Options, TensorSpec
from hatserve.cli.main import main
from hatserve.errors import HatserveError, UsageError

from tests.fakes.chip import Chip, boxes_hef, hef
from tests.models import tiny

DEFAULT = Options()
TINY = hef(tiny.onnx_model())
PICTURE = np.random.default_rng(3).integers(0, 255, (1, tiny.SIDE, tiny.SIDE, 3), np.uint8)
BOXES = [[[0.1, 0.2, 0.3, 0.4, 0.9], [0.5, 0.5, 0.6, 0.6, 0.8]], [], [[0.0, 0.0, 1.0, 1.0, 0.7]]]


def test_a_model_says_what_it_takes_and_gives(chip: Chip) -> None:
    with hailo.load(TINY, DEFAULT) as model:
        assert model.inputs == (TensorSpec("image", "uint8", (1, tiny.SIDE, tiny.SIDE, 3)),)
        assert model.outputs == (TensorSpec("probabilities", "float32", (1, tiny.CLASSES)),)


def test_the_same_network_gives_the_same_as_on_the_processor(chip: Chip) -> None:
    with hailo.load(TINY, DEFAULT) as model, onnx.load(tiny.onnx_model(), DEFAULT) as other:
        for picture in (PICTURE, 255 - PICTURE):
            found = model.run({"image": picture})["probabilities"]
            assert np.allclose(found, other.run({"image": picture})["probabilities"], atol=1e-6)


def test_outputs_stay_as_they_are_when_the_model_runs_again(chip: Chip) -> None:
    with hailo.load(TINY, DEFAULT) as model:
        first = model.run({"image": PICTURE})["probabilities"]
        before = first.copy()
        model.run({"image": 255 - PICTURE})
        assert np.array_equal(first, before)


def test_arrays_that_hailort_refuses_are_made_fit_for_it(chip: Chip, fake_module: ModuleType) -> None:
    wide = np.asfortranarray(PICTURE)
    frozen = np.frombuffer(PICTURE.tobytes(), np.uint8).reshape(PICTURE.shape)
    with hailo.load(TINY, DEFAULT) as model:
        expected = model.run({"image": PICTURE})["probabilities"]
        for picture in (wide, frozen):
            assert np.array_equal(model.run({"image": picture})["probabilities"], expected)
    # And the fake does refuse them.
    stream = fake_module.ConfiguredInferModel.Bindings.InferStream(None)
    with pytest.raises(fake_module.HailoRTException, match="C_CONTIGUOUS"):
        stream.set_buffer(wide[0])
    with pytest.raises(ValueError, match="not writeable"):
        stream.set_buffer(frozen[0])


def test_an_output_comes_in_the_type_that_was_asked_for(chip: Chip) -> None:
    with hailo.load(TINY, Options(formats={"probabilities": "uint8"})) as model, hailo.load(TINY, DEFAULT) as other:
        assert model.outputs[0].dtype == "uint8"
        found = model.run({"image": PICTURE})["probabilities"]
        assert found.dtype == np.uint8
        assert np.allclose(found / 255, other.run({"image": PICTURE})["probabilities"], atol=1 / 255)


@pytest.mark.parametrize("formats", [{"probabilities": "int4"}, {"scores": "uint8"}])
def test_an_output_or_type_that_there_is_not_is_refused(chip: Chip, formats: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="cannot be had as") as caught:
        hailo.load(TINY, Options(formats=formats))
    assert caught.value.hint == "outputs: probabilities; types: uint8, uint16, float32"
    assert chip.groups == []


def test_boxes_come_as_one_array_with_those_of_a_class_side_by_side(chip: Chip) -> None:
    with hailo.load(boxes_hef(BOXES, most=4), DEFAULT) as model:
        assert model.outputs == (TensorSpec("boxes", "float32", (1, 3, 5, 4)),)
        found = model.run({"image": np.zeros((1, 8, 8, 3), np.uint8)})["boxes"]
    assert found.shape == (1, 3, 5, 4)
    for number, boxes in enumerate(BOXES):
        for place in range(4):
            expected = boxes[place] if place < len(boxes) else [0] * 5
            assert np.allclose(found[0, number, :, place], expected)


def test_boxes_in_an_order_that_is_not_taken_are_refused(chip: Chip) -> None:
    with pytest.raises(NotAModelError, match="come as HAILO_NMS_BY_SCORE"):
        hailo.load(boxes_hef(BOXES, most=4, order="HAILO_NMS_BY_SCORE"), DEFAULT)
    assert chip.groups == []


def test_a_wrong_input_is_refused_before_the_chip_sees_it(chip: Chip) -> None:
    with hailo.load(TINY, DEFAULT) as model:
        with pytest.raises(InputMismatchError, match="has the shape 16 x 16 x 3"):
            model.run({"image": PICTURE[0]})
        assert model.run({"image": PICTURE})


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (64, "the kernel driver is not loaded"),
        (73, "in use by another process"),
        (74, "no free chip: another process holds it"),
        (76, "different versions"),
        (87, "got no answer from the chip"),
    ],
)
def test_a_chip_that_cannot_be_had_is_told_by_what_is_wrong(chip: Chip, status: int, said: str) -> None:
    chip.opening = status
    with pytest.raises(HatserveError, match=said) as caught:
        hailo.load(TINY, DEFAULT)
    assert f"(HailoRT status {status})" in str(caught.value)
    assert caught.value.hint


def test_memory_that_is_not_there_is_told(chip: Chip) -> None:
    chip.opening = 81
    with pytest.raises(OutOfMemoryError, match="no contiguous memory"):
        hailo.load(TINY, DEFAULT)


def test_a_status_without_a_sentence_of_ours_is_told_in_hailorts_words(chip: Chip) -> None:
    chip.opening = 71
    with pytest.raises(HatserveError, match=r"does not load the model: .* 71 \(HAILO_OUT_OF_FW_MEMORY\)"):
        hailo.load(TINY, DEFAULT)


def test_a_file_for_another_family_is_refused_and_the_chip_is_free_again(chip: Chip) -> None:
    with pytest.raises(NotAModelError, match=r"another family of chips \(HailoRT status 93\)"):
        hailo.load(hef(tiny.onnx_model(), family="hailo8"), DEFAULT)
    assert chip.groups == []
    hailo.load(TINY, DEFAULT).close()


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"", "damaged"), (TINY[:-1], "damaged"), (b"\x02" + TINY[1:], "does not take the file")],
    ids=["empty", "cut", "other"],
)
def test_what_is_no_hef_or_a_damaged_one_is_refused(chip: Chip, data: bytes, said: str) -> None:
    with pytest.raises(NotAModelError, match=said):
        hailo.load(data, DEFAULT)
    assert chip.groups == []


def test_models_come_from_bytes_of_any_kind_and_never_from_a_path(chip: Chip, fake_module: ModuleType) -> None:
    # What is no bytes is a path to the bindings, even a bytearray.
    with fake_module.VDevice() as device, pytest.raises(fake_module.HailoRTException, match="OPEN_FILE"):
        device.create_infer_model(bytearray(TINY))
    hailo.load(bytearray(TINY), DEFAULT).close()  # type: ignore[arg-type]


def test_two_models_share_the_chip_which_is_free_when_both_are_closed(chip: Chip, fake_module: ModuleType) -> None:
    with hailo.load(TINY, DEFAULT) as one, hailo.load(boxes_hef(BOXES, most=2), DEFAULT) as other:
        assert one.run({"image": PICTURE})
        assert other.run({"image": np.zeros((1, 8, 8, 3), np.uint8)})
        with pytest.raises(fake_module.HailoRTException, match="74"):
            fake_module.VDevice()
    assert chip.groups == []
    one.close()


@pytest.mark.parametrize(
    ("status", "said"),
    [(62, "firmware stopped or started again"), (63, "pipeline was shut down"), (87, "no answer from the chip")],
)
def test_one_failure_ends_the_model_which_must_be_loaded_again(chip: Chip, status: int, said: str) -> None:
    with hailo.load(TINY, DEFAULT) as model:
        expected = model.run({"image": PICTURE})["probabilities"]
        chip.failing = status
        with pytest.raises(ModelFailedError, match=said):
            model.run({"image": PICTURE})
        for _ in range(2):
            with pytest.raises(ModelFailedError, match=rf"the model failed before: .*{said}"):
                model.run({"image": PICTURE})
    assert chip.groups == []
    with hailo.load(TINY, DEFAULT) as model:
        assert np.array_equal(model.run({"image": PICTURE})["probabilities"], expected)


def test_waiting_alone_would_not_have_told(chip: Chip, fake_module: ModuleType) -> None:
    """As in HailoRT: wait() ends well when the inference did not, and the output is whatever was in the buffer."""
    chip.failing = 62
    with fake_module.VDevice() as device:
        network = device.create_infer_model(TINY)
        with network.configure() as configured:
            untouched = np.full(tiny.CLASSES, 42, np.uint8)
            bindings = configured.create_bindings({"image": PICTURE[0]}, {"probabilities": untouched})
            configured.run_async([bindings]).wait(10_000)
            assert (bindings.output().get_buffer() == 42).all()
            with pytest.raises(fake_module.HailoCommunicationClosedException):
                configured.run_async([bindings])
        with pytest.raises(AttributeError):
            configured.run_async([bindings])


@pytest.mark.parametrize("trouble", ["hanging", "stuck"])
def test_a_chip_that_does_not_answer_ends_the_model_after_the_time_given(chip: Chip, trouble: str) -> None:
    with hailo.load(TINY, Options(timeout_ms=50)) as model:
        setattr(chip, trouble, True)
        with pytest.raises(ModelFailedError, match=r"did not answer in time \(HailoRT status 4\)"):
            model.run({"image": PICTURE})
        setattr(chip, trouble, False)
        with pytest.raises(ModelFailedError, match="failed before"):
            model.run({"image": PICTURE})


def _run_there(model: Any, answer: Any) -> None:
    try:
        model.run({"image": PICTURE})
    except ModelFailedError as error:
        answer.put(str(error))
    else:
        answer.put("it ran")


def test_another_process_is_refused(chip: Chip) -> None:
    context = multiprocessing.get_context("fork")
    answer = context.SimpleQueue()
    with hailo.load(TINY, DEFAULT) as model:
        child = context.Process(target=_run_there, args=(model, answer))
        child.start()
        child.join(30)
        assert answer.get() == "the model was loaded by another process"
        assert model.run({"image": PICTURE})


def test_the_code_of_an_exception_is_found_wherever_it_is(fake_module: ModuleType) -> None:
    for status in hailo_status.MEANINGS:
        alone = fake_module._exception(status)
        assert hailo_status.status_of(alone) == status
        with pytest.raises(fake_module.HailoRTException) as caught:
            fake_module._fail(status)
        assert hailo_status.status_of(caught.value) == status
    assert hailo_status.status_of(fake_module.HailoRTException("something else")) is None
    assert "something else" in str(hailo_status.running_error(fake_module.HailoRTException("something else")))


def test_without_hailo_platform_its_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hailo_platform", None)
    with pytest.raises(RuntimeMissingError, match="no PyPI package") as caught:
        hailo.load(TINY, DEFAULT)
    assert "python3-h10-hailort" in str(caught.value.hint)


def test_bindings_of_another_version_than_the_library_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "hailo_platform"
    package.mkdir()
    (package / "__init__.py").write_text(
        "raise ImportError('version (5.1.1) does not match pyhailort version (5.2.0)')"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(RuntimeMissingError, match=r"do not fit each other: version \(5\.1\.1\) does not match"):
        hailo.load(TINY, DEFAULT)


def test_the_command_runs_a_hef(chip: Chip, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tiny.hef"
    path.write_bytes(TINY)
    assert main(["run", str(path), "--repeat", "3", "--format", "probabilities=uint8", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["backend"], report["runtime"]) == ("hailo", "hailo_platform 5.2.0")
    assert report["outputs"][0]["dtype"] == "uint8"
    chip.opening = 74
    assert main(["run", str(path)]) == 1
    assert "no free chip" in capsys.readouterr().err
