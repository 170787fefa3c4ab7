"""Reading a partition table back, from an image file or from a device.

Nothing that is read is believed: every place must lie on the disk, nothing may overlap, checksums must hold, and a
chain of records must end.
"""

from __future__ import annotations

import io
import itertools
import struct
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from hatfleet.common.errors import InputError, Where
from hatfleet.image.disk import gpt, mbr
from hatfleet.image.disk.layout import (
    KINDS,
    MBR_EXTENDED_NUMBER,
    NAMES,
    SECTOR_BYTES,
    DiskLayout,
    Kind,
    Placed,
    TableType,
)

_KIND_OF_TYPE = {number: kind for kind, number in mbr.TYPES.items()}
_KIND_OF_GUID = {guid: kind for kind, guid in gpt.TYPES.items()}
_EXTENDED_TYPES = (mbr.TYPE_LINK, mbr.TYPE_EXTENDED_LBA, 0x85)

#: More entries than any tool writes; a header that claims more is damaged in a way that its checksum did not show.
_MAX_GPT_ENTRIES = 1024


@dataclass(frozen=True)
class FoundTable:
    """A partition table that was read."""

    layout: DiskLayout
    """``size_bytes`` is the size of the file or device."""
    warnings: tuple[str, ...] = ()
    """What is wrong with it without making it unusable: one of the two copies of a GPT is damaged or misplaced."""


class _Bad(Exception):
    """A table that cannot be used; the text says why."""


def read_table(path: Path) -> FoundTable:
    """Read the partition table of an image file or of a device (with sectors of 512 bytes).

    An MBR has no names: its partitions get those of an image of ours when they are as many and of the same kinds,
    and otherwise empty ones.

    Raises:
        InputError: the file cannot be read, or its table cannot be used; the error says what is wrong with it.
    """
    try:
        with path.open("rb") as disk:
            return _read(_Sectors(disk))
    except _Bad as error:
        hint = "it is not an image of provision image build, or it is damaged: provision image verify"
        raise InputError(str(error), where=Where(path), hint=hint) from error
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=Where(path)) from error


class _Sectors:
    """Sectors of a disk by their numbers."""

    def __init__(self, disk: BinaryIO) -> None:
        self._disk = disk
        self.size_bytes = disk.seek(0, io.SEEK_END)
        self.count = self.size_bytes // SECTOR_BYTES

    def read(self, first: int, count: int, what: str) -> bytes:
        if first + count > self.count:
            raise _Bad(f"{what} (sector {first}) lies behind the end of the disk ({self.count} sectors)")
        self._disk.seek(first * SECTOR_BYTES)
        return self._disk.read(count * SECTOR_BYTES)


@dataclass(frozen=True)
class _Entry:
    """An entry of an MBR or of a record of its chain."""

    type: int
    first: int
    count: int


def _read(disk: _Sectors) -> FoundTable:
    head = disk.read(0, 1, "the partition table")
    if head[510:] != mbr.SIGNATURE:
        raise _Bad("there is no partition table: the first sector lacks its signature")
    entries = _entries(head)
    if any(entry.type == mbr.TYPE_PROTECTIVE for entry in entries):
        return _read_gpt(disk)
    partitions = list(_read_mbr(disk, head, entries))
    _require_apart(partitions)
    kinds = tuple(placed.kind for placed in partitions)
    if kinds == KINDS:
        partitions = [replace(placed, name=name) for placed, name in zip(partitions, NAMES, strict=True)]
    ptuuid = f"{_disk_id(head):08x}"
    return FoundTable(DiskLayout(TableType.MBR, ptuuid, disk.size_bytes, tuple(partitions)))


def _entries(record: bytes) -> list[_Entry]:
    table = record[mbr.ENTRIES_AT : mbr.ENTRIES_AT + 4 * mbr.ENTRY.size]
    return [_Entry(kind, first, count) for _, _, kind, _, first, count in mbr.ENTRY.iter_unpack(table)]


def _disk_id(head: bytes) -> int:
    (number,) = struct.unpack_from("<I", head, 440)
    return int(number)


def _read_mbr(disk: _Sectors, head: bytes, entries: list[_Entry]) -> Iterator[Placed]:
    disk_id = _disk_id(head)
    extended = [entry for entry in entries if entry.type in _EXTENDED_TYPES]
    if len(extended) > 1:
        raise _Bad("it has more than one extended partition")
    for number, entry in enumerate(entries, start=1):
        if entry.type not in (0, *_EXTENDED_TYPES):
            yield _placed(disk, disk_id, number, entry)
    if extended:
        for number, entry in enumerate(_chain(disk, extended[0]), start=MBR_EXTENDED_NUMBER + 1):
            yield _placed(disk, disk_id, number, entry)


def _chain(disk: _Sectors, extended: _Entry) -> Iterator[_Entry]:
    """Yield the logical partitions, their first sectors counted from the start of the disk."""
    end = extended.first + extended.count
    if end > disk.count:
        raise _Bad(f"the extended partition ends at sector {end}, behind the end of the disk ({disk.count} sectors)")
    here = extended.first
    while True:
        record = disk.read(here, 1, "a record of a logical partition")
        if record[510:] != mbr.SIGNATURE:
            raise _Bad(f"the record of a logical partition at sector {here} lacks its signature")
        links = [entry for entry in _entries(record) if entry.type in _EXTENDED_TYPES]
        for entry in _entries(record):
            if entry.type not in (0, *_EXTENDED_TYPES):
                logical = _Entry(entry.type, here + entry.first, entry.count)
                if logical.first + logical.count > end:
                    raise _Bad(f"the logical partition at sector {logical.first} ends behind the extended partition")
                yield logical
        if not links:
            return
        following = extended.first + links[0].first
        if len(links) > 1 or not here < following < end:
            raise _Bad(f"the record of a logical partition at sector {here} leads to no sector that follows it")
        here = following


