"""A model put to the test: loaded from a file, run a number of times, what came out and how long it took."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hatserve.backends import BACKENDS, kind_of
from hatserve.backends.errors import InputMismatchError, OutOfMemoryError, told
from hatserve.backends.model import ANY, Options, Tensors, TensorSpec
from hatserve.errors import HatserveError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Of how many of a hundred runs a latency is told that they stayed below.
PERCENTILES = (50, 90, 99)

NS_PER_MS = 1e6


@dataclass(frozen=True)
class Trial:
    """What was found out about a model.

    Attributes:
        model: The file.
        sha256: Of its content.
        size_bytes: Of the file.
        backend: Which backend ran it.
        runtime: Name and version of the runtime.
        inputs: What it was given.
        outputs: What came out of the first run; a model that remembers may give something else the next time.
        loading_ms: How long loading took, milliseconds.
        latencies_ms: Of each run, in their order, milliseconds; the first one is often the slowest.
    """

    model: Path
    sha256: str
    size_bytes: int
    backend: str
    runtime: str
    inputs: dict[str, NDArray[Any]]
    outputs: dict[str, NDArray[Any]]
    loading_ms: float
    latencies_ms: tuple[float, ...]


def conduct(path: Path, files: Mapping[str, Path], options: Options, *, seed: int = 0, repeat: int = 1) -> Trial:
    """Load a model and run it.

    Args:
        path: The model file.
        files: Name of an input to a .npy file; the others are made up.
        options: How it is to run.
        seed: Of the numbers that are made up.
        repeat: How often it runs.

    Raises:
        UsageError: a file cannot be read, or ``repeat`` is not positive.
        HatserveError: what the backend raises (see :class:`hatserve.backends.model.Backend`).
    """
    if repeat < 1:
        raise UsageError(f"a model runs at least once, not {repeat} times")
    try:
        return _conduct(path, files, options, seed, repeat)
    except MemoryError as error:
        raise told(error, "", OutOfMemoryError) from error


def _conduct(path: Path, files: Mapping[str, Path], options: Options, seed: int, repeat: int) -> Trial:
    data = _read(path)
    kind = kind_of(data, path.name)
    backend = BACKENDS[kind]
    # Before the clock starts: importing a runtime takes longer than loading most models.
    runtime = backend.runtime()
    start_ns = time.perf_counter_ns()
    with backend.load(data, options) as model:
        loading_ms = (time.perf_counter_ns() - start_ns) / NS_PER_MS
        given = _inputs(model.inputs, files, seed)
        latencies_ms: list[float] = []
        outputs: dict[str, NDArray[Any]] = {}
        for run in range(repeat):
            start_ns = time.perf_counter_ns()
            found = model.run(given)
            latencies_ms.append((time.perf_counter_ns() - start_ns) / NS_PER_MS)
            outputs = outputs if run else found
    sha256 = hashlib.sha256(data).hexdigest()
    return Trial(path, sha256, len(data), kind, runtime, given, outputs, loading_ms, tuple(latencies_ms))


def percentiles(latencies_ms: tuple[float, ...]) -> dict[str, float]:
    """Return the latencies that so many percent of the runs stayed within: each is one that was measured."""
    ordered = sorted(latencies_ms)
    named = {f"p{percent}": ordered[math.ceil(percent / 100 * len(ordered)) - 1] for percent in PERCENTILES}
    return {"first": latencies_ms[0], **named, "max": ordered[-1]}


def digest(values: NDArray[Any]) -> str:
    """Return the sha256 of an array's elements, in the order of its last axis first."""
    return hashlib.sha256(values.tobytes()).hexdigest()


def save(tensors: Tensors, folder: Path) -> dict[str, Path]:
    """Write arrays as .npy files and return where each is; the names become file names.

    Raises:
        HatserveError: they cannot be written.
    """
    import numpy as np

    paths = {name: folder / f"{number}-{_plain(name)}.npy" for number, name in enumerate(tensors)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, path in paths.items():
            np.save(path, tensors[name], allow_pickle=False)
    except OSError as error:
        raise HatserveError(f"the outputs cannot be written: {error}") from error
    return paths


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"the model cannot be read: {error}") from error


def _inputs(specs: tuple[TensorSpec, ...], files: Mapping[str, Path], seed: int) -> dict[str, NDArray[Any]]:
    names = [spec.name for spec in specs]
    for name in files:
        if name not in names:
            raise InputMismatchError(f"the model has no input {name!r}", hint=f"its inputs: {', '.join(names)}")
    return {spec.name: _array(files[spec.name]) if spec.name in files else made_up(spec, seed) for spec in specs}


def _array(path: Path) -> NDArray[Any]:
    import numpy as np

    try:
        # A pickle in such a file could run anything.
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(
            f"{path} cannot be read as a .npy file: {error}", hint="numpy.save writes such files"
        ) from error
    if not isinstance(found, np.ndarray):
        raise UsageError(f"{path} has several arrays; one is wanted", hint="numpy.save writes files with one")
    return found


def made_up(spec: TensorSpec, seed: int) -> NDArray[Any]:
    """Return numbers for an input: of the whole range of an integer type, from 0 to 1 of the others; any size is 1."""
    import numpy as np

    numbers = np.random.default_rng(seed)
    shape = tuple(1 if size == ANY else size for size in spec.shape)
    dtype = np.dtype(spec.dtype)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return numbers.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    if dtype.kind == "b":
        return numbers.integers(0, 1, shape, np.uint8, endpoint=True).astype(dtype)
    return numbers.random(shape).astype(dtype)
