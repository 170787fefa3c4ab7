"""What HailoRT's status codes mean to an admin.

The codes are those of hailort.h, the same in 4.23.0 and 5.2.0. The Python bindings do not hand them out: an exception
has the code in its cause, in its text, or only in the name of its class.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hatserve.backends.errors import ModelFailedError, NotAModelError, OutOfMemoryError
from hatserve.errors import HatserveError

PROBE = "see: hatserve accelerator status"
REBUILD = "close the model and load it again; if that fails too, see: hatserve accelerator status"


@dataclass(frozen=True)
class Meaning:
    """What a status says, what to do about it, and which error it is when a model is loaded."""

    sentence: str
    hint: str
    loading: type[HatserveError] = HatserveError


MEANINGS = {
    3: Meaning("there is not enough memory", "free memory, or take a smaller model", OutOfMemoryError),
    4: Meaning("the chip did not answer in time", REBUILD),
    26: Meaning("this is no HEF", "a HEF is made by the Hailo Dataflow Compiler", NotAModelError),
    36: Meaning("the kernel driver refused an operation", "see: dmesg | grep hailo"),
    62: Meaning("the connection to the chip was closed: its firmware stopped or started again", REBUILD),
    63: Meaning("the chip's pipeline was shut down", REBUILD),
    64: Meaning("the kernel driver is not loaded", PROBE),
    73: Meaning("the chip is in use by another process", f"end that process, or let it end; who it is, {PROBE}"),
    74: Meaning(
        "there is no free chip: another process holds it (hailo-ollama takes all of it), or none is there",
        f"who holds it, {PROBE}",
    ),
    76: Meaning(
        "kernel driver and HailoRT library are of different versions",
        "driver, firmware, library and Python bindings must be of one version: the role accelerator installs them so",
    ),
    81: Meaning(
        "there is no contiguous memory left for the chip", "close other models; a reboot frees it all", OutOfMemoryError
    ),
    87: Meaning("the kernel driver got no answer from the chip; it may need a reset", PROBE),
    91: Meaning("the HEF is damaged", "fetch it again, and compare its sha256", NotAModelError),
    92: Meaning(
        "this HailoRT does not take the file",
        "it is no HEF, or made by another version of the Dataflow Compiler",
        NotAModelError,
    ),
    93: Meaning(
        "the HEF was made for another family of chips",
        "take the file for this chip: AI HAT+ 2 is hailo10h, AI HAT+ and AI Kit are hailo8 or hailo8l",
        NotAModelError,
    ),
}

#: Exceptions whose text does not have the code.
CLASSES = {
    "HailoRTTimeout": 4,
    "HailoRTInvalidHEFException": 26,
    "HailoRTDriverOperationFailedException": 36,
    "HailoCommunicationClosedException": 62,
    "HailoRTStreamAborted": 63,
    "HailoRTHEFNotCompatibleWithDevice": 93,
}


def status_of(error: BaseException) -> int | None:
    """Return the status code of an exception of the bindings, or None when it has none."""
    cause = error.__cause__
    if cause is not None and cause.args and str(cause.args[0]).isdecimal():
        return int(cause.args[0])
    found = re.search(r"error: (\d+)\b", str(error))
    return int(found[1]) if found else CLASSES.get(type(error).__name__)


def loading_error(error: Exception) -> HatserveError:
    """Return what to tell when a model cannot be loaded."""
    status = status_of(error)
    meaning = MEANINGS.get(status) if status is not None else None
    if meaning is None:
        return HatserveError(f"the accelerator does not load the model: {_said(error)}", hint=PROBE)
    return meaning.loading(f"{meaning.sentence} (HailoRT status {status})", hint=meaning.hint)


def running_error(error: BaseException) -> ModelFailedError:
    """Return what to tell when an inference failed."""
    status = status_of(error)
    meaning = MEANINGS.get(status) if status is not None else None
    if meaning is None:
        return ModelFailedError(f"the inference failed: {_said(error)}", hint=REBUILD)
    return ModelFailedError(f"the inference failed: {meaning.sentence} (HailoRT status {status})", hint=meaning.hint)


def _said(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
