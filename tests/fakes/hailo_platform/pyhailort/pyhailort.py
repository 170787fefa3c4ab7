"""The classes of the fake, each with the rules that the real one has or states.

Buffers are in one piece and can be written to. A virtual device is used by the process that made it. A network is used
inside the context that configured it. ``wait()`` tells that a job ended, not how: only the callback is told that, by
keyword. An inference that failed ends the pipeline. Another family's HEF is status 93, a chip that is held status 74.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from enum import Enum
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from tests.fakes.chip import CHIP, BadHefError, Edge, Network, read

FormatType = Enum("FormatType", ["AUTO", "UINT8", "UINT16", "FLOAT32"])
FormatOrder = Enum("FormatOrder", ["NHWC", "HAILO_NMS_BY_CLASS", "HAILO_NMS_BY_SCORE"])
HailoSchedulingAlgorithm = Enum("HailoSchedulingAlgorithm", ["NONE", "ROUND_ROBIN"])

_DTYPES = {FormatType.UINT8: np.uint8, FormatType.UINT16: np.uint16, FormatType.FLOAT32: np.float32}


class HailoRTException(Exception):
    """The base of all."""


class HailoRTTimeout(HailoRTException):
    """Status 4."""


class HailoRTInvalidOperationException(HailoRTException):
    """Status 6."""


class HailoRTInvalidHEFException(HailoRTException):
    """Status 26."""


class HailoRTDriverOperationFailedException(HailoRTException):
    """Status 36."""


class HailoRTNotFoundException(HailoRTException):
    """Status 61."""


class HailoCommunicationClosedException(HailoRTException):
    """Status 62."""


class HailoRTStreamAborted(HailoRTException):
    """Status 63."""


class HailoRTHEFNotCompatibleWithDevice(HailoRTException):
    """Status 93."""


STATUSES = {
    3: "HAILO_OUT_OF_HOST_MEMORY",
    4: "HAILO_TIMEOUT",
    6: "HAILO_INVALID_OPERATION",
    13: "HAILO_OPEN_FILE_FAILURE",
    26: "HAILO_INVALID_HEF",
    36: "HAILO_DRIVER_OPERATION_FAILED",
    61: "HAILO_NOT_FOUND",
    62: "HAILO_COMMUNICATION_CLOSED",
    63: "HAILO_STREAM_ABORT",
    64: "HAILO_DRIVER_NOT_INSTALLED",
    71: "HAILO_OUT_OF_FW_MEMORY",
    73: "HAILO_DEVICE_IN_USE",
    74: "HAILO_OUT_OF_PHYSICAL_DEVICES",
    76: "HAILO_INVALID_DRIVER_VERSION",
    81: "HAILO_OUT_OF_HOST_CMA_MEMORY",
    87: "HAILO_DRIVER_TIMEOUT",
    91: "HAILO_HEF_FILE_CORRUPTED",
    92: "HAILO_HEF_NOT_SUPPORTED",
    93: "HAILO_HEF_NOT_COMPATIBLE_WITH_DEVICE",
}

#: Statuses with an exception of their own, which does not say the code; of the others, the base says it.
EXCEPTIONS = {
    "HAILO_TIMEOUT": HailoRTTimeout,
    "HAILO_INVALID_OPERATION": HailoRTInvalidOperationException,
    "HAILO_INVALID_HEF": HailoRTInvalidHEFException,
    "HAILO_DRIVER_OPERATION_FAILED": HailoRTDriverOperationFailedException,
    "HAILO_NOT_FOUND": HailoRTNotFoundException,
    "HAILO_COMMUNICATION_CLOSED": HailoCommunicationClosedException,
    "HAILO_STREAM_ABORT": HailoRTStreamAborted,
    "HAILO_HEF_NOT_COMPATIBLE_WITH_DEVICE": HailoRTHEFNotCompatibleWithDevice,
}


class _StatusError(Exception):
    """What the C++ side raises: the code, as text."""


def _exception(status: int) -> HailoRTException:
    name = STATUSES[status]
    if name in EXCEPTIONS:
        return EXCEPTIONS[name]("something went wrong")
    return HailoRTException(f"libhailort failed with error: {status} ({name})")


def _fail(status: int) -> NoReturn:
    raise _exception(status) from _StatusError(str(status))


def _read(source: bytes) -> Network:
    try:
        return read(source)
    except BadHefError as error:
        _fail(error.status)


def _one(streams: Mapping[str, Any], name: str) -> Any:
    """Return a stream by its name, which may be left out when there is one."""
    if name == "" and len(streams) == 1:
        return next(iter(streams.values()))
    if name not in streams:
        _fail(61)
    return streams[name]


class HEF:
    """A file's content, looked into."""

    def __init__(self, hef_source):
        self._network = _read(hef_source)

    def get_output_vstream_infos(self, name=None):
        return [
            SimpleNamespace(
                name=edge.name,
                nms_shape=SimpleNamespace(number_of_classes=edge.classes, max_bboxes_per_class=edge.most),
            )
            for edge in self._network.outputs
        ]


