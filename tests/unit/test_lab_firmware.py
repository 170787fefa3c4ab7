from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hatfleet.lab.firmware import FirmwareError, boot_partition, load, parse_command_line, read_partitions
from tests.unit.lab_tiny import FAT_START, SECTOR, mbr, tiny_image

DISK = 1000 * SECTOR


def overlay(image: Path) -> Path:
    disk = image.with_suffix(".qcow2")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", image, disk], check=True)
    return disk


def test_partitions_are_read_with_their_place_and_size() -> None:
    first, second = read_partitions(mbr((0x0C, 8, 100), (0x83, 108, 892)), DISK)
    assert (first.number, first.start_bytes, first.size_bytes) == (1, 8 * SECTOR, 100 * SECTOR)
    assert (second.number, second.type) == (2, 0x83)
    assert boot_partition([first, second]) == first


@pytest.mark.parametrize(
    ("sector", "message"),
    [
        (b"", "no partition table"),
        (bytes(512), "no partition table"),
        (b"QFI\xfb".ljust(512, b"\0"), "no partition table"),
        (mbr((0xEE, 1, 999)), "GPT"),
        (mbr((0x0C, 0, 100)), "outside the disk"),
        (mbr((0x0C, 8, 0)), "outside the disk"),
        (mbr((0x0C, 8, 993)), "outside the disk"),
        (mbr((0x0C, 0xFFFFFFFF, 0xFFFFFFFF)), "outside the disk"),
    ],
)
def test_disks_that_cannot_be_read_are_refused(sector: bytes, message: str) -> None:
    with pytest.raises(FirmwareError, match=message):
        read_partitions(sector, DISK)


@pytest.mark.parametrize(
    ("sector", "message"),
    [(mbr((0x83, 8, 10)), "not a FAT"), (mbr((0, 0, 0), (0x0C, 8, 10)), "no partition 1")],
)
def test_partition_one_must_be_the_boot_fat(sector: bytes, message: str) -> None:
    with pytest.raises(FirmwareError, match=message):
        boot_partition(read_partitions(sector, DISK))


@given(st.binary(min_size=510, max_size=510))
def test_any_sector_gives_partitions_inside_the_disk_or_an_error(head: bytes) -> None:
    try:
        partitions = read_partitions(head + b"\x55\xaa", DISK)
    except FirmwareError:
        return
    assert all(each.start_bytes > 0 and each.start_bytes + each.size_bytes <= DISK for each in partitions)


def test_kernel_initrd_and_command_line_come_from_the_boot_partition(tmp_path: Path) -> None:
    disk = overlay(tiny_image(tmp_path / "a, b.img", "hello", cmdline="root=/dev/vda2 ro\r\n"))
    boot = load(disk, tmp_path)
    assert boot.kernel.read_bytes().endswith(b"hello\0")
    assert boot.initrd.read_bytes() == b"none"
    assert boot.command_line == "root=/dev/vda2 ro"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a, b.img", "a, b.qcow2", "initrd.img", "vmlinuz"]


def test_what_the_device_changed_on_its_disk_counts_not_the_image(tmp_path: Path) -> None:
    image = tiny_image(tmp_path / "disk.img", "hello", cmdline="quiet\n")
    disk = overlay(image)
    before = image.read_bytes()
    changed = tmp_path / "changed.img"
    changed.write_bytes(before)
    fat = f"{changed}@@{FAT_START * SECTOR}"
    subprocess.run(["mcopy", "-o", "-i", fat, "-", "::cmdline.txt"], input=b"debug\n", check=True)
    writes = ["-c", f"write -s {changed} 0 {len(before)}"]
    subprocess.run(["qemu-io", "-f", "qcow2", *writes, disk], check=True, stdout=subprocess.DEVNULL)
    assert load(disk, tmp_path).command_line == "debug"
    assert image.read_bytes() == before


@pytest.mark.parametrize("missing", ["vmlinuz", "initrd.img", "cmdline.txt"])
def test_a_missing_boot_file_is_named(tmp_path: Path, missing: str) -> None:
    disk = overlay(tiny_image(tmp_path / "disk.img", "x", leave_out=missing))
    with pytest.raises(FirmwareError, match=f"no readable {missing}"):
        load(disk, tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"one\ntwo\n", "several lines"),
        (b"a\0b", "several lines"),
        ("caf\u00e9".encode(), "ASCII"),
        (b"x" * 2048, "2048 characters"),
    ],
)
def test_bad_command_lines_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(FirmwareError, match=message):
        parse_command_line(content)
