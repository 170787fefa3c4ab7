"""What runs models: one module for each kind of model, and how to tell the kinds apart."""

from __future__ import annotations

from hatserve.backends import hailo, litert, onnx
from hatserve.backends.errors import NotAModelError
from hatserve.backends.model import Backend

BACKENDS: dict[str, Backend] = {"onnx": onnx, "litert": litert, "hailo": hailo}


def kind_of(data: bytes, name: str) -> str:
    """Return which backend runs a model, by its content.

    Args:
        data: The model file.
        name: The file's name, for messages; and ``.onnx`` decides where the content could be anything.

    Raises:
        NotAModelError: no backend runs such files.
    """
    # A TFLite file is a flatbuffer with this identifier; a HEF begins with this number (hailort, hef_internal.hpp).
    if data[4:8] == b"TFL3":
        return "litert"
    if data[:4] == b"\x01HEF":
        return "hailo"
    # An ONNX file has no mark of its own. All that write them begin with field 1, the version of the format.
    if data[:1] == b"\x08" or (data and name.endswith(".onnx")):
        return "onnx"
    raise NotAModelError(f"{name} is no ONNX, TFLite or HEF file ({len(data)} bytes)", hint="which file did you mean?")