class VDevice:
    """The chip, for this process."""

    def __init__(self, params=None, *, device_ids=None):
        self._open = False
        self._process = os.getpid()
        self._group: object = (params or self.create_params()).group_id or object()
        if CHIP.opening:
            _fail(CHIP.opening)
        if any(group != self._group for group in CHIP.groups):
            _fail(74)
        CHIP.groups.append(self._group)
        self._open = True

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.release()
        return False

    @staticmethod
    def create_params():
        return SimpleNamespace(group_id="", scheduling_algorithm=HailoSchedulingAlgorithm.NONE)

    def release(self):
        if self._open:
            CHIP.groups.remove(self._group)
            self._open = False

    def create_infer_model(self, hef_source, name=""):
        if os.getpid() != self._process:
            raise HailoRTException("InferModel can be created only from the process VDevice was created in.")
        if type(hef_source) is not bytes:
            # What is no bytes is a path, which no test has a file at: HAILO_OPEN_FILE_FAILURE.
            _fail(13)
        return InferModel(_read(hef_source), hef_source)


class InferModel:
    """A network before it is on the chip."""

    class InferStream:
        """An input or output, and how it is to be given or taken."""

        def __init__(self, infer_stream: Edge) -> None:
            self._edge = infer_stream
            nms = infer_stream.order.startswith("HAILO_NMS")
            kind = FormatType.FLOAT32 if nms else FormatType.UINT8
            self._format = SimpleNamespace(type=kind, order=FormatOrder[infer_stream.order])

        @property
        def name(self):
            return self._edge.name

        @property
        def shape(self):
            return list(self._edge.shape)

        @property
        def format(self):
            return self._format

        @property
        def is_nms(self):
            return self._edge.classes > 0

        def set_format_type(self, type):  # noqa: A002  # the real one's name
            assert isinstance(type, FormatType)
            self._format.type = type

    def __init__(self, infer_model: Network, hef_path: bytes) -> None:
        self._network = infer_model
        self._source = hef_path
        self._inputs = {edge.name: self.InferStream(edge) for edge in infer_model.inputs}
        self._outputs = {edge.name: self.InferStream(edge) for edge in infer_model.outputs}

    @property
    def hef(self):
        return HEF(self._source)

    @property
    def inputs(self):
        return list(self._inputs.values())

    @property
    def outputs(self):
        return list(self._outputs.values())

    def input(self, name=""):
        return _one(self._inputs, name)

    def output(self, name=""):
        return _one(self._outputs, name)

    def set_batch_size(self, batch_size):
        assert batch_size in range(1, 1 << 16)

    def configure(self):
        if self._network.family != CHIP.family:
            _fail(93)
        return ConfiguredInferModel(_Pipeline(self._network, self._inputs, self._outputs), self)


