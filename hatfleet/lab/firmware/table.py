"""Reading the partition table of a disk: an MBR with logical partitions, or a GPT."""

from __future__ import annotations

import binascii
import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from hatfleet.common.errors import HatfleetError
from hatfleet.lab.firmware.errors import FirmwareError

SECTOR_BYTES = 512

#: MBR partition types that mean FAT12, FAT16 or FAT32, by CHS or LBA.
FAT_TYPES = frozenset({0x01, 0x04, 0x06, 0x0B, 0x0C, 0x0E})

#: MBR partition types of a container for logical partitions: by CHS, by LBA, and Linux's own.
EXTENDED_TYPES = frozenset({0x05, 0x0F, 0x85})

#: GPT partition types that hold a FAT: Microsoft basic data and the EFI system partition (UEFI specification 5.3.3).
FAT_TYPE_GUIDS = frozenset({"EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"})

#: The type of the one MBR entry of a disk that has a GPT (UEFI specification 5.2.3).
_GPT_PROTECTIVE = 0xEE

#: The first logical partition of an MBR; Linux knows no more than 255 partitions on a disk.
_FIRST_LOGICAL = 5
_MAX_PARTITIONS = 255

#: Header of a GPT (UEFI specification 5.3.2): signature, revision, header size, its CRC, reserved, own and other
#: place, first and last usable sector, disk GUID, place of the entries, their number and size, their CRC.
_GPT_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
_GPT_SIGNATURE = b"EFI PART"
#: Type GUID, partition GUID, first and last sector, attributes; the name follows.
_GPT_ENTRY = struct.Struct("<16s16sQQQ")
_MAX_ENTRY_BYTES = 4096
_MAX_ENTRIES = 1024

#: Reads so many bytes from such an offset of the disk.
Read = Callable[[int, int], bytes]


@dataclass(frozen=True)
class Partition:
    """An entry of the partition table.

    Attributes:
        number: As the kernel counts: primary partitions of an MBR 1 to 4, logical ones from 5.
        type: ``0x0c`` in an MBR, the type GUID in upper case in a GPT.
        fat: Whether the type says that it holds a FAT.
        start_bytes: Where it starts on the disk.
        size_bytes: How long it is.
    """

    number: int
    type: str
    fat: bool
    start_bytes: int
    size_bytes: int


@dataclass(frozen=True)
class Table:
    """A partition table: what it is ("MBR", "GPT", "GPT (backup)") and what it lists, by number."""

    kind: str
    partitions: tuple[Partition, ...]


def read_table(read: Read, disk_bytes: int) -> Table:
    """Read the partition table of a disk.

    Args:
        read: Reads bytes of the disk.
        disk_bytes: Size of the whole disk; a partition that reaches beyond it is an error.

    Raises:
        FirmwareError: there is no table, or it is damaged; the message says what is wrong.
    """
    sector = read(0, SECTOR_BYTES)
    if len(sector) < SECTOR_BYTES or sector[510:512] != b"\x55\xaa":
        raise FirmwareError(
            "the disk has no partition table (no MBR signature)",
            hint="give an uncompressed disk image, as provision image build writes it",
        )
    entries = _mbr_entries(sector)
    if any(kind == _GPT_PROTECTIVE for kind, _, _ in entries):
        return _read_gpt(read, disk_bytes)
    partitions: list[Partition] = []
    for number, (kind, start, count) in enumerate(entries, 1):
        if kind == 0:
            continue
        partitions.append(_mbr_partition(number, kind, start, count, disk_bytes))
        if kind in EXTENDED_TYPES:
            partitions += _logical(read, partitions[-1], disk_bytes)
    return Table("MBR", tuple(sorted(partitions, key=lambda partition: partition.number)))


def _mbr_entries(sector: bytes) -> list[tuple[int, int, int]]:
    """Return type, first sector and number of sectors of the four entries."""
    entries = []
    for offset in range(446, 510, 16):
        start, count = struct.unpack_from("<II", sector, offset + 8)
        entries.append((sector[offset + 4], start, count))
    return entries


def _mbr_partition(number: int, kind: int, start: int, count: int, disk_bytes: int) -> Partition:
    _check_inside(number, start, count, disk_bytes)
    return Partition(number, f"0x{kind:02x}", kind in FAT_TYPES, start * SECTOR_BYTES, count * SECTOR_BYTES)


