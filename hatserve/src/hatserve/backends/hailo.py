"""HEF models, by HailoRT's InferModel interface on a Hailo-8, -8L or -10H.

HailoRT speaks of one frame at a time; here, a batch of one comes first in every shape, as in the other backends. An
output of boxes (NMS by class) is one array: batch, classes, five numbers (y_min, x_min, y_max, x_max, score), boxes.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from hatserve.backends.errors import ModelFailedError, NotAModelError, RuntimeMissingError
from hatserve.backends.hailo_status import PROBE, loading_error, running_error
from hatserve.backends.model import Model, Options, Tensors, TensorSpec
from hatserve.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

TAKES = frozenset({"formats", "timeout_ms"})

#: NumPy's names of types to HailoRT's. What HailoRT calls AUTO is "usually UINT8"; here it always is.
FORMATS = {"uint8": "UINT8", "uint16": "UINT16", "float32": "FLOAT32"}

#: VDevices of one process with this group share the chip (HailoRT's examples use the same word).
GROUP = "SHARED"

#: A box: y_min, x_min, y_max, x_max, score.
BOX = 5


def runtime() -> str:
    """Return name and version of the runtime."""
    return f"hailo_platform {_module().__version__}"


def load(data: bytes, options: Options) -> Model:
    """Return the model; see :class:`hatserve.backends.model.Backend`."""
    options.only("hailo", TAKES)
    platform = _module()
    with contextlib.ExitStack() as stack:
        try:
            network = _network(platform, stack, data)
            return _HailoModel(platform, stack, network, options)
        except platform.HailoRTException as error:
            raise loading_error(error) from error


def _network(platform: Any, stack: contextlib.ExitStack, data: bytes) -> Any:
    """Open the device, which the stack closes, and return the network that is to be configured on it."""
    params = platform.VDevice.create_params()
    params.scheduling_algorithm = platform.HailoSchedulingAlgorithm.ROUND_ROBIN
    params.group_id = GROUP
    device = stack.enter_context(platform.VDevice(params))
    # Only bytes are taken for a model: of anything else, the bindings think that it is a path.
    network = device.create_infer_model(bytes(data))
    network.set_batch_size(1)
    return network


class _HailoModel(Model):
    """A configured network and the device that it is on; both live until it is closed."""

    def __init__(self, platform: Any, stack: contextlib.ExitStack, network: Any, options: Options) -> None:
        formats = _formats(platform, network, options)
        super().__init__(
            tuple(_spec(one, formats[one.name]) for one in network.inputs),
            tuple(_output_spec(platform, network, one, formats[one.name]) for one in network.outputs),
        )
        self._configured = stack.enter_context(network.configure())
        self._buffers = {one.name: (tuple(one.shape), formats[one.name]) for one in network.outputs}
        self._boxes = frozenset(one.name for one in network.outputs if one.is_nms)
        self._error = platform.HailoRTException
        self._timeout_ms = options.timeout_ms
        self._process = os.getpid()
        self._failed: ModelFailedError | None = None
        self._stack = stack.pop_all()

    def _run(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        if os.getpid() != self._process:
            raise ModelFailedError(
                "the model was loaded by another process", hint="load it in the process that runs it; do not fork after"
            )
        if self._failed:
            raise ModelFailedError(f"the model failed before: {self._failed}", hint=self._failed.hint)
        try:
            return self._infer(inputs)
        except self._error as error:
            # HailoRT has shut its pipeline down, or still writes into buffers: nothing may be tried with it again.
            self._failed = running_error(error)
            raise self._failed from error

    def _infer(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        import numpy as np

        bindings = self._configured.create_bindings()
        for spec in self.inputs:
            # Read-only arrays are refused like those that are not in one piece: HailoRT takes every buffer as writable.
            buffer = np.require(inputs[spec.name][0], requirements=["C_CONTIGUOUS", "WRITEABLE"])
            bindings.input(spec.name).set_buffer(buffer)
        for name, (shape, dtype) in self._buffers.items():
            bindings.output(name).set_buffer(np.empty(shape, dtype))
        errors: list[BaseException | None] = []
        self._configured.wait_for_async_ready(timeout_ms=self._timeout_ms)
        job = self._configured.run_async(
            [bindings], lambda *, completion_info: errors.append(completion_info.exception)
        )
        job.wait(self._timeout_ms)
        # wait() only tells that the job has ended; how, only the callback is told.
        if errors[0] is not None:
            raise errors[0]
        return {
            name: np.asarray(bindings.output(name).get_buffer(tf_format=name in self._boxes))[None]
            for name in self._buffers
        }

    def close(self) -> None:
        # A chip that failed may fail at this, too; all is given back when the process ends.
        with contextlib.suppress(self._error):
            self._stack.close()


def _formats(platform: Any, network: Any, options: Options) -> dict[str, str]:
    """Set the type of every input and output; return NumPy's names of them by the names of the streams."""
    names = [one.name for one in network.outputs]
    for name, dtype in options.formats.items():
        if name not in names or dtype not in FORMATS:
            raise UsageError(
                f"the output {name!r} cannot be had as {dtype!r}",
                hint=f"outputs: {', '.join(names)}; types: {', '.join(FORMATS)}",
            )
    chosen = {one.name: _given(one) for one in network.inputs}
    chosen |= {name: options.formats.get(name, "float32") for name in names}
    for stream in (*network.inputs, *network.outputs):
        stream.set_format_type(getattr(platform.FormatType, FORMATS[chosen[stream.name]]))
    return chosen


def _given(stream: Any) -> str:
    """Return the type of an input as the HEF has it."""
    return {kind: dtype for dtype, kind in FORMATS.items()}.get(stream.format.type.name, "uint8")


def _spec(stream: Any, dtype: str) -> TensorSpec:
    return TensorSpec(stream.name, dtype, (1, *map(int, stream.shape)))


def _output_spec(platform: Any, network: Any, stream: Any, dtype: str) -> TensorSpec:
    if not stream.is_nms:
        return _spec(stream, dtype)
    order = stream.format.order
    if order != platform.FormatOrder.HAILO_NMS_BY_CLASS:
        raise NotAModelError(
            f"the boxes of the output {stream.name!r} come as {order.name}, which is not taken here",
            hint="HAILO_NMS_BY_CLASS is",
        )
    (shape,) = (one.nms_shape for one in network.hef.get_output_vstream_infos() if one.name == stream.name)
    return TensorSpec(stream.name, dtype, (1, shape.number_of_classes, BOX, shape.max_bboxes_per_class))


def _module() -> Any:
    try:
        import hailo_platform
    except ModuleNotFoundError as error:
        raise RuntimeMissingError(
            f"HEF models need the Python package hailo_platform, which is no PyPI package: {error}",
            hint="the role accelerator installs it (python3-h10-hailort for AI HAT+ 2)",
        ) from error
    except ImportError as error:
        raise RuntimeMissingError(
            f"hailo_platform and the HailoRT library do not fit each other: {error}", hint=PROBE
        ) from error
    return hailo_platform
