"""The master boot record, and the chain of records that describes logical partitions."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator

from hatfleet.image.disk.layout import (
    ALIGNMENT_BYTES,
    MBR_EXTENDED_NUMBER,
    SECTOR_BYTES,
    DiskLayout,
    Kind,
    Placed,
)

#: Partition types: FAT32 and Linux; an extended partition with LBA addressing, as the disk's own record has it, and
#: the type by which one record of the chain names the next.
TYPES = {Kind.FAT: 0x0C, Kind.LINUX: 0x83}
TYPE_EXTENDED_LBA = 0x0F
TYPE_LINK = 0x05

#: Type of the one partition by which a GPT shows itself as occupied to tools that know only MBRs.
TYPE_PROTECTIVE = 0xEE

SIGNATURE = b"\x55\xaa"

#: Where the entries begin, and one of them: status, first address as cylinder, head and sector, type, last address,
#: first sector, number of sectors.
ENTRIES_AT = 446
ENTRY = struct.Struct("<B3sB3sII")

#: An address beyond what cylinder, head and sector can express: readers must use the sector fields.
_CHS_BEYOND = b"\xfe\xff\xff"


def record(disk_id: int, entries: list[bytes]) -> bytes:
    """Return a record of one sector without boot code: a disk's, or one of the chain (those have no disk id)."""
    return bytes(440) + struct.pack("<IH", disk_id, 0) + b"".join(entries).ljust(64, b"\0") + SIGNATURE


def table_sectors(layout: DiskLayout) -> Iterator[tuple[int, bytes]]:
    """Yield offset and bytes of everything that describes the partitions of a layout.

    No partition has the boot flag: only a PC's boot sector would look for it.
    """
    primaries = [placed for placed in layout.partitions if placed.number < MBR_EXTENDED_NUMBER]
    logicals = [placed for placed in layout.partitions if placed.number > MBR_EXTENDED_NUMBER]
    entries = [_entry(TYPES[placed.kind], placed.start_bytes, placed.size_bytes) for placed in primaries]
    if logicals:
        start = _record_of(logicals[0])
        entries.append(_entry(TYPE_EXTENDED_LBA, start, logicals[-1].end_bytes - start))
    yield 0, record(int(layout.ptuuid, 16), entries)
    yield from _chain(logicals)


def _chain(logicals: list[Placed]) -> Iterator[tuple[int, bytes]]:
    for placed, following in itertools.zip_longest(logicals, logicals[1:]):
        here = _record_of(placed)
        # A partition's place counts from its own record, the next record's from the start of the extended partition.
        entries = [_entry(TYPES[placed.kind], placed.start_bytes - here, placed.size_bytes)]
        if following:
            there = _record_of(following)
            entries.append(_entry(TYPE_LINK, there - _record_of(logicals[0]), following.end_bytes - there))
        yield here, record(0, entries)


def _record_of(logical: Placed) -> int:
    return logical.start_bytes - ALIGNMENT_BYTES


def _entry(kind: int, start_bytes: int, size_bytes: int) -> bytes:
    return ENTRY.pack(0, _CHS_BEYOND, kind, _CHS_BEYOND, start_bytes // SECTOR_BYTES, size_bytes // SECTOR_BYTES)
