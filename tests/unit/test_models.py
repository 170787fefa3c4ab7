"""How test models are made: nothing of a checkpoint is run, and the same bytes come out everywhere."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import struct
import sys
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from hatfleet.common.errors import HatfleetError
from tests.models import catalogue, inside, make, pth, tiny
from tests.models.graph import Graph

ROOT = Path(__file__).parents[2]
NUMBERS = np.arange(12, dtype="<f4")


class Storage:
    """Stands for a storage, which a pickle only refers to."""


class Tensor:
    """Stands for a tensor: pickled as a call of PyTorch's function."""

    def __init__(self, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
        self.parts = (Storage(), offset, shape, strides)

    def __reduce__(self) -> tuple[Any, ...]:
        import torch._utils  # type: ignore[import-not-found]

        return torch._utils._rebuild_tensor_v2, (*self.parts, False, OrderedDict())


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A stand-in with the names that a checkpoint uses, enough to write one."""
    top, utils = ModuleType("torch"), ModuleType("torch._utils")

    def rebuild() -> None: ...

    rebuild.__module__, rebuild.__qualname__, rebuild.__name__ = (
        "torch._utils",
        "_rebuild_tensor_v2",
        "_rebuild_tensor_v2",
    )
    utils.__dict__["_rebuild_tensor_v2"] = rebuild
    top.__dict__.update({"FloatStorage": type("FloatStorage", (), {"__module__": "torch"}), "_utils": utils})
    monkeypatch.setitem(sys.modules, "torch", top)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return top


def checkpoint(torch: ModuleType, state: dict[str, Any], elements: bytes = NUMBERS.tobytes(), count: int = 12) -> bytes:
    """Return a file as PyTorch used to write it."""
    stream = io.BytesIO()

    class Pickler(pickle.Pickler):
        def persistent_id(self, one: Any) -> Any:
            return ("storage", torch.FloatStorage, "0", "cpu", count, None) if isinstance(one, Storage) else None

    for part in (pth.MAGIC, pth.PROTOCOL, {"little_endian": True}, OrderedDict(state), ["0"]):
        Pickler(stream, protocol=2).dump(part)
    return stream.getvalue() + struct.pack("<q", count) + elements


def test_tensors_are_read_with_their_places_and_strides(torch: ModuleType) -> None:
    found = pth.tensors(
        checkpoint(
            torch, {"rows": Tensor(0, (3, 4), (4, 1)), "turned": Tensor(0, (4, 3), (1, 4)), "last": Tensor(11, (), ())}
        )
    )
    assert np.array_equal(found["rows"], NUMBERS.reshape(3, 4))
    assert np.array_equal(found["turned"], NUMBERS.reshape(3, 4).T)
    assert found["last"].shape == ()
    assert found["last"] == 11


@pytest.mark.parametrize(
    "outside",
    [Tensor(0, (13,), (1,)), Tensor(10, (3,), (1,)), Tensor(0, (2, 2), (11, 1)), Tensor(-1, (2,), (1,))],
    ids=["long", "late", "strided", "early"],
)
def test_a_tensor_outside_of_its_storage_is_refused(torch: ModuleType, outside: Tensor) -> None:
    with pytest.raises(pth.CheckpointError, match="outside of its storage"):
        pth.tensors(checkpoint(torch, {"w": outside}))


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("false",)


def test_a_checkpoint_that_calls_something_is_refused_before_it_does(torch: ModuleType) -> None:
    with pytest.raises(pth.CheckpointError, match=r"asks for posix\.system, which is not on the list"):
        pth.tensors(checkpoint(torch, {"w": Harmful()}))


def test_what_is_cut_short_or_no_checkpoint_is_refused(torch: ModuleType) -> None:
    whole = checkpoint(torch, {"w": Tensor(0, (12,), (1,))})
    for cut in (0, 10, 100, len(whole) - 50, len(whole) - 1):
        with pytest.raises(pth.CheckpointError):
            pth.tensors(whole[:cut])
    with pytest.raises(pth.CheckpointError, match="first format"):
        pth.tensors(b"".join(pickle.dumps(number) for number in range(5)))


def test_a_tiny_model_is_the_same_bytes_every_time() -> None:
    assert tiny.onnx_model() == tiny.onnx_model()
    assert hashlib.sha256(tiny.onnx_model()).hexdigest() == catalogue.TINY.sha256
    assert len(tiny.onnx_model()) < 4096


@pytest.mark.parametrize(("kernel", "stride", "pads"), [(1, 1, 0), (3, 1, (1, 1)), (3, 2, (0, 1)), (5, 2, (1, 2))])
def test_convolutions_pad_as_tensorflow_does(kernel: int, stride: int, pads: Any) -> None:
    graph = Graph("one")
    graph.conv("x", "c", np.zeros((1, 1, kernel, kernel), np.float32), np.zeros(1, np.float32), stride=stride)
    before, after = pads or (0, 0)
    (node,) = graph._nodes
    (found,) = (list(one.ints) for one in node.attribute if one.name == "pads")
    assert found == [before, before, after, after]


def test_only_a_model_with_one_output_behind_a_dense_layer_can_be_revealed() -> None:
    with pytest.raises(ValueError, match="not one output behind a dense layer"):
        inside.reveal(tiny.tflite_model())


def test_content_that_the_catalogue_does_not_know_is_refused() -> None:
    assert make.checked(catalogue.TINY, tiny.onnx_model())
    with pytest.raises(HatfleetError, match=r"tiny\.onnx has the sha256"):
        make.checked(catalogue.TINY, tiny.onnx_model() + b"\0")


def test_a_folder_with_a_changed_or_missing_file_is_not_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make, "ARTEFACTS", (catalogue.TINY,))
    assert not make.whole(tmp_path)
    (tmp_path / "tiny.onnx").write_bytes(tiny.onnx_model())
    assert make.whole(tmp_path)
    (tmp_path / "tiny.onnx").write_bytes(tiny.onnx_model()[:-1])
    assert not make.whole(tmp_path)


def test_the_page_has_every_file_with_its_digest_and_licence() -> None:
    page = (ROOT / "docs/reference/models.md").read_text()
    pinned = (ROOT / "tests/models/requirements.txt").read_text()
    for one in catalogue.ARTEFACTS:
        for word in (one.name, one.sha256, one.licence, one.package):
            assert word in page, (one.name, word)
        assert not one.package or f"\n{one.package}==" in pinned
