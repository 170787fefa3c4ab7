"""What a recipe may choose about its machine: the key ``options``, one model a platform."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

#: Keys of config.txt that decide what is booted: an image that says otherwise would not be the one that was built.
OWN_KEYS = frozenset(
    {
        "auto_initramfs",
        "boot_ramdisk",
        "cmdline",
        "include",
        "initramfs",
        "kernel",
        "lock_device_private_key",
        "os_prefix",
        "ramfsfile",
        "tryboot_a_b",
        "upstream_kernel",
    }
)

#: A line of config.txt as Raspberry Pi documents it: at most 98 characters, key=value or a key alone.
_LINE = re.compile(r"[a-z][a-z0-9_]*(=[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?)?")
MAX_LINE = 98


def _config_line(line: str) -> str:
    key = re.split(r"[ =]", line, maxsplit=1)[0]
    if key in OWN_KEYS:
        raise ValueError(f"the image sets {key} itself; it cannot be changed here")
    if not _LINE.fullmatch(line) or len(line) > MAX_LINE:
        raise ValueError(
            f"a line of config.txt is key=value, at most {MAX_LINE} characters, without a filter such as [all]"
        )
    return line


ConfigLine = Annotated[str, AfterValidator(_config_line)]


class PlatformOptions(BaseModel):
    """The base of every platform's options."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @property
    def config_lines(self) -> tuple[str, ...]:
        """Lines that the recipe adds to config.txt."""
        return ()


class NoOptions(PlatformOptions):
    """A platform that leaves nothing to choose."""


class RaspberryPiOptions(PlatformOptions):
    """What every Raspberry Pi offers."""

    uart_console: bool = False
    """Kernel messages and a login on the serial port. Whoever can touch the board can then read the boot."""
    wifi: bool = False
    """Switch the wireless network on, and install its firmware."""
    watchdog_s: Annotated[int, Field(ge=0, le=600)] = 60
    """Reset the board when systemd has been silent for so long, seconds; 0: never."""
    config: list[ConfigLine] = []
    """Further lines of config.txt, as Raspberry Pi documents them, such as "dtoverlay=tpm-slb9670"."""

    @property
    def config_lines(self) -> tuple[str, ...]:
        """Lines that the recipe adds to config.txt."""
        return tuple(self.config)


class Rpi5Options(RaspberryPiOptions):
    """What ``platform: rpi5`` offers."""

    kernel: Literal["rpi-2712", "rpi-v8"] = "rpi-2712"
    """The kernel: rpi-2712 has pages of 16 KiB and is made for the Pi 5, rpi-v8 has pages of 4 KiB."""
    pcie_gen: Literal[2, 3] = 3
    """Speed of the PCI Express connector: 3 is 8 GT/s, which the AI HAT+ 2 is made for; 2 is what the connector is
    certified for."""
    watchdog_boot_s: Annotated[int, Field(ge=0, le=3600)] = 300
    """Reset the board when systemd has not taken the watchdog over so long after the kernel's start, seconds; 0:
    never. A first boot makes the data partition within this time, a later one may check it."""
    audio: bool = False
    """Sound over HDMI, and with it the display driver."""
    bluetooth: bool = False
    """Switch Bluetooth on, and install its firmware."""

    @model_validator(mode="after")
    def _somebody_takes_over(self) -> Rpi5Options:
        if self.watchdog_boot_s and not self.watchdog_s:
            raise ValueError("with watchdog_s 0 nobody takes the watchdog over: set watchdog_boot_s to 0 as well")
        return self


class Rpi4DebianOptions(RaspberryPiOptions):
    """What ``platform: rpi4-debian`` offers."""
