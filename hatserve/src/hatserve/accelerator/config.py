"""What this device is meant to have: ``/etc/hatserve/accelerator.json``, written by the role ``accelerator``."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date
from typing import Any

from hatserve.accelerator.kinds import KINDS, NONE
from hatserve.errors import ConfigError
from hatserve.system import System

#: Where it is.
FILE = "/etc/hatserve/accelerator.json"


@dataclass(frozen=True)
class Config:
    """What is wanted of the accelerator, and how patiently it is asked."""

    kind: str | None = None
    """``hailo10h``, ``hailo8``, ``coral`` or ``none``; None: whatever is found."""
    link_speed_gts: float | None = None
    """The PCIe speed wanted, in GT/s; None: the kind's own."""
    link_width: int | None = None
    """The number of PCIe lanes wanted; None: the kind's own."""
    node_group: str | None = None
    """The group that the device node must belong to; None: any."""
    probe_attempts: int = 5
    """How often a chip that may still be starting is looked at."""
    probe_interval_s: float = 12.0
    """Seconds between two looks. The driver of a Hailo-10H waits at most 5 s, 5 s and 40 s for the three stages of
    the firmware (hailort-drivers 5.1.1, common/pcie_common.h)."""
    identify_timeout_s: float = 10.0
    """How long the chip may take to say what it is, in seconds."""
    step_timeout_s: float = 90.0
    """How long one step of a recovery may take, in seconds; binding the driver loads the firmware."""
    max_resets_per_day: int = 10
    """How often a wedged chip is reset."""
    max_reboots_per_day: int = 2
    """How often a wedged chip may restart the device; 0: never."""
    eeprom_min_date: str | None = None
    """The oldest boot loader that is good enough, as YYYY-MM-DD."""


#: What a value must be, by the name of its key: its type, and its least and greatest value.
_RANGES: Mapping[str, tuple[type, float, float]] = {
    "link_speed_gts": (float, 2.5, 64),
    "link_width": (int, 1, 16),
    "probe_attempts": (int, 1, 100),
    "probe_interval_s": (float, 0, 600),
    "identify_timeout_s": (float, 0.1, 600),
    "step_timeout_s": (float, 0.1, 600),
    "max_resets_per_day": (int, 0, 1000),
    "max_reboots_per_day": (int, 0, 24),
}


def load_config(system: System) -> Config:
    """Read the configuration; without one, every default holds.

    Raises:
        ConfigError: it cannot be read, or has an unknown key or a value that is not allowed.
    """
    path = system.path(FILE)
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        return Config()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint=_HINT) from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: found {type(data).__name__}, wanted an object", hint=_HINT)
    known = [field.name for field in fields(Config)]
    for key, value in data.items():
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            raise ConfigError(
                f"{path}: unknown key {key!r}; known here: {', '.join(known)}",
                hint=f"did you mean {close[0]!r}?" if close else None,
            )
        wrong = _wrong(key, value)
        if wrong:
            raise ConfigError(f"{path}: {key}: found {json.dumps(value)}, wanted {wrong}", hint=_HINT)
    return Config(**data)


_HINT = "the role accelerator writes this file: provision apply"


def _wrong(key: str, value: Any) -> str | None:
    """Return what is allowed when a value is not, else None."""
    if key == "kind":
        allowed = [*KINDS, NONE]
        return None if value is None or value in allowed else f"one of {', '.join(allowed)}"
    if key == "node_group":
        ok = value is None or (isinstance(value, str) and re.fullmatch(r"[a-z_][a-z0-9_-]*", value))
        return None if ok else "the name of a group"
    if key == "eeprom_min_date":
        return None if value is None or _is_date(value) else "a date as YYYY-MM-DD"
    kind, least, greatest = _RANGES[key]
    if value is None and key in ("link_speed_gts", "link_width"):
        return None
    numeric = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
    if numeric and least <= value <= greatest:
        return None
    return f"{'a whole number' if kind is int else 'a number'} from {least:g} to {greatest:g}"


def _is_date(value: Any) -> bool:
    if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        return False
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True
