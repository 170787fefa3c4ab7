"""``config.txt``: the names of kernel, initramfs and command line."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hatfleet.lab.firmware.errors import FirmwareError
from hatfleet.lab.firmware.filters import Filters, lines_that_count

#: arm64 kernels take at most this much (COMMAND_LINE_SIZE in arch/arm64/include/uapi/asm/setup.h).
MAX_COMMAND_LINE = 2048

#: What config.txt has beyond this column is not read (config_txt/what_is_config_txt.adoc).
MAX_LINE = 98

#: What our virtual images call them. A board's default kernel is kernel_2712.img, and it has no default initramfs.
KERNEL = "vmlinuz"
INITRAMFS = "initrd.img"
COMMAND_LINE = "cmdline.txt"

#: ``initramfs FILE ADDRESS``, without an equals sign; where it lies in memory is QEMU's business.
_INITRAMFS = re.compile(r"initramfs\s+(\S+)(?:\s+(?:followkernel|0x[0-9a-fA-F]+|[0-9]+))?")


@dataclass(frozen=True)
class Config:
    """What a config.txt says for this boot, names with ``os_prefix`` before them.

    Attributes:
        kernel: File name of the kernel.
        initramfs: File name of the initramfs; None: none.
        command_line: File name of the command line.
        boot_ramdisk: Everything lies in boot.img.
        notes: What was not understood or cut off.
    """

    kernel: str = KERNEL
    initramfs: str | None = None
    command_line: str = COMMAND_LINE
    boot_ramdisk: bool = False
    notes: tuple[str, ...] = ()


#: For a boot partition without config.txt: the file names of images made before there was one.
DEFAULT = Config(initramfs=INITRAMFS)


def parse_config(content: bytes, *, partition: int, tryboot: bool) -> Config:
    """Read a config.txt; settings the lab has no use for are passed over, as a board passes over unknown ones.

    Args:
        content: The bytes of the file.
        partition: The partition that is booted from.
        tryboot: Whether this boot is a trial.
    """
    filters = Filters(tryboot, partition)
    values: dict[str, str] = {}
    notes = []
    for full in lines_that_count(content, filters):
        line = full[:MAX_LINE]
        if line != full:
            notes.append(f"a line has {len(full)} characters; what follows the first {MAX_LINE} is not read")
        if match := _INITRAMFS.fullmatch(line):
            values["initramfs"] = match[1]
        elif line.startswith("include "):
            notes.append(f"'{line}' is not simulated")
        else:
            name, _, value = line.partition("=")
            values[name] = value
    notes += [f"{name} does not hold here" for name in filters.ignored]
    prefix = values.get("os_prefix", "")
    initramfs = values.get("initramfs")
    return Config(
        kernel=prefix + (values.get("kernel") or KERNEL),
        initramfs=prefix + initramfs if initramfs else None,
        command_line=prefix + (values.get("cmdline") or COMMAND_LINE),
        boot_ramdisk=values.get("boot_ramdisk") == "1",
        notes=tuple(notes),
    )


def parse_command_line(content: bytes, name: str = COMMAND_LINE) -> str:
    """Return the kernel command line from the bytes of its file, which is one line.

    Raises:
        FirmwareError: it is empty, has more than one line, is too long or is not plain ASCII.
    """
    try:
        text = content.decode("ascii").strip()
    except UnicodeDecodeError as error:
        raise FirmwareError(f"{name} is not plain ASCII (byte {error.start})") from error
    if not text or not text.isprintable():
        raise FirmwareError(f"{name} must be one line of kernel arguments; it is empty or has several lines")
    if len(text) >= MAX_COMMAND_LINE:
        raise FirmwareError(f"{name} has {len(text)} characters; the kernel takes {MAX_COMMAND_LINE - 1}")
    return text
