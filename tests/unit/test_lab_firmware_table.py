from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hatfleet.lab.firmware.errors import FirmwareError
from hatfleet.lab.firmware.table import SECTOR_BYTES, Read, Table, read_table
from tests.unit.lab_disks import GPT_TABLE, MBR_TABLE, make_disk
from tests.unit.lab_tiny import mbr

DISK = 1000 * SECTOR_BYTES


def of(content: bytes) -> Read:
    return lambda offset, length: content[offset : offset + length]


def table_of(content: bytes, disk_bytes: int | None = None) -> Table:
    return read_table(of(content), disk_bytes or len(content))


def sfdisk(path: Path) -> list[tuple[int, int, int]]:
    """What sfdisk reads: number, first byte, bytes."""
    output = subprocess.run(["sfdisk", "--json", path], check=True, capture_output=True).stdout
    return [
        (int(each["node"].removeprefix(str(path))), each["start"] * SECTOR_BYTES, each["size"] * SECTOR_BYTES)
        for each in json.loads(output)["partitiontable"]["partitions"]
    ]


@pytest.mark.parametrize(("text", "kind", "fats"), [(MBR_TABLE, "MBR", [1, 2, 3]), (GPT_TABLE, "GPT", [1, 2, 3])])
def test_partitions_are_those_that_sfdisk_reads(tmp_path: Path, text: str, kind: str, fats: list[int]) -> None:
    path = make_disk(tmp_path / "disk.img", {}, table=text)
    table = table_of(path.read_bytes())
    assert table.kind == kind
    assert [(each.number, each.start_bytes, each.size_bytes) for each in table.partitions] == sfdisk(path)
    assert [each.number for each in table.partitions if each.fat] == fats


def test_an_extended_partition_may_be_empty() -> None:
    disk = mbr((0x0C, 8, 100), (0x0F, 200, 300)).ljust(DISK, b"\0")
    assert [each.number for each in table_of(disk).partitions] == [1, 2]


@pytest.mark.parametrize(
    ("sector", "message"),
    [
        (b"", "no partition table"),
        (bytes(512), "no partition table"),
        (b"QFI\xfb".ljust(512, b"\0"), "no partition table"),
        (mbr((0x0C, 0, 100)), "outside the disk"),
        (mbr((0x0C, 8, 0)), "outside the disk"),
        (mbr((0x0C, 8, 993)), "outside the disk"),
        (mbr((0x0C, 0xFFFFFFFF, 0xFFFFFFFF)), "outside the disk"),
    ],
)
def test_disks_that_cannot_be_read_are_refused(sector: bytes, message: str) -> None:
    with pytest.raises(FirmwareError, match=message):
        table_of(sector.ljust(DISK, b"\0") if sector else b"", DISK)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (b"x".ljust(512, b"\0"), "no record at sector 200"),
        (mbr((0x83, 8, 10), (0x0F, 0, 1)), "leads to sector 200"),
        (mbr((0x83, 8, 10), (0x0F, 300, 1)), "leads to sector 500"),
        (mbr((0x83, 8, 10), (0x83, 20, 1)), "leads to sector 220"),
        (mbr((0x83, 8, 900)), "partition 5 lies outside"),
        (mbr((0x83, 0, 10)), "partition 5 lies outside"),
    ],
)
def test_a_damaged_chain_of_logical_partitions_is_refused(record: bytes, message: str) -> None:
    disk = bytearray(mbr((0x0C, 8, 100), (0x0F, 200, 300)).ljust(DISK, b"\0"))
    disk[200 * SECTOR_BYTES : 201 * SECTOR_BYTES] = record
    with pytest.raises(FirmwareError, match=message):
        table_of(bytes(disk))


@given(st.binary(min_size=510, max_size=510))
def test_any_sector_gives_partitions_inside_the_disk_or_an_error(head: bytes) -> None:
    disk = (head + b"\x55\xaa").ljust(DISK, b"\0")
    try:
        table = table_of(disk)
    except FirmwareError:
        return
    assert all(each.start_bytes > 0 and each.start_bytes + each.size_bytes <= DISK for each in table.partitions)


# --- GPT ---


class Content(bytes):
    """A disk's bytes that a failing test does not print."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"


@pytest.fixture(scope="module")
def gpt(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return Content(make_disk(tmp_path_factory.mktemp("gpt") / "disk.img", {}, table=GPT_TABLE).read_bytes())


@pytest.mark.parametrize("place", [512, 512 + 12, 512 + 40, 1024, 1024 + 127])
def test_the_backup_is_read_when_the_first_copy_is_damaged(gpt: bytes, place: int) -> None:
    damaged = bytearray(gpt)
    damaged[place] ^= 1
    table = table_of(bytes(damaged))
    assert table.kind == "GPT (backup)"
    assert table.partitions == table_of(gpt).partitions


def test_with_both_copies_damaged_the_error_says_what_is_wrong_with_each(gpt: bytes) -> None:
    damaged = bytearray(gpt)
    damaged[512] ^= 1
    damaged[-512 + 20] ^= 1
    with pytest.raises(FirmwareError, match=r"no header at sector 1; its backup: the checksum of the header is wrong"):
        table_of(bytes(damaged))


@given(st.integers(min_value=512, max_value=34 * 512 - 1), st.integers(min_value=1, max_value=255))
def test_no_changed_byte_of_the_first_copy_changes_a_partition(gpt: bytes, place: int, change: int) -> None:
    head = bytearray(gpt[: 34 * 512])
    head[place] ^= change

    def read(offset: int, length: int) -> bytes:
        return bytes((head if offset < len(head) else gpt)[offset : offset + length])

    assert read_table(read, len(gpt)).partitions == table_of(gpt).partitions
