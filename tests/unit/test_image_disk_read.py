"""Tables that are damaged, foreign or malicious: the reader says what is wrong, and never ends in anything else."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hatfleet.common.errors import InputError
from hatfleet.image.disk import ALIGNMENT_BYTES, MIB, Kind, Partition, TableType, place, read_table, write_disk
from hatfleet.image.disk.layout import SECTOR_BYTES
from tests.unit.disk_images import IDS, damage, image_layout, tool

#: Offsets in an MBR's first sector: the entries, and in each of them type and first sector.
ENTRY_AT, TYPE_AT, FIRST_AT = 446, 4, 8


@pytest.fixture
def make(tmp_path: Path) -> Callable[[TableType], Path]:
    def make_disk(table: TableType) -> Path:
        disk = tmp_path / "disk.img"
        write_disk(disk, image_layout(table), {})
        return disk

    return make_disk


def message_about(disk: Path) -> str:
    with pytest.raises(InputError) as error:
        read_table(disk)
    assert error.value.where and error.value.where.file == disk
    return error.value.message


def test_names_come_back_where_they_are_those_of_an_image(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    write_disk(disk, image_layout(TableType.MBR), {})
    assert read_table(disk).layout == image_layout(TableType.MBR)
    write_disk(disk, place(TableType.MBR, [Partition("boot", Kind.FAT, MIB)], IDS), {})
    assert [placed.name for placed in read_table(disk).layout.partitions] == [""]


def test_a_file_that_is_not_there_is_an_error_of_the_user(tmp_path: Path) -> None:
    assert "No such file" in message_about(tmp_path / "none.img")
    assert "Is a directory" in message_about(tmp_path)


@pytest.mark.parametrize("content", [b"", b"short", bytes(4096)])
def test_a_file_without_a_table_is_said_to_have_none(tmp_path: Path, content: bytes) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(content)
    assert "partition table" in message_about(disk)


@pytest.mark.parametrize(
    ("offset", "data", "message"),
    [
        (ENTRY_AT + TYPE_AT, b"\x82", "partition 1 has type 0x82; 0x0c (FAT) and 0x83 (Linux) are known"),
        (ENTRY_AT + FIRST_AT, struct.pack("<I", 0), "partition 1 has no room: it begins at sector 0"),
        (ENTRY_AT + FIRST_AT + 4, struct.pack("<I", 0), "partition 1 has no room"),
        (ENTRY_AT + FIRST_AT + 4, b"\xff" * 4, "partition 1 ends at sector 4294983679, behind the end of the disk"),
        (ENTRY_AT + FIRST_AT + 4, struct.pack("<I", 32769), "partitions 1 and 2 overlap"),
        (ENTRY_AT + TYPE_AT, b"\x05", "more than one extended partition"),
        (ENTRY_AT + 48 + FIRST_AT + 4, b"\xff" * 4, "the extended partition ends at sector"),
        (ENTRY_AT + 48 + FIRST_AT + 4, struct.pack("<I", 60000), "ends behind the extended partition"),
        (510, b"\0", "the first sector lacks its signature"),
    ],
)
def test_a_damaged_record_is_named(make: Callable[[TableType], Path], offset: int, data: bytes, message: str) -> None:
    disk = make(TableType.MBR)
    damage(disk, offset, data)
    assert message in message_about(disk)


def test_a_broken_chain_is_named(make: Callable[[TableType], Path]) -> None:
    disk = make(TableType.MBR)
    second = image_layout(TableType.MBR).partition("system_b").start_bytes - ALIGNMENT_BYTES
    damage(disk, second + 511)
    assert message_about(disk) == f"the record of a logical partition at sector {second // 512} lacks its signature"


def test_a_chain_that_leads_back_is_refused(make: Callable[[TableType], Path]) -> None:
    disk = make(TableType.MBR)
    second = image_layout(TableType.MBR).partition("system_b").start_bytes - ALIGNMENT_BYTES
    damage(disk, second + ENTRY_AT + 16 + FIRST_AT, struct.pack("<I", 0))
    assert "leads to no sector that follows it" in message_about(disk)


def test_a_cut_off_image_is_refused(make: Callable[[TableType], Path]) -> None:
    disk = make(TableType.MBR)
    with disk.open("r+b") as handle:
        handle.truncate(200 * MIB)
    assert "behind the end of the disk (409600 sectors)" in message_about(disk)


def test_the_backup_of_a_gpt_is_used_when_the_first_copy_is_damaged(make: Callable[[TableType], Path]) -> None:
    disk = make(TableType.GPT)
    damage(disk, SECTOR_BYTES + 56)
    found = read_table(disk)
    assert found.layout == image_layout(TableType.GPT)
    assert found.warnings == (
        "the first copy of the GPT is damaged, the backup was used: the checksum of its header is wrong",
    )
    damage(disk, image_layout(TableType.GPT).size_bytes - 512)
    assert message_about(disk) == (
        "both copies of the GPT are damaged: the first: the checksum of its header is wrong; "
        f"the backup: there is no header at sector {image_layout(TableType.GPT).size_bytes // 512 - 1}"
    )


@pytest.mark.parametrize(
    ("offset", "warning"),
    [
        (2 * SECTOR_BYTES + 20, "the first copy of the GPT is damaged, the backup was used: the checksum of its entri"),
        (-SECTOR_BYTES + 60, "the backup of the GPT is damaged: the checksum of its header is wrong"),
        (-33 * SECTOR_BYTES + 60, "the backup of the GPT is damaged: the checksum of its entries is wrong"),
    ],
)
def test_what_is_wrong_with_one_copy_is_said(make: Callable[[TableType], Path], offset: int, warning: str) -> None:
    disk = make(TableType.GPT)
    damage(disk, offset if offset > 0 else disk.stat().st_size + offset)
    found = read_table(disk)
    assert found.layout == image_layout(TableType.GPT)
    assert len(found.warnings) == 1
    assert found.warnings[0].startswith(warning)


def test_a_gpt_on_a_larger_disk_is_read_and_its_backup_said_to_be_misplaced(
    make: Callable[[TableType], Path],
) -> None:
    disk = make(TableType.GPT)
    with disk.open("r+b") as handle:
        handle.truncate(4 * 1024 * MIB)
    found = read_table(disk)
    assert found.layout.partitions == image_layout(TableType.GPT).partitions
    assert [warning.split(" at ")[0] for warning in found.warnings] == ["the backup of the GPT is"]


def test_a_gpt_that_another_tool_wrote_is_read(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    with disk.open("wb") as handle:
        handle.truncate(64 * MIB)
    names = ("--new=1:0:+8M", "--typecode=1:0700", "--change-name=1:fät", "--new=5:0:0", "--typecode=5:8300")
    tool("sgdisk", *names, disk)
    found = read_table(disk)
    assert found.warnings == ()
    assert [(p.number, p.name, p.kind, p.start_bytes) for p in found.layout.partitions] == [
        (1, "fät", Kind.FAT, MIB),
        (5, "", Kind.LINUX, 9 * MIB),
    ]


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    table=st.sampled_from(list(TableType)),
    sector=st.integers(0, 4),
    changes=st.lists(st.tuples(st.integers(0, SECTOR_BYTES - 9), st.binary(min_size=1, max_size=8)), max_size=4),
)
def test_no_damage_ends_in_anything_but_an_error_or_partitions_on_the_disk(
    tmp_path: Path, table: TableType, sector: int, changes: list[tuple[int, bytes]]
) -> None:
    disk = tmp_path / "disk.img"
    layout = place(table, [Partition(f"p{index}", Kind.LINUX, MIB) for index in range(5)], IDS)
    write_disk(disk, layout, {})
    # The sectors that describe partitions: the records of an MBR's chain, the first sectors and the last of a GPT.
    starts = [0, *(p.start_bytes - ALIGNMENT_BYTES for p in layout.partitions[3:])]
    starts += [SECTOR_BYTES, 2 * SECTOR_BYTES, layout.size_bytes - SECTOR_BYTES]
    for offset, data in changes:
        damage(disk, starts[sector % len(starts)] + offset, data)
    try:
        found = read_table(disk).layout
    except InputError:
        return
    assert all(0 < p.start_bytes < p.end_bytes <= found.size_bytes for p in found.partitions)
