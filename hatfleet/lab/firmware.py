"""The simulated firmware stage: what a board's firmware does between power-on and the kernel.

A Raspberry Pi's firmware reads the partition table, finds the boot FAT and loads kernel, initramfs and command line
from it. QEMU has no such machine, so this module reads the same things from the device's own disk (never from the
image under it: what a device changed on its boot partition counts) and hands them to QEMU.
"""

from __future__ import annotations

import json
import os
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hatfleet.common.errors import CommandError, HatfleetError
from hatfleet.common.run import require_tool, run

SECTOR_BYTES = 512

#: Partition types that mean FAT12, FAT16 or FAT32, by CHS or LBA.
FAT_TYPES = frozenset({0x01, 0x04, 0x06, 0x0B, 0x0C, 0x0E})

#: The type of the one MBR entry of a disk that has a GPT (UEFI specification 5.2.3).
_GPT_PROTECTIVE = 0xEE

#: arm64 kernels take at most this much (COMMAND_LINE_SIZE in arch/arm64/include/uapi/asm/setup.h).
_MAX_COMMAND_LINE = 2048


class FirmwareError(HatfleetError):
    """The disk is not one that the firmware stage can boot."""


@dataclass(frozen=True)
class Partition:
    """An entry of the partition table."""

    number: int
    type: int
    start_bytes: int
    size_bytes: int


@dataclass(frozen=True)
class BootFiles:
    """What the firmware hands to the kernel, and the kernel itself."""

    kernel: Path
    initrd: Path
    command_line: str


def read_partitions(sector: bytes, disk_bytes: int) -> list[Partition]:
    """Read the primary partitions from the first sector of a disk.

    Args:
        sector: The first 512 bytes.
        disk_bytes: Size of the whole disk; a partition that reaches beyond it is an error.

    Raises:
        FirmwareError: no MBR, a GPT, or an entry that lies outside the disk.
    """
    if len(sector) < SECTOR_BYTES or sector[510:512] != b"\x55\xaa":
        raise FirmwareError(
            "the disk has no partition table (no MBR signature)",
            hint="give an uncompressed disk image, as provision image build writes it",
        )
    partitions = []
    for index in range(4):
        entry = sector[446 + 16 * index : 462 + 16 * index]
        kind = entry[4]
        start, count = struct.unpack_from("<II", entry, 8)
        if kind == _GPT_PROTECTIVE:
            raise FirmwareError("the disk has a GPT; this firmware stage reads MBR only")
        if kind == 0:
            continue
        if start == 0 or count == 0 or (start + count) * SECTOR_BYTES > disk_bytes:
            raise FirmwareError(
                f"partition {index + 1} lies outside the disk (sectors {start} to {start + count})",
                hint="the image is cut short or damaged: build it again",
            )
        partitions.append(Partition(index + 1, kind, start * SECTOR_BYTES, count * SECTOR_BYTES))
    return partitions


def boot_partition(partitions: list[Partition]) -> Partition:
    """Return partition 1, which must be a FAT.

    Raises:
        FirmwareError: there is no partition 1 or it is of another type.
    """
    first = next((partition for partition in partitions if partition.number == 1), None)
    if first is None:
        raise FirmwareError("the disk has no partition 1 to boot from")
    if first.type not in FAT_TYPES:
        raise FirmwareError(f"partition 1 is not a FAT (its type is 0x{first.type:02x})")
    return first


def load(disk: Path, folder: Path) -> BootFiles:
    """Do what the firmware does: find the boot partition on a disk and load what is needed to start the kernel.

    Args:
        disk: The device's disk (qcow2).
        folder: Where the kernel and the initramfs are put, over what an earlier start left there.

    Raises:
        FirmwareError: the disk is not bootable; the message says what is missing.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".firmware.") as work:
        head = Path(work) / "head.img"
        _copy_head(disk, SECTOR_BYTES, head)
        partition = boot_partition(read_partitions(head.read_bytes(), _disk_bytes(disk)))
        _copy_head(disk, partition.start_bytes + partition.size_bytes, head)
        fat = f"{head}@@{partition.start_bytes}"
        kernel = _copy_file(fat, "vmlinuz", folder / "vmlinuz")
        initrd = _copy_file(fat, "initrd.img", folder / "initrd.img")
        command_line = parse_command_line(_copy_file(fat, "cmdline.txt", Path(work) / "cmdline.txt").read_bytes())
    return BootFiles(kernel, initrd, command_line)


def parse_command_line(content: bytes) -> str:
    """Return the kernel command line from the bytes of cmdline.txt, which is one line.

    Raises:
        FirmwareError: it is empty, has more than one line, is too long or is not plain ASCII.
    """
    try:
        text = content.decode("ascii").strip()
    except UnicodeDecodeError as error:
        raise FirmwareError(f"cmdline.txt is not plain ASCII (byte {error.start})") from error
    if not text or not text.isprintable():
        raise FirmwareError("cmdline.txt must be one line of kernel arguments; it is empty or has several lines")
    if len(text) >= _MAX_COMMAND_LINE:
        raise FirmwareError(f"cmdline.txt has {len(text)} characters; the kernel takes {_MAX_COMMAND_LINE - 1}")
    return text


def _disk_bytes(disk: Path) -> int:
    qemu_img = require_tool("qemu-img", "qemu-utils")
    info = json.loads(run([qemu_img, "info", "--output=json", "--force-share", disk]).stdout)
    return int(info["virtual-size"])


def _copy_head(disk: Path, size_bytes: int, target: Path) -> None:
    """Copy the first bytes of a qcow2 disk into a raw file, holes stay holes."""
    window = {
        "driver": "raw",
        "size": size_bytes,
        "file": {"driver": "qcow2", "file": {"driver": "file", "filename": str(disk)}},
    }
    qemu_img = require_tool("qemu-img", "qemu-utils")
    run([qemu_img, "convert", "-O", "raw", f"json:{json.dumps(window)}", target])


def _copy_file(fat: str, name: str, target: Path) -> Path:
    mcopy = require_tool("mcopy", "mtools")
    # mtools would refuse a file system whose geometry is not a floppy's or a disk's; the content is what counts.
    env = {**os.environ, "MTOOLS_SKIP_CHECK": "1", "LC_ALL": "C"}
    fresh = target.with_name(f".{target.name}.new")
    try:
        run([mcopy, "-n", "-o", "-i", fat, f"::{name}", fresh], env=env)
    except CommandError as error:
        raise FirmwareError(f"there is no readable {name} on the boot partition: {error.stderr.strip()}") from error
    return fresh.replace(target)
