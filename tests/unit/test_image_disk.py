"""Partition tables: what we write, what independent tools make of it, and what we read back."""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hatfleet.common.errors import HatfleetError, InputError
from hatfleet.image.data import GROW_SCRIPT, MARK, MARK_OFFSET_BYTES, blank_data
from hatfleet.image.disk import (
    ALIGNMENT_BYTES,
    MIB,
    DiskIds,
    DiskLayout,
    Kind,
    Partition,
    TableType,
    place,
    read_table,
    write_disk,
)
from hatfleet.image.disk.layout import SECTOR_BYTES, align
from hatfleet.image.disk.mbr import table_sectors
from hatfleet.image.identity import Identity
from tests.unit.disk_images import IDS, damage, image_layout, sizes, tool

GOLDEN = Path(__file__).parent / "golden"
BOTH = pytest.mark.parametrize("table", list(TableType))


def sfdisk_says(disk: Path) -> list[tuple[int, int, str]]:
    """Return start and size in bytes, and type, of every partition as sfdisk sees it."""
    table: dict[str, Any] = json.loads(tool("sfdisk", "--json", disk))["partitiontable"]
    return [(p["start"] * SECTOR_BYTES, p["size"] * SECTOR_BYTES, p["type"].lower()) for p in table["partitions"]]


@BOTH
def test_the_table_is_the_recorded_one(tmp_path: Path, table: TableType) -> None:
    disk = tmp_path / "disk.img"
    write_disk(disk, image_layout(table), {})
    said = tool("sfdisk", "--dump", disk).replace(str(disk), "disk.img")
    assert said == (GOLDEN / f"disk-{table}.txt").read_text()


@BOTH
def test_sfdisk_finds_no_fault(tmp_path: Path, table: TableType) -> None:
    disk = tmp_path / "disk.img"
    write_disk(disk, image_layout(table), {})
    assert "No errors detected." in tool("sfdisk", "--verify", disk)


def test_sgdisk_finds_no_fault_until_there_is_one(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    write_disk(disk, image_layout(TableType.GPT), {})
    assert "No problems found" in tool("sgdisk", "--verify", disk)
    damage(disk, 2 * SECTOR_BYTES + 60)
    assert "No problems found" not in tool("sgdisk", "--verify", disk)


@BOTH
def test_the_kernels_names_are_those_that_blkid_gives(tmp_path: Path, table: TableType) -> None:
    disk = tmp_path / "disk.img"
    layout = image_layout(table)
    write_disk(disk, layout, {})
    shown = tool("partx", "--noheadings", "--raw", "--output", "NR,UUID", disk).split("\n")
    said = dict(line.split(" ") for line in shown if line)
    assert {str(placed.number): placed.partuuid for placed in layout.partitions}.items() <= said.items()
    assert f'PTUUID="{layout.ptuuid}"' in tool("blkid", "-p", disk)


def test_the_number_in_a_partuuid_is_hexadecimal() -> None:
    assert IDS.partuuid(TableType.MBR, 10, "any") == "cafe0102-0a"


def test_logical_partitions_have_a_gap_of_their_own_for_their_record() -> None:
    layout = image_layout(TableType.MBR)
    records = [offset for offset, _ in table_sectors(layout)]
    assert [placed.number for placed in layout.partitions] == [1, 2, 3, 5, 6, 7]
    assert records[1:] == [placed.start_bytes - ALIGNMENT_BYTES for placed in layout.partitions[3:]]
    assert not any(p.start_bytes <= record < p.end_bytes for p in layout.partitions for record in records)


@BOTH
def test_everything_is_aligned(table: TableType) -> None:
    for placed in place(table, sizes(1, 9, 17, 3, 8, 1), IDS).partitions:
        assert placed.start_bytes % ALIGNMENT_BYTES == placed.size_bytes % ALIGNMENT_BYTES == 0


def test_sizes_round_up_to_the_alignment() -> None:
    assert [align(size) for size in (1, 8 * MIB, 8 * MIB + 1)] == [8 * MIB, 8 * MIB, 16 * MIB]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    table=st.sampled_from(list(TableType)),
    wanted=st.lists(st.tuples(st.sampled_from(list(Kind)), st.integers(1, 2**37)), min_size=1, max_size=12),
    disk_id=st.integers(1, 2**32 - 1),
    guid=st.uuids(),
)
def test_any_layout_comes_back_and_sfdisk_agrees(
    tmp_path: Path, table: TableType, wanted: list[tuple[Kind, int]], disk_id: int, guid: uuid.UUID
) -> None:
    partitions = [Partition(f"p{index}", kind, size) for index, (kind, size) in enumerate(wanted)]
    layout = place(table, partitions, DiskIds(disk_id, guid))
    disk = tmp_path / "disk.img"
    write_disk(disk, layout, {})
    found = read_table(disk)
    assert found.warnings == ()
    assert nameless(found.layout) == nameless(layout)
    codes = {Kind.FAT: ("c", "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7")}
    codes[Kind.LINUX] = ("83", "0fc63daf-8483-4772-8e79-3d69d8477de4")
    expected = [(p.start_bytes, p.size_bytes, codes[p.kind][table is TableType.GPT]) for p in layout.partitions]
    assert [row for row in sfdisk_says(disk) if row[2] != "f"] == expected


