"""Temperatures, in degrees Celsius, or why they are not known."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from hatserve.system import System, read_number, read_text, run

#: How long the chip may take to tell its temperature, in seconds.
_TIMEOUT_S = 10.0

#: Runs in a process of its own: HailoRT loaded into ours would hang it together with the chip.
_ASK_HAILO = """
import json
try:
    from hailo_platform import Device
except ImportError:
    raise SystemExit("the bindings (hailo_platform) are not installed")
with Device() as device:
    read = device.control.get_chip_temperature()
print(json.dumps([read.ts0_temperature, read.ts1_temperature]))
"""


def soc_temperature(system: System) -> tuple[float | None, str | None]:
    """Return the temperature of the computer's own chip, or why it is not known."""
    zones = [zone for zone in system.entries("/sys/class/thermal") if zone.name.startswith("thermal_zone")]
    # The name that the device tree of a Raspberry Pi gives it; other boards call it otherwise.
    zones.sort(key=lambda zone: read_text(zone / "type") != "cpu-thermal")
    for zone in zones:
        value = read_number(zone / "temp")
        if value is not None:
            return value / 1000, None
    return None, "the kernel has no thermal zone"


def hailo_temperature() -> tuple[float | None, str | None]:
    """Return the higher of a Hailo chip's two sensors, or why it is not known."""
    ended = run([sys.executable, "-c", _ASK_HAILO], _TIMEOUT_S)
    if ended.status is None:
        return None, f"the chip did not tell its temperature within {_TIMEOUT_S:g} s"
    try:
        return max(float(value) for value in json.loads(ended.output)), None
    except (ValueError, TypeError):
        lines = ended.said.splitlines()
        return None, lines[-1].strip() if lines else "the bindings say nothing"


def apex_temperature(folder: Path) -> tuple[float | None, str | None]:
    """Return a Coral's temperature on PCIe, or why it is not known; ``folder`` is its node's folder in sysfs."""
    value = read_number(folder / "temp")
    return (None, "its driver tells no temperature") if value is None else (value / 1000, None)
