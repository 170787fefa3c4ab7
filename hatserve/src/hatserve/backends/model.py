"""What every backend gives: a model that was loaded from bytes, with typed inputs and outputs.

Bytes, never a path: what was verified is what is loaded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from hatserve.backends.errors import InputMismatchError
from hatserve.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Name to values.
Tensors = Mapping[str, "NDArray[Any]"]

#: A size that may be any.
ANY = -1


@dataclass(frozen=True)
class TensorSpec:
    """An input or an output of a model.

    Attributes:
        name: As the model calls it.
        dtype: NumPy's name of its elements' type: ``float32``, ``uint8``.
        shape: Its sizes, the batch first; ``ANY`` (-1) where any will do.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        sizes = " x ".join("any" if size == ANY else str(size) for size in self.shape)
        return f"{self.name} ({self.dtype}, {sizes or 'one number'})"


@dataclass(frozen=True)
class Options:
    """How a model is to run. A backend refuses what it has no use for.

    Attributes:
        threads: Threads that one inference is spread over (onnx, litert).
        spinning: Let waiting threads turn instead of sleeping: a little faster, and a core warm at all times (onnx).
        delegate: Who runs what it can of the model in place of the processor: ``edgetpu`` (litert).
        formats: Name of an output to its type: ``float32``, ``uint8`` or ``uint16``; ``float32`` otherwise (hailo).
        timeout_ms: How long an inference may take before the accelerator counts as failed (hailo).
    """

    threads: int = 1
    spinning: bool = False
    delegate: str | None = None
    formats: Mapping[str, str] = field(default_factory=dict)
    timeout_ms: int = 10_000

    def only(self, backend: str, taken: frozenset[str]) -> None:
        """Check that nothing is asked for that the backend does not take.

        Raises:
            UsageError: an option is set that is not in ``taken``, or has a value that makes no sense.
        """
        if self.threads < 1 or self.timeout_ms < 1:
            raise UsageError(f"threads ({self.threads}) and timeout_ms ({self.timeout_ms}) start at 1")
        default = Options()
        for one in fields(self):
            if one.name not in taken and getattr(self, one.name) != getattr(default, one.name):
                raise UsageError(
                    f"the backend {backend} has no option {one.name}", hint=f"it takes: {', '.join(sorted(taken))}"
                )


class Model(ABC):
    """A loaded model, for one thread and the process that loaded it; a context manager that closes it."""

    def __init__(self, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
        self.inputs = inputs
        self.outputs = outputs

    def run(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Return the outputs by name; they are the caller's own, and stay as they are when the model runs again.

        Raises:
            InputMismatchError: a name, type or shape is not what the model takes; nothing was run.
            OutOfMemoryError: there is not enough memory for this call.
            ModelFailedError: it failed and can run no more.
        """
        check_inputs(self.inputs, inputs)
        return self._run(inputs)

    @abstractmethod
    def _run(self, inputs: Tensors) -> dict[str, NDArray[Any]]: ...

    @abstractmethod
    def close(self) -> None:
        """Give back what the model holds; closing twice does no harm."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Backend(Protocol):
    """Something that runs models of one kind: a module of this package."""

    def load(self, data: bytes, options: Options) -> Model:
        """Return a model that is ready to run.

        Raises:
            NotAModelError: the bytes are no such model.
            RuntimeMissingError: what runs such models is not installed.
            OutOfMemoryError: there is not enough memory for it.
            UsageError: an option that this backend does not take.
        """

    def runtime(self) -> str:
        """Return name and version of what runs the models: ``onnxruntime 1.23.0``."""


def check_inputs(specs: tuple[TensorSpec, ...], inputs: Tensors) -> None:
    """Check names, types and shapes.

    Raises:
        InputMismatchError: one is not what the model takes.
    """
    known = {spec.name: spec for spec in specs}
    for name in inputs:
        if name not in known:
            raise _mismatch(f"the model has no input {name!r}", specs)
    for spec in specs:
        if spec.name not in inputs:
            raise _mismatch(f"the input {spec.name!r} is missing", specs)
        value = inputs[spec.name]
        if str(value.dtype) != spec.dtype:
            raise _mismatch(f"the input {spec.name!r} is of type {value.dtype}, not {spec.dtype}", specs)
        if not _fits(value.shape, spec.shape):
            raise _mismatch(f"the input {spec.name!r} has the shape {_sizes(value.shape)}", specs)


def _mismatch(what: str, specs: tuple[TensorSpec, ...]) -> InputMismatchError:
    return InputMismatchError(what, hint="the model takes: " + "; ".join(str(spec) for spec in specs))


def _fits(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return len(found) == len(wanted) and all(
        size == want or (want == ANY and size > 0) for size, want in zip(found, wanted, strict=True)
    )


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "of one number"
