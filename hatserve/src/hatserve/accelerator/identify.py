"""Asking the chip what it is, through ``hailortcli``, and reading its answer or its refusal."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from hatserve.system import Ended, run

#: HailoRT logs into the working directory unless it is told not to, which fails on a read-only root.
ENVIRONMENT = {"HAILORT_LOGGER_PATH": "NONE"}


class Answer(StrEnum):
    """How the chip took the question."""

    ANSWERED = "answered"
    SILENT = "silent"
    """It does not answer; only a reset helps."""
    CLOSED = "closed"
    """It ends the connection: wedged, or busy with somebody else's session."""
    IN_USE = "in-use"
    """Another process has it for itself."""
    REFUSED = "refused"
    """The driver or the library refuses to ask."""
    NOT_ASKED = "not-asked"
    """There is nothing to ask with."""


#: Statuses of HailoRT (hailort.h), which are the exit statuses of hailortcli as well.
_STATUSES = {
    62: ("COMMUNICATION_CLOSED", Answer.CLOSED),
    64: ("DRIVER_NOT_INSTALLED", Answer.REFUSED),
    73: ("DEVICE_IN_USE", Answer.IN_USE),
    74: ("OUT_OF_PHYSICAL_DEVICES", Answer.IN_USE),
    76: ("INVALID_DRIVER_VERSION", Answer.REFUSED),
    81: ("OUT_OF_HOST_CMA_MEMORY", Answer.REFUSED),
    87: ("DRIVER_TIMEOUT", Answer.SILENT),
    36: ("DRIVER_OPERATION_FAILED", Answer.REFUSED),
}


@dataclass(frozen=True)
class Identity:
    """What the chip said of itself."""

    answer: Answer
    firmware: str | None = None
    """The version of the firmware that runs on it, such as ``5.1.1``."""
    architecture: str | None = None
    why: str = ""
    """Why there is no answer."""


def identify(timeout_s: float) -> Identity:
    """Ask the chip for its identity, for a bounded time."""
    ended = run(["hailortcli", "fw-control", "identify"], timeout_s, ENVIRONMENT)
    if ended.timed_out:
        return Identity(Answer.SILENT, why=ended.why)
    if ended.status is None:
        return Identity(Answer.NOT_ASKED, why=ended.why)
    firmware = re.search(r"^\s*Firmware Version:\s*(\d+\.\d+\.\d+)", ended.output, re.MULTILINE | re.IGNORECASE)
    architecture = re.search(r"^\s*Device Architecture:\s*(\S+)", ended.output, re.MULTILINE | re.IGNORECASE)
    if ended.status == 0 and firmware:
        return Identity(Answer.ANSWERED, firmware[1], architecture[1].upper() if architecture else None)
    return _refusal(ended)


def _refusal(ended: Ended) -> Identity:
    named = re.search(r"HAILO_[A-Z_]+\((\d+)\)", ended.said)
    number = int(named[1]) if named else ended.status
    lines = ended.said.splitlines()
    last = lines[-1].strip() if lines else "it says nothing"
    if number in _STATUSES:
        name, answer = _STATUSES[number]
        return Identity(answer, why=f"HailoRT status {number} ({name})")
    return Identity(Answer.REFUSED, why=f"hailortcli ended with exit status {ended.status}: {last}")
