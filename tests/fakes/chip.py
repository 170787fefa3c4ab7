"""The chip behind the fake hailo_platform: what is on the other side of the driver, and what can go wrong there.

A stand-in for a HEF has the real magic number, and then what the chip is to compute: an ONNX model, or boxes.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC = b"\x01HEF"
_HEAD = struct.Struct("<II")


@dataclass
class Chip:
    """The one chip of this machine, and how it behaves.

    Attributes:
        family: Which HEFs it runs.
        opening: Status that opening it ends with, 0 for success: 64 no driver, 74 held by another process.
        failing: Status that the next inference ends with, once.
        hanging: It never finishes an inference.
        stuck: It never becomes ready for one.
        groups: Of the virtual devices that are open in this process; without a group, an object of its own.
    """

    family: str = "hailo10h"
    opening: int = 0
    failing: int = 0
    hanging: bool = False
    stuck: bool = False
    groups: list[object] = field(default_factory=list)

    def reset(self) -> None:
        self.__init__()  # type: ignore[misc]


CHIP = Chip()


def hef(model: bytes, family: str = "hailo10h") -> bytes:
    """Return a stand-in for a HEF that computes what an ONNX model does."""
    return _packed({"family": family, "kind": "onnx"}, model)


def boxes_hef(classes: Sequence[Sequence[Sequence[float]]], most: int, order: str = "HAILO_NMS_BY_CLASS") -> bytes:
    """Return a stand-in for a HEF that finds the same boxes in every picture of 8 x 8 pixels."""
    return _packed({"family": "hailo10h", "kind": "boxes", "classes": classes, "most": most, "order": order}, b"")


def _packed(header: Mapping[str, Any], body: bytes) -> bytes:
    text = json.dumps(header).encode()
    content = text + body
    return MAGIC + _HEAD.pack(len(text), zlib.crc32(content)) + content


@dataclass(frozen=True)
class Edge:
    """An input or output of a network: name, shape of one frame, and the order of its format."""

    name: str
    shape: tuple[int, ...]
    order: str = "NHWC"
    classes: int = 0
    most: int = 0


@dataclass(frozen=True)
class Network:
    """What the chip was given to compute."""

    family: str
    inputs: tuple[Edge, ...]
    outputs: tuple[Edge, ...]
    compute: Callable[[Mapping[str, NDArray[Any]]], dict[str, NDArray[Any]]]


class BadHefError(Exception):
    """The status that reading a HEF ends with."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def read(data: bytes) -> Network:
    """Read a stand-in for a HEF.

    Raises:
        BadHefError: 91 when it is damaged, 92 when it is none (as HailoRT's hef.cpp has it).
    """
    if len(data) < len(MAGIC) + _HEAD.size:
        raise BadHefError(91)
    if not data.startswith(MAGIC):
        raise BadHefError(92)
    size, checksum = _HEAD.unpack_from(data, len(MAGIC))
    content = data[len(MAGIC) + _HEAD.size :]
    if zlib.crc32(content) != checksum:
        raise BadHefError(91)
    header = json.loads(content[:size])
    return _boxes(header) if header["kind"] == "boxes" else _onnx(header["family"], content[size:])


def _onnx(family: str, model: bytes) -> Network:
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]

    def compute(frames: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        found = session.run(names, {name: frame[None] for name, frame in frames.items()})
        return {name: value[0] for name, value in zip(names, found, strict=True)}

    inputs, outputs = (
        tuple(Edge(one.name, tuple(one.shape[1:])) for one in edges)
        for edges in (session.get_inputs(), session.get_outputs())
    )
    return Network(family, inputs, outputs, compute)


def _boxes(header: Mapping[str, Any]) -> Network:
    """Boxes lie in a flat buffer: for each class how many there are, and then those."""
    classes, most = header["classes"], header["most"]
    flat = [number for boxes in classes for number in (float(len(boxes)), *(part for box in boxes for part in box))]
    size = len(classes) * (1 + 5 * most)

    def compute(frames: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        found = np.zeros(size, np.float32)
        found[: len(flat)] = flat
        return {"boxes": found}

    boxes = Edge("boxes", (size,), header["order"], len(classes), most)
    return Network(header["family"], (Edge("image", (8, 8, 3)),), (boxes,), compute)
