"""Where the partitions of a disk lie, and how the kernel calls them. Nothing here reads or writes."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from hatfleet.common.errors import HatfleetError, InputError

SECTOR_BYTES = 512
MIB = 1024 * 1024

#: Partitions start on multiples of this: the erase block of every SD card and eMMC seen so far divides it.
ALIGNMENT_BYTES = 8 * MIB

#: The partitions of an image, in the order in which they lie on the disk.
NAMES = ("bootcfg", "boot_a", "boot_b", "system_a", "system_b", "data")

#: An MBR has four entries: three of them are partitions, the last one is the extended partition for all the others.
MBR_PRIMARIES = 3
MBR_EXTENDED_NUMBER = 4

#: The last sector that an MBR's 32-bit fields can name lies just below 2 TiB.
_MBR_SECTORS = 0xFFFFFFFF

#: As many as sfdisk handles in an MBR (60, with the extended one), and the entries that every GPT has room for
#: (UEFI specification 2.10, 5.3.1: at least 16 384 bytes of 128 each).
_MAX_PARTITIONS = {"mbr": 59, "gpt": 128}

#: Room behind the last partition for the backup of a GPT (33 sectors), rounded up so that images stay whole MiB.
GPT_TAIL_BYTES = MIB

#: The name field of a GPT entry has room for this many UTF-16 code units.
_GPT_NAME_UNITS = 36


class TableType(StrEnum):
    """Kind of partition table."""

    MBR = "mbr"
    GPT = "gpt"


class Kind(StrEnum):
    """What a partition is for, as far as its type in the table goes."""

    FAT = "fat"
    LINUX = "linux"


#: The kinds of the partitions of NAMES.
KINDS = (Kind.FAT,) * 3 + (Kind.LINUX,) * 3


@dataclass(frozen=True)
class DiskIds:
    """What identifies a disk in either kind of table; the identifiers of its partitions follow from it."""

    disk_id: int
    """Disk signature of an MBR: 32 bits, not zero (which would mean that there is none)."""
    disk_guid: uuid.UUID
    """Disk GUID of a GPT."""

    def ptuuid(self, table: TableType) -> str:
        """Return the identifier of the table, as blkid prints it (PTUUID)."""
        return f"{self.disk_id:08x}" if table is TableType.MBR else str(self.disk_guid)

    def partuuid(self, table: TableType, number: int, name: str) -> str:
        """Return the PARTUUID of a partition, as the kernel accepts it in ``root=`` and blkid prints it.

        In an MBR it follows from the number (two hexadecimal digits), in a GPT from the name.
        """
        if table is TableType.MBR:
            return f"{self.disk_id:08x}-{number:02x}"
        return str(uuid.uuid5(self.disk_guid, name))


@dataclass(frozen=True)
class Partition:
    """A partition that is wanted."""

    name: str
    """Its name; in a GPT also the PARTLABEL."""
    kind: Kind
    size_bytes: int
    """How large it must be at least; it is rounded up to the alignment."""


@dataclass(frozen=True)
class Placed:
    """A partition with its place on the disk."""

    number: int
    name: str
    """Empty when it was read from an MBR that is not ours: names are not written there."""
    kind: Kind
    start_bytes: int
    size_bytes: int
    partuuid: str

    @property
    def end_bytes(self) -> int:
        """Where it ends: the first byte behind it."""
        return self.start_bytes + self.size_bytes


@dataclass(frozen=True)
class DiskLayout:
    """A whole disk: the table's type and identifier, and the partitions in the order of their numbers."""

    table: TableType
    ptuuid: str
    size_bytes: int
    partitions: tuple[Placed, ...]

    def partition(self, name: str) -> Placed:
        """Return the partition of a name.

        Raises:
            HatfleetError: there is none.
        """
        for placed in self.partitions:
            if placed.name == name:
                return placed
        known = ", ".join(placed.name or str(placed.number) for placed in self.partitions) or "none"
        raise HatfleetError(f"the disk has no partition {name!r}: it has {known}")


def align(size_bytes: int) -> int:
    """Round up to the partition alignment."""
    return -(-size_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def place(table: TableType, partitions: Sequence[Partition], ids: DiskIds) -> DiskLayout:
    """Lay partitions one behind the other.

    In an MBR the first three are primary; the others are logical, from number 5, in an extended partition 4. The
    record that describes a logical partition lies an alignment unit ahead of it, at the start of a gap of its own:
    writing it anew never touches an erase block that holds files.

    Raises:
        InputError: the disk would be larger than an MBR can describe (2 TiB).
        HatfleetError: too many partitions, a name used twice or too long, or a size that is not positive.
    """
    _check(table, partitions)
    placed: list[Placed] = []
    position = ALIGNMENT_BYTES
    for number, partition in enumerate(partitions, start=1):
        if table is TableType.MBR and number > MBR_PRIMARIES:
            number += 1  # noqa: PLW2901 - the extended partition takes a number
            position += ALIGNMENT_BYTES
        size = align(partition.size_bytes)
        partuuid = ids.partuuid(table, number, partition.name)
        placed.append(Placed(number, partition.name, partition.kind, position, size, partuuid))
        position += size
    if table is TableType.MBR and position // SECTOR_BYTES > _MBR_SECTORS:
        raise InputError(
            f"the partitions need {position // MIB} MiB, an MBR describes less than {2**41 // MIB} MiB (2 TiB)",
            hint="make them smaller, or use a GPT (layout.table: gpt)",
        )
    size_bytes = position + (GPT_TAIL_BYTES if table is TableType.GPT else 0)
    return DiskLayout(table, ids.ptuuid(table), size_bytes, tuple(placed))


def _check(table: TableType, partitions: Sequence[Partition]) -> None:
    most = _MAX_PARTITIONS[table]
    if len(partitions) > most:
        raise HatfleetError(f"{table} holds {most} partitions, not {len(partitions)}")
    names = [partition.name for partition in partitions]
    for partition in partitions:
        name = partition.name
        if names.count(name) > 1:
            raise HatfleetError(f"two partitions are called {name!r}")
        if not 0 < len(name.encode("utf-16-le")) // 2 <= _GPT_NAME_UNITS:
            raise HatfleetError(f"a partition's name has 1 to {_GPT_NAME_UNITS} characters, not {name!r}")
        if partition.size_bytes <= 0:
            raise HatfleetError(f"partition {name} has {partition.size_bytes} bytes, it needs at least one")
