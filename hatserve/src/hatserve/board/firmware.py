"""The boot loader in the EEPROM, and its settings and those of config.txt that concern PCIe."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from datetime import UTC, datetime

from hatserve.system import System, run

_BOOTLOADER = "/proc/device-tree/chosen/bootloader"

CONFIG_FILES = ("/boot/firmware/config.txt", "/boot/config.txt")

_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Eeprom:
    """The boot loader."""

    version: str | None
    """The commit that it was built from."""
    built: str | None
    """When it was built, ISO 8601 in UTC."""

    @property
    def date(self) -> str | None:
        """The day it was built, as YYYY-MM-DD."""
        return self.built[:10] if self.built else None


def read_eeprom(system: System) -> tuple[Eeprom | None, str | None]:
    """Return the boot loader's version and date from the device tree, or why they are not known."""
    version = system.text(f"{_BOOTLOADER}/version")
    try:
        # 32 bits, big endian: seconds since 1970.
        (seconds,) = struct.unpack(">I", system.path(f"{_BOOTLOADER}/build-timestamp").read_bytes())
        built = datetime.fromtimestamp(seconds, UTC).isoformat()
    except (OSError, struct.error):
        built = None
    if version is None and built is None:
        return None, "the device tree says nothing of a Raspberry Pi boot loader"
    return Eeprom(version, built), None


def read_eeprom_settings() -> tuple[dict[str, str] | None, str | None]:
    """Return the boot loader's settings that begin with PCIE, or why they are not known."""
    ended = run(["vcgencmd", "bootloader_config"], _TIMEOUT_S)
    if ended.status != 0:
        ended = run(["rpi-eeprom-config"], _TIMEOUT_S)
    if ended.status != 0:
        return None, "neither vcgencmd nor rpi-eeprom-config tells the boot loader's settings"
    return dict(re.findall(r"^\s*(PCIE\w*)\s*=\s*(\S+)", ended.output, re.MULTILINE)), None


def read_pcie_lines(system: System) -> tuple[list[str] | None, str | None]:
    """Return the lines of config.txt that concern PCIe or the finding of a HAT+, or why they are not known."""
    for name in CONFIG_FILES:
        text = system.text(name)
        if text is not None:
            lines = (line.partition("#")[0].strip() for line in text.splitlines())
            return [line for line in lines if "pcie" in line or line.startswith("force_eeprom_read")], None
    return None, f"there is no {CONFIG_FILES[0]}"
