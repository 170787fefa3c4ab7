"""Whether the firmware slows the board down, and why: every bit by its name."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hatserve.system import System, read_text, run

#: Raspberry Pi documentation, vcgencmd get_throttled: bit 0 to 3 for now, bit 16 to 19 for the time since the start.
BITS = ("under_voltage", "frequency_capped", "throttled", "soft_temperature_limit")
_SINCE_BOOT = 16

_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Throttle:
    """What the firmware says; None for a bit that the source does not tell."""

    source: str
    raw: str
    now: dict[str, bool | None]
    since_boot: dict[str, bool | None]

    def names(self) -> list[str]:
        """Return the names of all bits that are set, in words."""
        flags = [*((name, "now") for name in BITS if self.now[name])]
        flags += [(name, "since the start") for name in BITS if self.since_boot[name]]
        return [f"{name.replace('_', ' ')} {when}" for name, when in flags]


def decode(source: str, raw: str) -> Throttle:
    """Return the bits of a number, in hexadecimal, by their names.

    Raises:
        ValueError: it is no number.
    """
    value = int(raw, 16)
    now = {name: bool(value >> bit & 1) for bit, name in enumerate(BITS)}
    since = {name: bool(value >> (bit + _SINCE_BOOT) & 1) for bit, name in enumerate(BITS)}
    return Throttle(source, raw, dict(now), dict(since))


def read_throttle(system: System) -> tuple[Throttle | None, str | None]:
    """Return what the firmware says, or why it is not known."""
    ended = run(["vcgencmd", "get_throttled"], _TIMEOUT_S)
    found = re.search(r"throttled=(0x[0-9a-fA-F]+)", ended.output)
    if ended.status == 0 and found:
        return decode("vcgencmd", found[1]), None
    for file in sorted(system.path("/sys/devices/platform").glob("soc*/soc*:firmware/get_throttled")):
        text = read_text(file)
        if text and re.fullmatch(r"(0x)?[0-9a-fA-F]+", text):
            return decode("sysfs", f"0x{text.removeprefix('0x')}"), None
    for sensor in system.entries("/sys/class/hwmon"):
        alarm = read_text(sensor / "in0_lcrit_alarm")
        if read_text(sensor / "name") == "rpi_volt" and alarm in ("0", "1"):
            return _from_alarm(alarm), None
    return None, f"{ended.why or 'vcgencmd does not tell it'}, and the kernel does not tell it either"


def _from_alarm(alarm: str) -> Throttle:
    """Return the one bit that the kernel's voltage sensor tells (drivers/hwmon/raspberrypi-hwmon.c)."""
    unknown: dict[str, bool | None] = dict.fromkeys(BITS)
    return Throttle("hwmon", alarm, {**unknown, "under_voltage": alarm == "1"}, unknown)