def _placed(disk: _Sectors, disk_id: int, number: int, entry: _Entry) -> Placed:
    kind = _KIND_OF_TYPE.get(entry.type)
    if kind is None:
        raise _Bad(f"partition {number} has type 0x{entry.type:02x}; 0x0c (FAT) and 0x83 (Linux) are known")
    _require_inside(disk, number, entry.first, entry.first + entry.count)
    start, size = entry.first * SECTOR_BYTES, entry.count * SECTOR_BYTES
    return Placed(number, "", kind, start, size, f"{disk_id:08x}-{number:02x}")


def _require_inside(disk: _Sectors, number: int, first: int, end: int) -> None:
    if not 0 < first < end:
        raise _Bad(f"partition {number} has no room: it begins at sector {first} and ends at {end}")
    if end > disk.count:
        raise _Bad(f"partition {number} ends at sector {end}, behind the end of the disk ({disk.count} sectors)")


def _require_apart(partitions: list[Placed]) -> None:
    ordered = sorted(partitions, key=lambda placed: placed.start_bytes)
    for one, other in itertools.pairwise(ordered):
        if one.end_bytes > other.start_bytes:
            raise _Bad(f"partitions {one.number} and {other.number} overlap")


@dataclass(frozen=True)
class _Gpt:
    """One of the two copies of a GPT."""

    other: int
    """Sector of the other copy's header."""
    guid: uuid.UUID
    entries: bytes
    entry_bytes: int


def _read_gpt(disk: _Sectors) -> FoundTable:
    last = disk.count - 1
    warnings: list[str] = []
    try:
        used = _copy_at(disk, 1)
    except _Bad as damage:
        try:
            used = _copy_at(disk, last)
        except _Bad as also:
            raise _Bad(f"both copies of the GPT are damaged: the first: {damage}; the backup: {also}") from None
        warnings.append(f"the first copy of the GPT is damaged, the backup was used: {damage}")
    else:
        warnings += _backup_warnings(disk, used, last)
    partitions = list(_gpt_partitions(disk, used))
    _require_apart(partitions)
    return FoundTable(DiskLayout(TableType.GPT, str(used.guid), disk.size_bytes, tuple(partitions)), tuple(warnings))


def _backup_warnings(disk: _Sectors, used: _Gpt, last: int) -> Iterator[str]:
    if used.other != last:
        yield f"the backup of the GPT is at sector {used.other}, not at the end of the disk ({last})"
    try:
        backup = _copy_at(disk, used.other)
    except _Bad as damage:
        yield f"the backup of the GPT is damaged: {damage}"
        return
    if (backup.guid, backup.entries) != (used.guid, used.entries):
        yield "the two copies of the GPT differ; the first was used"


def _copy_at(disk: _Sectors, sector: int) -> _Gpt:
    header = disk.read(sector, 1, "its header")
    fields = gpt.HEADER.unpack_from(header)
    signature, _, size, crc, _, here, other, _, _, guid, entries_at, count, entry_bytes, entries_crc = fields
    if signature != gpt.SIGNATURE:
        raise _Bad(f"there is no header at sector {sector}")
    if not gpt.HEADER.size <= size <= SECTOR_BYTES:
        raise _Bad(f"its header claims a size of {size} bytes")
    if zlib.crc32(header[: gpt.CRC_AT] + bytes(4) + header[gpt.CRC_AT + 4 : size]) != crc:
        raise _Bad("the checksum of its header is wrong")
    if here != sector:
        raise _Bad(f"its header at sector {sector} claims to be at {here}")
    if entry_bytes % gpt.ENTRY.size or not entry_bytes or not 0 < count <= _MAX_GPT_ENTRIES:
        raise _Bad(f"it claims {count} entries of {entry_bytes} bytes")
    length = count * entry_bytes
    entries = disk.read(entries_at, -(-length // SECTOR_BYTES), "its list of entries")[:length]
    if zlib.crc32(entries) != entries_crc:
        raise _Bad("the checksum of its entries is wrong")
    return _Gpt(other, uuid.UUID(bytes_le=guid), entries, entry_bytes)


def _gpt_partitions(disk: _Sectors, table: _Gpt) -> Iterator[Placed]:
    for index in range(len(table.entries) // table.entry_bytes):
        raw_type, guid, first, last, _, raw_name = gpt.ENTRY.unpack_from(table.entries, index * table.entry_bytes)
        number, kind_guid = index + 1, uuid.UUID(bytes_le=raw_type)
        if not kind_guid.int:
            continue
        kind: Kind | None = _KIND_OF_GUID.get(kind_guid)
        if kind is None:
            raise _Bad(f"partition {number} has type {kind_guid}; 'basic data' (FAT) and 'Linux' are known")
        _require_inside(disk, number, first, last + 1)
        name = raw_name.decode("utf-16-le", errors="replace").partition("\0")[0]
        start, size = first * SECTOR_BYTES, (last + 1 - first) * SECTOR_BYTES
        yield Placed(number, name, kind, start, size, str(uuid.UUID(bytes_le=guid)))
