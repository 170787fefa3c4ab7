"""ONNX models, by onnxruntime on the processor."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from hatserve.backends.errors import InputMismatchError, NotAModelError, RuntimeMissingError, told
from hatserve.backends.model import ANY, Model, Options, Tensors, TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

TAKES = frozenset({"threads", "spinning"})

#: ONNX's names of types to NumPy's, of those that NumPy has.
DTYPES = {
    "bool": "bool",
    **{name: name for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")},
    "float16": "float16",
    "float": "float32",
    "double": "float64",
}

#: Where weights outside of the model are looked for: a place that has no files. A model may name files with weights,
#: which nobody has verified; onnxruntime looks for those of a model that comes as bytes in the working directory.
NOWHERE = "/dev/null"


def runtime() -> str:
    """Return name and version of the runtime."""
    return f"onnxruntime {_module().__version__}"


def load(data: bytes, options: Options) -> Model:
    """Return the model; see :class:`hatserve.backends.model.Backend`."""
    options.only("onnx", TAKES)
    onnxruntime = _module()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.add_session_config_entry("session.intra_op.allow_spinning", str(int(options.spinning)))
    settings.add_session_config_entry("session.model_external_initializers_file_folder_path", NOWHERE)
    # What goes wrong comes as an exception, and is told once.
    settings.log_severity_level = 4
    try:
        # Without its second try with another provider, which there is not, and which it prints on standard output.
        session = onnxruntime.InferenceSession(
            data, settings, providers=["CPUExecutionProvider"], enable_fallback=False
        )
    except Exception as error:  # its exceptions have no common base
        raise told(error, "this is no ONNX model that onnxruntime can run", NotAModelError) from error
    return _OnnxModel(session)


class _OnnxModel(Model):
    def __init__(self, session: Any) -> None:
        super().__init__(
            tuple(_spec(one) for one in session.get_inputs()), tuple(_spec(one) for one in session.get_outputs())
        )
        self._session = session

    def _run(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        names = [spec.name for spec in self.outputs]
        try:
            return dict(zip(names, self._session.run(names, dict(inputs)), strict=True))
        except Exception as error:
            raise told(error, "the model cannot run on these inputs", InputMismatchError) from error

    def close(self) -> None:
        self._session = None


def _module() -> Any:
    # Its wheels since 1.29 send telemetry; the variable is read at import, the call ends what is on by then.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        raise RuntimeMissingError(
            f"ONNX models need the Python package onnxruntime: {error}", hint="the role runtimes installs it"
        ) from error
    onnxruntime.disable_telemetry_events()
    return onnxruntime


def _spec(found: Any) -> TensorSpec:
    kind = found.type.removeprefix("tensor(").removesuffix(")")
    if kind not in DTYPES:
        raise NotAModelError(
            f"the model's {found.name!r} is a {found.type}, which cannot be given or taken here",
            hint=f"tensors can be of {', '.join(DTYPES)}",
        )
    shape = tuple(size if isinstance(size, int) else ANY for size in found.shape)
    return TensorSpec(found.name, DTYPES[kind], shape)