def nameless(layout: DiskLayout) -> DiskLayout:
    """Leave out what an MBR does not keep."""
    if layout.table is TableType.GPT:
        return layout
    return replace(layout, partitions=tuple(replace(placed, name="") for placed in layout.partitions))


def test_an_mbr_ends_just_below_two_tebibytes(tmp_path: Path) -> None:
    most = 2**41 - 2 * ALIGNMENT_BYTES
    layout = place(TableType.MBR, [Partition("all", Kind.LINUX, most)], IDS)
    disk = tmp_path / "disk.img"
    write_disk(disk, layout, {})
    assert read_table(disk).layout.partitions[0].size_bytes == most
    assert sfdisk_says(disk) == [(ALIGNMENT_BYTES, most, "83")]
    with pytest.raises(InputError, match=r"need 2097152 MiB, an MBR describes less than 2097152 MiB") as error:
        place(TableType.MBR, [Partition("all", Kind.LINUX, most + 1)], IDS)
    assert error.value.hint and "layout.table: gpt" in error.value.hint


def test_a_gpt_goes_beyond_two_tebibytes(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    write_disk(disk, place(TableType.GPT, [Partition("all", Kind.LINUX, 2**42)], IDS), {})
    assert sfdisk_says(disk)[0][1] == 2**42
    assert read_table(disk).layout.partitions[0].size_bytes == 2**42


@pytest.mark.parametrize(("table", "most"), [(TableType.MBR, 59), (TableType.GPT, 128)])
def test_as_many_partitions_as_the_table_holds(tmp_path: Path, table: TableType, most: int) -> None:
    partitions = [Partition(f"p{index}", Kind.LINUX, MIB) for index in range(most + 1)]
    disk = tmp_path / "disk.img"
    write_disk(disk, place(table, partitions[:-1], IDS), {})
    assert len(read_table(disk).layout.partitions) == most
    assert len([row for row in sfdisk_says(disk) if row[2] != "f"]) == most
    with pytest.raises(HatfleetError, match=f"{table} holds {most} partitions, not {most + 1}"):
        place(table, partitions, IDS)


@pytest.mark.parametrize(
    ("partitions", "message"),
    [
        ([Partition("one", Kind.LINUX, MIB)] * 2, "two partitions are called 'one'"),
        ([Partition("", Kind.LINUX, MIB)], "has 1 to 36 characters, not ''"),
        ([Partition("n" * 37, Kind.LINUX, MIB)], "has 1 to 36 characters"),
        ([Partition("one", Kind.LINUX, 0)], "partition one has 0 bytes"),
    ],
)
def test_partitions_that_make_no_sense_are_refused(partitions: list[Partition], message: str) -> None:
    with pytest.raises(HatfleetError, match=message):
        place(TableType.GPT, partitions, IDS)


@BOTH
def test_content_lies_in_its_partition_and_zeros_are_holes(tmp_path: Path, table: TableType) -> None:
    boot, system, disk = tmp_path / "boot", tmp_path / "system", tmp_path / "disk.img"
    boot.write_bytes(b"B" * 5000)
    system.write_bytes(b"S" + bytes(3 * MIB) + b"E")
    layout = place(table, sizes(8, 8, 8, 8, 8, 8), IDS)
    write_disk(disk, layout, {"boot_a": boot, "system_a": system})
    data = disk.read_bytes()
    assert len(data) == layout.size_bytes
    for name, content in (("boot_a", boot), ("system_a", system)):
        placed = layout.partition(name)
        assert data[placed.start_bytes : placed.end_bytes] == content.read_bytes().ljust(placed.size_bytes, b"\0")
    assert disk.stat().st_blocks * 512 <= 128 * 1024


@BOTH
def test_twice_the_same_bytes(tmp_path: Path, table: TableType) -> None:
    content = tmp_path / "content"
    content.write_bytes(os.urandom(3 * MIB + 17))
    for name in ("one", "two"):
        write_disk(tmp_path / name, place(table, sizes(8, 8, 8, 8, 8, 8), IDS), {"system_a": content})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_content_larger_than_its_partition_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    content, disk = tmp_path / "system.img", tmp_path / "disk.img"
    content.write_bytes(bytes(10 * MIB + 1))
    with pytest.raises(InputError, match=r"partition system_a has 8 MiB, 3 MiB too few for system\.img") as error:
        write_disk(disk, place(TableType.MBR, sizes(8, 8, 8, 8, 8, 8), IDS), {"system_a": content})
    assert error.value.hint == "it needs 11 MiB or more"
    assert not disk.exists()


def test_content_for_no_partition_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HatfleetError, match=r"no partition 'root': it has bootcfg, boot_a, "):
        write_disk(tmp_path / "disk.img", image_layout(TableType.MBR), {"root": tmp_path})


