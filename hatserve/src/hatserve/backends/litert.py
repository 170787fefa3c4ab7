"""TFLite models, by LiteRT on the processor or on an Edge TPU."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from hatserve.backends.errors import InputMismatchError, NotAModelError, RuntimeMissingError, told
from hatserve.backends.model import ANY, Model, Options, Tensors, TensorSpec
from hatserve.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

TAKES = frozenset({"threads", "delegate"})

#: Names of delegates to the libraries that they are (Debian package libedgetpu1-std).
DELEGATES = {"edgetpu": "libedgetpu.so.1"}


def runtime() -> str:
    """Return name and version of the runtime."""
    from importlib.metadata import version

    package = _module().__name__.partition(".")[0]
    return f"{package} {version(package)}"


def load(data: bytes, options: Options) -> Model:
    """Return the model; see :class:`hatserve.backends.model.Backend`."""
    options.only("litert", TAKES)
    module = _module()
    delegates = [_delegate(module, options.delegate)] if options.delegate else []
    try:
        interpreter = module.Interpreter(
            model_content=data, num_threads=options.threads, experimental_delegates=delegates
        )
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError, MemoryError) as error:
        raise told(error, "this is no TFLite model that LiteRT can run", NotAModelError) from error
    return _LiteRtModel(interpreter)


class _LiteRtModel(Model):
    def __init__(self, interpreter: Any) -> None:
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        super().__init__(tuple(map(_spec, inputs)), tuple(map(_spec, outputs)))
        self._interpreter = interpreter
        self._places = {one["name"]: int(one["index"]) for one in (*inputs, *outputs)}
        self._shapes = {one["name"]: tuple(map(int, one["shape"])) for one in inputs}

    def _run(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        try:
            self._fit(inputs)
            for name, value in inputs.items():
                self._interpreter.set_tensor(self._places[name], value)
            self._interpreter.invoke()
            return {spec.name: self._interpreter.get_tensor(self._places[spec.name]) for spec in self.outputs}
        except (ValueError, RuntimeError, MemoryError) as error:
            raise told(error, "the model cannot run on these inputs", InputMismatchError) from error

    def _fit(self, inputs: Tensors) -> None:
        """Make room for inputs of other sizes than the last ones."""
        shapes = {name: value.shape for name, value in inputs.items()}
        if shapes == self._shapes:
            return
        # Of unknown size until it is done: if it fails in between, the next call does all of it again.
        self._shapes = {}
        for name, shape in shapes.items():
            self._interpreter.resize_tensor_input(self._places[name], shape, strict=True)
        self._interpreter.allocate_tensors()
        self._shapes = shapes

    def close(self) -> None:
        self._interpreter = None


def _module() -> Any:
    try:
        from ai_edge_litert import interpreter
    except ImportError as error:
        try:
            # Its predecessor, on systems that have only that one; nobody installs it.
            from tflite_runtime import interpreter
        except ImportError:
            raise RuntimeMissingError(
                f"TFLite models need the Python package ai-edge-litert: {error}", hint="the role runtimes installs it"
            ) from error
    return interpreter


def _delegate(module: Any, name: str) -> Any:
    if name not in DELEGATES:
        raise UsageError(f"there is no delegate {name!r}", hint=f"there is: {', '.join(DELEGATES)}")
    try:
        # LiteRT would leave half a delegate behind, which complains when it is thrown away.
        ctypes.CDLL(DELEGATES[name])
        return module.load_delegate(DELEGATES[name])
    except (OSError, ValueError) as error:
        raise RuntimeMissingError(
            f"the delegate {name} ({DELEGATES[name]}) cannot be used: {error}",
            hint="is the accelerator plugged in, and its library installed? hatserve accelerator status",
        ) from error


def _spec(found: dict[str, Any]) -> TensorSpec:
    import numpy as np

    dtype = np.dtype(found["dtype"])
    if dtype.kind not in "biuf":
        raise NotAModelError(f"the model's {found['name']!r} is of type {dtype}: only numbers can be given or taken")
    # Of models that older converters made, the signature is empty.
    sizes = found["shape_signature"] if len(found["shape_signature"]) else found["shape"]
    return TensorSpec(found["name"], str(dtype), tuple(ANY if size < 0 else int(size) for size in sizes))
