"""The partition table byte by byte, and what an independent tool makes of it."""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path

import pytest

from hatfleet.common.errors import HatfleetError
from hatfleet.image.disk import (
    ALIGNMENT_BYTES,
    MIB,
    TYPE_FAT32_LBA,
    TYPE_LINUX,
    Partition,
    align,
    master_boot_record,
    partuuid,
    write_disk,
)
from hatfleet.image.identity import Identity

DISK_ID = 0xCAFE0102


@pytest.fixture
def partitions(tmp_path: Path) -> tuple[Partition, Partition]:
    boot, system = tmp_path / "boot", tmp_path / "system"
    boot.write_bytes(b"B" * 5000)
    system.write_bytes(b"S" + bytes(3 * MIB) + b"E")
    return (
        Partition(TYPE_FAT32_LBA, 16 * MIB, boot, bootable=True),
        Partition(TYPE_LINUX, 20 * MIB, system),
    )


def test_the_table_is_these_bytes(partitions: tuple[Partition, ...]) -> None:
    record = master_boot_record(DISK_ID, partitions)
    assert len(record) == 512
    assert record[440:446].hex() == "0201feca0000"
    first = "80 feffff 0c feffff 00400000 00800000"
    second = "00 feffff 83 feffff 00c00000 00c00000"
    assert record[446:478] == bytes.fromhex(first + second)
    assert record[478:510] == bytes(32)
    assert record[510:] == b"\x55\xaa"


def test_sfdisk_reads_the_same(tmp_path: Path, partitions: tuple[Partition, ...]) -> None:
    disk = tmp_path / "disk.img"
    write_disk(disk, DISK_ID, partitions)
    output = subprocess.run(["/usr/sbin/sfdisk", "--json", disk], capture_output=True, check=True).stdout
    table = json.loads(output)["partitiontable"]
    assert (table["label"], table["id"]) == ("dos", "0xcafe0102")
    assert [(p["start"], p["size"], p["type"], p.get("bootable", False)) for p in table["partitions"]] == [
        (16384, 32768, "c", True),
        (49152, 49152, "83", False),
    ]


def test_content_lies_in_its_partition_and_holes_stay_holes(tmp_path: Path, partitions: tuple[Partition, ...]) -> None:
    disk = tmp_path / "disk.img"
    write_disk(disk, DISK_ID, partitions)
    data = disk.read_bytes()
    assert len(data) == ALIGNMENT_BYTES + 16 * MIB + 24 * MIB
    assert data[8 * MIB :].startswith(b"B" * 5000 + b"\0")
    assert data[24 * MIB :].startswith(b"S\0")
    assert data[27 * MIB + 1 : 27 * MIB + 3] == b"E\0"
    assert disk.stat().st_blocks * 512 < 4 * MIB


def test_twice_the_same_bytes(tmp_path: Path, partitions: tuple[Partition, ...]) -> None:
    for name in ("one", "two"):
        write_disk(tmp_path / name, DISK_ID, partitions)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_content_larger_than_its_partition_is_refused(tmp_path: Path) -> None:
    content = tmp_path / "big"
    content.write_bytes(bytes(9 * MIB))
    with pytest.raises(HatfleetError, match="big has 9437184 bytes, its partition 8388608"):
        write_disk(tmp_path / "disk", DISK_ID, [Partition(TYPE_LINUX, 8 * MIB, content)])


def test_five_partitions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HatfleetError, match="holds 4 partitions, not 5"):
        master_boot_record(DISK_ID, [Partition(TYPE_LINUX, MIB, tmp_path)] * 5)


def test_more_than_two_tebibytes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HatfleetError, match="2 TiB"):
        master_boot_record(DISK_ID, [Partition(TYPE_LINUX, 2**41, tmp_path)])


def test_sizes_round_up_to_the_alignment() -> None:
    assert [align(size) for size in (1, 8 * MIB, 8 * MIB + 1)] == [8 * MIB, 8 * MIB, 16 * MIB]


def test_partuuid_is_what_the_kernel_calls_it() -> None:
    assert partuuid(0x1A, 2) == "0000001a-02"


def test_identifiers_depend_on_the_name_alone() -> None:
    assert Identity.of("edge") == Identity.of("edge")
    one, two = Identity.of("edge"), Identity.of("edgy")
    assert len({one.disk_id, two.disk_id, one.boot_volume_id, two.boot_volume_id}) == 4
    assert one.system_uuid != two.system_uuid
    assert struct.pack("<I", one.disk_id) in master_boot_record(one.disk_id, [])
