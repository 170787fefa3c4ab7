"""The GUID partition table, as chapter 5 of the UEFI specification (2.10) lays it out."""

from __future__ import annotations

import struct
import uuid
import zlib
from collections.abc import Iterator

from hatfleet.image.disk.layout import SECTOR_BYTES, DiskLayout, Kind, Placed
from hatfleet.image.disk.mbr import ENTRY as MBR_ENTRY
from hatfleet.image.disk.mbr import TYPE_PROTECTIVE, record

#: Partition types: "basic data", which the Raspberry Pi firmware takes for a FAT, and a Linux file system.
TYPES = {
    Kind.FAT: uuid.UUID("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"),
    Kind.LINUX: uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4"),
}

SIGNATURE = b"EFI PART"
_REVISION = 0x0001_0000

#: Signature, revision, size of the header, its CRC, zero, its own and the other header's sector, first and last
#: sector for partitions, disk GUID, first sector, number and size of the entries, their CRC.
HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
CRC_AT = 16

#: Type, partition GUID, first and last sector, attributes, name in UTF-16.
ENTRY = struct.Struct("<16s16sQQQ72s")
_ENTRIES = 128
_ENTRIES_SECTORS = _ENTRIES * ENTRY.size // SECTOR_BYTES


def table_sectors(layout: DiskLayout) -> Iterator[tuple[int, bytes]]:
    """Yield offset and bytes of everything that describes the partitions of a layout, on both ends of the disk."""
    sectors = layout.size_bytes // SECTOR_BYTES
    entries = b"".join(_entry(placed) for placed in layout.partitions).ljust(_ENTRIES * ENTRY.size, b"\0")
    last = sectors - 1
    backup_entries = last - _ENTRIES_SECTORS
    yield 0, _protective_record(sectors)
    yield SECTOR_BYTES, _header(layout, entries, here=1, other=last, entries_at=2)
    yield 2 * SECTOR_BYTES, entries
    yield backup_entries * SECTOR_BYTES, entries
    yield last * SECTOR_BYTES, _header(layout, entries, here=last, other=1, entries_at=backup_entries)


def _header(layout: DiskLayout, entries: bytes, *, here: int, other: int, entries_at: int) -> bytes:
    first_usable = 2 + _ENTRIES_SECTORS
    last_usable = layout.size_bytes // SECTOR_BYTES - 2 - _ENTRIES_SECTORS
    guid = uuid.UUID(layout.ptuuid).bytes_le
    count, size, crc = _ENTRIES, ENTRY.size, zlib.crc32(entries)
    places = (here, other, first_usable, last_usable, guid, entries_at)
    blank = HEADER.pack(SIGNATURE, _REVISION, HEADER.size, 0, 0, *places, count, size, crc)
    header = blank[:CRC_AT] + struct.pack("<I", zlib.crc32(blank)) + blank[CRC_AT + 4 :]
    return header.ljust(SECTOR_BYTES, b"\0")


def _entry(placed: Placed) -> bytes:
    first, last = placed.start_bytes // SECTOR_BYTES, placed.end_bytes // SECTOR_BYTES - 1
    name = placed.name.encode("utf-16-le")
    return ENTRY.pack(TYPES[placed.kind].bytes_le, uuid.UUID(placed.partuuid).bytes_le, first, last, 0, name)


def _protective_record(sectors: int) -> bytes:
    # First and last address as the specification wants them: sector 2 of the disk, and "beyond".
    count = min(sectors - 1, 0xFFFFFFFF)
    return record(0, [MBR_ENTRY.pack(0, b"\x00\x02\x00", TYPE_PROTECTIVE, b"\xff\xff\xff", 1, count)])