def _check_inside(number: int, start: int, count: int, disk_bytes: int) -> None:
    if start < 1 or count < 1 or (start + count) * SECTOR_BYTES > disk_bytes:
        raise FirmwareError(
            f"partition {number} lies outside the disk (sectors {start} to {start + count})",
            hint="the image is cut short or damaged: build it again",
        )


def _logical(read: Read, extended: Partition, disk_bytes: int) -> list[Partition]:
    """Follow the chain of extended boot records: each describes one logical partition and says where the next is."""
    base = extended.start_bytes // SECTOR_BYTES
    end = base + extended.size_bytes // SECTOR_BYTES
    partitions: list[Partition] = []
    here, seen = base, set[int]()
    while True:
        seen.add(here)
        sector = read(here * SECTOR_BYTES, SECTOR_BYTES)
        if sector[510:512] != b"\x55\xaa":
            # An extended partition without any logical one has no record at all.
            if not partitions and not sector.strip(b"\0"):
                return partitions
            raise FirmwareError(f"the chain of logical partitions is damaged (no record at sector {here})")
        (kind, start, count), (next_kind, next_start, _), *_ = _mbr_entries(sector)
        if kind:
            number = _FIRST_LOGICAL + len(partitions)
            # The start counts from this record, the next record's place from the start of the extended partition.
            partitions.append(_mbr_partition(number, kind, here + start if start else 0, count, disk_bytes))
        if next_kind == 0:
            return partitions
        here = base + next_start
        if next_kind not in EXTENDED_TYPES or here in seen or here >= end or len(seen) > _MAX_PARTITIONS:
            raise FirmwareError(f"the chain of logical partitions is damaged (it leads to sector {here})")


def _read_gpt(read: Read, disk_bytes: int) -> Table:
    last = disk_bytes // SECTOR_BYTES - 1
    reasons = []
    for kind, sector in (("GPT", 1), ("GPT (backup)", last)):
        try:
            return Table(kind, _gpt_partitions(read, sector, disk_bytes))
        except _GptError as error:
            reasons.append(str(error))
    raise FirmwareError(
        f"the disk's GPT is damaged: {reasons[0]}; its backup: {reasons[1]}",
        hint="the image is cut short or damaged: build it again",
    )


class _GptError(HatfleetError):
    """One of the two copies cannot be used."""


def _gpt_partitions(read: Read, sector: int, disk_bytes: int) -> tuple[Partition, ...]:
    head = read(sector * SECTOR_BYTES, SECTOR_BYTES)
    if len(head) < SECTOR_BYTES or not head.startswith(_GPT_SIGNATURE):
        raise _GptError(f"no header at sector {sector}")
    fields = _GPT_HEADER.unpack_from(head)
    _, _, head_bytes, head_crc, _, own, _, _, _, _, entries_at, count, entry_bytes, entries_crc = fields
    if not _GPT_HEADER.size <= head_bytes <= SECTOR_BYTES:
        raise _GptError(f"the header says that it has {head_bytes} bytes")
    # The CRC is made with its own field zero.
    if binascii.crc32(head[:16] + bytes(4) + head[20:head_bytes]) != head_crc:
        raise _GptError("the checksum of the header is wrong")
    if own != sector:
        raise _GptError(f"the header at sector {sector} says that it is at {own}")
    if count > _MAX_ENTRIES or not _GPT_ENTRY.size <= entry_bytes <= _MAX_ENTRY_BYTES:
        raise _GptError(f"{count} entries of {entry_bytes} bytes")
    entries = read(entries_at * SECTOR_BYTES, count * entry_bytes)
    if binascii.crc32(entries) != entries_crc:
        raise _GptError("the checksum of the entries is wrong")
    partitions = []
    for number in range(1, count + 1):
        kind, _, first, end, _ = _GPT_ENTRY.unpack_from(entries, (number - 1) * entry_bytes)
        if kind == bytes(16):
            continue
        _check_inside(number, first, end - first + 1, disk_bytes)
        guid = str(uuid.UUID(bytes_le=kind)).upper()
        size_bytes = (end - first + 1) * SECTOR_BYTES
        partitions.append(Partition(number, guid, guid in FAT_TYPE_GUIDS, first * SECTOR_BYTES, size_bytes))
    return tuple(partitions)