class _Pipeline:
    """What is on the chip; it stays failed once it has."""

    def __init__(self, network: Network, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        self.network, self.inputs, self.outputs = network, inputs, outputs
        self.status = 0
        self.process = os.getpid()

    def start(self, bindings: Any, done: Callable[[int], None]) -> None:
        """Begin an inference; ``done`` gets its status, on another thread."""
        assert os.getpid() == self.process, "undefined in the real one: another process's network"
        if self.status:
            _fail(self.status)
        for streams, bound in ((self.inputs, bindings.input), (self.outputs, bindings.output)):
            for stream in streams.values():
                buffer = bound(stream.name).get_buffer(None)
                if buffer is None:
                    _fail(61)
                size = int(np.prod(stream.shape)) * np.dtype(_DTYPES[stream.format.type]).itemsize
                if buffer.nbytes != size:
                    _fail(6)
        if not CHIP.hanging:
            threading.Thread(target=self._finish, args=(bindings, done)).start()

    def _finish(self, bindings: Any, done: Callable[[int], None]) -> None:
        self.status, CHIP.failing = CHIP.failing, 0
        if not self.status:
            frames = {name: bindings.input(name).get_buffer() for name in self.inputs}
            for name, found in self.network.compute(frames).items():
                stream = self.outputs[name]
                quantised = found if stream.format.type is FormatType.FLOAT32 else np.rint(found * 255)
                bindings.output(name).get_buffer(None)[...] = quantised.astype(_DTYPES[stream.format.type])
        done(self.status)


class ConfiguredInferModel:
    """A network on the chip."""

    class Bindings:
        """The buffers of one frame."""

        class InferStream:
            """One of them."""

            def __init__(self, infer_stream: Any) -> None:
                self._stream = infer_stream
                self._buffer: NDArray[Any] | None = None

            def set_buffer(self, buffer):
                if not buffer.flags.c_contiguous:
                    raise HailoRTException("Buffer must be C_CONTIGUOUS")
                if not buffer.flags.writeable:
                    # pybind11's mutable_data(), which the real one calls for inputs, too.
                    raise ValueError("array is not writeable")
                self._buffer = buffer

            def get_buffer(self, tf_format=False):
                if tf_format is None or not self._stream.is_nms:
                    return self._buffer
                edge = self._stream._edge
                by_class, place = [], 0
                for _ in range(edge.classes):
                    count = int(self._buffer[place])
                    by_class.append(self._buffer[place + 1 : place + 1 + 5 * count].reshape(count, 5))
                    place += 1 + 5 * count
                if not tf_format:
                    return by_class
                padded = np.zeros((edge.classes, 5, edge.most), np.float32)
                for number, boxes in enumerate(by_class):
                    padded[number, :, : len(boxes)] = boxes.T
                return padded

        def __init__(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
            self._inputs = {name: self.InferStream(stream) for name, stream in inputs.items()}
            self._outputs = {name: self.InferStream(stream) for name, stream in outputs.items()}

        def input(self, name=""):
            return _one(self._inputs, name)

        def output(self, name=""):
            return _one(self._outputs, name)

    def __init__(self, configured_infer_model: _Pipeline, infer_model: InferModel) -> None:
        self._pipeline: Any = configured_infer_model
        self._infer_model = infer_model

    def __enter__(self):
        return self

    def __exit__(self, exc_type, exc_value, traceback):
        # From here on, whatever is called finds nothing, as in the real one.
        self._pipeline = None

    def create_bindings(self, input_buffers=None, output_buffers=None):
        bindings = self.Bindings(self._pipeline.inputs, self._pipeline.outputs)
        for name, buffer in (input_buffers or {}).items():
            bindings.input(name).set_buffer(buffer)
        for name, buffer in (output_buffers or {}).items():
            bindings.output(name).set_buffer(buffer)
        return bindings

    def wait_for_async_ready(self, timeout_ms=1000, frames_count=1):
        if CHIP.stuck:
            _fail(4)
        if self._pipeline.status:
            _fail(self._pipeline.status)

    def run_async(self, bindings, callback=None):
        (frame,) = bindings
        ended = threading.Event()

        def done(status: int) -> None:
            if callback:
                callback(completion_info=AsyncInferCompletionInfo(_exception(status) if status else None))
            ended.set()

        self._pipeline.start(frame, done)
        return AsyncInferJob(ended)


class AsyncInferCompletionInfo:
    """How an inference ended."""

    def __init__(self, exception):
        self._exception = exception

    @property
    def exception(self):
        return self._exception


class AsyncInferJob:
    """An inference that was begun."""

    def __init__(self, job: threading.Event) -> None:
        self._ended = job

    def wait(self, timeout_ms):
        if not self._ended.wait(timeout_ms / 1000):
            _fail(4)