@BOTH
def test_the_mark_of_a_blank_data_partition_lies_in_the_gap(tmp_path: Path, table: TableType) -> None:
    disk = tmp_path / "disk.img"
    write_disk(disk, image_layout(table), {}, blank_data())
    with disk.open("rb") as handle:
        handle.seek(MARK_OFFSET_BYTES)
        assert handle.read(4096) == MARK.ljust(4096, b"\0")
    assert read_table(disk).layout == image_layout(table)
    script = GROW_SCRIPT.read_text()
    assert f"mark='{MARK.decode()}'" in script
    assert f"mark_block={MARK_OFFSET_BYTES // 4096}\n" in script


@pytest.mark.parametrize("offset", [0, 33 * SECTOR_BYTES, 8 * MIB - 1])
def test_nothing_else_is_written_over_a_table_or_a_partition(tmp_path: Path, offset: int) -> None:
    with pytest.raises(HatfleetError, match="do not lie in the gap from 1048576 to 8388608"):
        write_disk(tmp_path / "disk.img", image_layout(TableType.GPT), {}, {offset: b"ab"})
    assert not (tmp_path / "disk.img").exists()


def test_the_documented_layout_is_the_layout() -> None:
    text = (Path(__file__).parents[2] / "docs" / "reference" / "disk-layout.md").read_text()
    layouts = image_layout(TableType.MBR), image_layout(TableType.GPT)
    for mbr, gpt in zip(*(layout.partitions for layout in layouts), strict=True):
        kind = "FAT" if mbr.kind is Kind.FAT else "Linux"
        assert f"| `{mbr.name}` | {mbr.number} | {gpt.number} | {kind} |" in text
    assert MARK.decode() in text


def test_identifiers_depend_on_the_name_alone() -> None:
    assert Identity.of("edge") == Identity.of("edge")
    one, two = Identity.of("edge"), Identity.of("edgy")
    numbers = {
        number for each in (one, two) for number in (each.disk.disk_id, each.bootcfg_volume_id, each.boot_volume_id)
    }
    assert len(numbers) == 6
    assert one.disk.disk_guid != two.disk.disk_guid
