"""Reads the tensors of a checkpoint in PyTorch's first format, without PyTorch and without running what it says.

Such a file is five pickles (magic number, version of the format, facts on the machine that wrote it, the state
dictionary, the keys of the storages) and then each storage: its number of elements, and the elements. A pickle may call
whatever can be imported; these may name the few things of a list, and get stand-ins of ours.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: What such a file begins with, and the version of the format that is read here (PyTorch, torch/serialization.py).
MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001


class CheckpointError(ValueError):
    """The file is not such a checkpoint, or names something that is not on the list."""


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class _Lazy:
    """A tensor whose elements come later in the file."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def read(self, elements: NDArray[Any]) -> NDArray[Any]:
        step = elements.itemsize
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        if min(self.offset, *self.shape, *self.strides, 0) < 0 or last >= elements.size:
            raise CheckpointError(f"a tensor of shape {self.shape} lies outside of its storage of {elements.size}")
        view = np.lib.stride_tricks.as_strided(
            elements[self.offset :], self.shape, [stride * step for stride in self.strides], writeable=False
        )
        return np.ascontiguousarray(view).reshape(self.shape)


def _tensor(storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object) -> _Lazy:
    return _Lazy(storage, offset, shape, strides)


ALLOWED: dict[tuple[str, str], Callable[..., Any] | np.dtype[Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch", "FloatStorage"): np.dtype("<f4"),
    ("torch", "LongStorage"): np.dtype("<i8"),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise CheckpointError(f"the checkpoint asks for {module}.{name}, which is not on the list") from None

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key = pid[:3]
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise CheckpointError(f"the checkpoint refers to {kind!r}; only storages are known")
        return _Storage(str(key), dtype)


def tensors(data: bytes) -> dict[str, NDArray[Any]]:
    """Return the tensors of a state dictionary by name.

    Raises:
        CheckpointError: it is something else, or cut short.
    """
    stream = io.BytesIO(data)
    try:
        magic, version, _, state, keys = (_Unpickler(stream).load() for _ in range(5))
    except (pickle.UnpicklingError, EOFError, IndexError) as error:
        raise CheckpointError(f"not a checkpoint: {error}") from error
    if (magic, version) != (MAGIC, PROTOCOL):
        raise CheckpointError("not a checkpoint in PyTorch's first format")
    dtypes = {lazy.storage.key: lazy.storage.dtype for lazy in state.values()}
    storages = {key: _elements(stream, dtypes[key]) for key in keys}
    return {name: lazy.read(storages[lazy.storage.key]) for name, lazy in state.items()}


def _elements(stream: io.BytesIO, dtype: np.dtype[Any]) -> NDArray[Any]:
    head = stream.read(8)
    if len(head) < 8:
        raise CheckpointError("the checkpoint is cut short")
    (count,) = struct.unpack("<q", head)
    body = stream.read(count * dtype.itemsize)
    if count < 0 or len(body) < count * dtype.itemsize:
        raise CheckpointError("the checkpoint is cut short")
    return np.frombuffer(body, dtype)
