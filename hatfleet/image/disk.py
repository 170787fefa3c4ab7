"""The disk: a master boot record written byte by byte, and the partitions behind it.

No partitioning tool and no loop device: the table is 512 bytes whose layout has not changed since 1983, and writing
it ourselves makes every byte of it a function of the recipe.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hatfleet.common.errors import HatfleetError

SECTOR_BYTES = 512
MIB = 1024 * 1024

#: Partitions start on multiples of this: the erase block of every SD card and eMMC seen so far divides it.
ALIGNMENT_BYTES = 8 * MIB

#: Partition types of the MBR: FAT32 with LBA addressing, and a Linux file system.
TYPE_FAT32_LBA = 0x0C
TYPE_LINUX = 0x83

#: Head, sector and cylinder of an address beyond what they can express: readers must use the LBA fields.
CHS_BEYOND = b"\xfe\xff\xff"

#: The table holds four primary partitions.
MAX_PARTITIONS = 4


@dataclass(frozen=True)
class Partition:
    """A primary partition and the file system image that fills it (at most ``size_bytes`` long)."""

    type: int
    size_bytes: int
    content: Path
    bootable: bool = False


def align(size_bytes: int) -> int:
    """Round up to the partition alignment."""
    return -(-size_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def offsets(sizes_bytes: Sequence[int]) -> list[int]:
    """Return where partitions of these sizes start, in bytes from the start of the disk."""
    starts: list[int] = []
    position = ALIGNMENT_BYTES
    for size in sizes_bytes:
        starts.append(position)
        position += align(size)
    return starts


def disk_bytes(sizes_bytes: Sequence[int]) -> int:
    """Return the size of a disk that holds partitions of these sizes."""
    return ALIGNMENT_BYTES + sum(align(size) for size in sizes_bytes)


def master_boot_record(disk_id: int, partitions: Sequence[Partition]) -> bytes:
    """Return the first sector of the disk.

    Args:
        disk_id: The 32-bit disk signature; partition N is ``PARTUUID=<disk id>-0N`` to the kernel.
        partitions: At most four, in the order of their numbers.

    Raises:
        HatfleetError: more than four partitions, or one that ends beyond what an MBR can address (2 TiB).
    """
    if len(partitions) > MAX_PARTITIONS:
        raise HatfleetError(f"a master boot record holds {MAX_PARTITIONS} partitions, not {len(partitions)}")
    entries = b""
    starts = offsets([partition.size_bytes for partition in partitions])
    for partition, start in zip(partitions, starts, strict=True):
        first, count = start // SECTOR_BYTES, align(partition.size_bytes) // SECTOR_BYTES
        if first + count > 0xFFFFFFFF:
            raise HatfleetError("a master boot record cannot address partitions beyond 2 TiB")
        status = 0x80 if partition.bootable else 0
        entries += struct.pack("<B3sB3sII", status, CHS_BEYOND, partition.type, CHS_BEYOND, first, count)
    boot_code = bytes(440)
    return boot_code + struct.pack("<IH", disk_id, 0) + entries.ljust(64, b"\0") + b"\x55\xaa"


def partuuid(disk_id: int, number: int) -> str:
    """Return the PARTUUID of a partition of an MBR disk (numbers start at 1), as the kernel writes it."""
    return f"{disk_id:08x}-{number:02d}"


def write_disk(path: Path, disk_id: int, partitions: Sequence[Partition]) -> None:
    """Write a disk image, sparse where its partitions are empty.

    Raises:
        HatfleetError: the content of a partition is larger than the partition.
    """
    sizes = [partition.size_bytes for partition in partitions]
    zeros = bytes(MIB)
    with path.open("wb") as disk:
        disk.truncate(disk_bytes(sizes))
        disk.write(master_boot_record(disk_id, partitions))
        for partition, start in zip(partitions, offsets(sizes), strict=True):
            found = partition.content.stat().st_size
            if found > partition.size_bytes:
                name = partition.content.name
                raise HatfleetError(f"{name} has {found} bytes, its partition {partition.size_bytes}")
            disk.seek(start)
            with partition.content.open("rb") as content:
                while chunk := content.read(MIB):
                    if chunk == zeros[: len(chunk)]:
                        disk.seek(len(chunk), 1)
                    else:
                        disk.write(chunk)
