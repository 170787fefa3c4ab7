"""What a disk is, read from folders like the kernel's, and the rules that refuse it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hatfleet.common.errors import InputError, InputErrors
from hatfleet.image.flash import DEFAULT_MAX_BYTES
from hatfleet.image.flash.device import Device, Machine
from hatfleet.image.flash.refuse import refuse
from tests.unit.machine_disks import GIB_SECTORS, MMC, NVME, SATA, USB, Disks, write

GIB = 2**30


@pytest.fixture
def disks(tmp_path: Path) -> Disks:
    return Disks(tmp_path)


def refusals(
    device: Device, image_bytes: int = GIB, max_bytes: int = DEFAULT_MAX_BYTES, forced: str | None = None
) -> list[str]:
    try:
        refuse(device, image_bytes, max_bytes, forced)
    except InputError as error:
        parts = error.errors if isinstance(error, InputErrors) else (error,)
        return [f"{part.message} | {part.hint}" for part in parts]
    return []


def test_a_card_in_a_usb_reader_is_described_and_flashed(disks: Disks) -> None:
    disks.add("sdb", USB, parts=2, device__vendor="Generic", device__model="SD Reader", removable="1")
    usb = disks.sys / "devices" / "pci0000:00/0000:00:14.0/usb2/2-1"
    write(usb / "idVendor", "0bda")
    write(usb / "serial", "20120501030900000")
    card = disks.find("sdb")
    assert (card.model, card.transport, card.serial) == ("Generic SD Reader", "usb", "20120501030900000")
    assert (card.size_bytes, card.removable, card.uses, card.runs_system) == (32 * GIB, True, (), False)
    assert [(part.name, part.size_bytes) for part in card.partitions] == [("sdb1", GIB), ("sdb2", GIB)]
    assert refusals(card) == []


def test_an_sd_card_and_a_usb_disk_need_not_be_called_removable(disks: Disks) -> None:
    disks.add("mmcblk0", MMC, parts=1, device__name="SC32G", device__serial="0x1234abcd")
    disks.add("sdb", USB)
    card = disks.find("mmcblk0")
    assert (card.model, card.serial, card.transport) == ("SC32G", "0x1234abcd", "mmc")
    assert refusals(card) == refusals(disks.find("sdb")) == []


@pytest.mark.parametrize(("name", "bus", "transport"), [("nvme0n1", NVME, "nvme"), ("sda", SATA, "sata")])
def test_a_built_in_disk_is_flashed_only_when_its_name_is_repeated(
    disks: Disks, name: str, bus: str, transport: str
) -> None:
    disks.add(name, bus)
    disk = disks.find(name)
    assert refusals(disk) == [
        f"{name} is neither removable nor a USB disk or card, connected by {transport} | "
        f"if it is the right one, repeat its name: --force-device {name}"
    ]
    assert refusals(disk, forced=name) == refusals(disk, forced=f"/dev/{name}") == []


def test_forcing_another_name_lifts_nothing(disks: Disks) -> None:
    disks.add("sda", SATA)
    disks.add("sdb", USB)
    assert [words.partition(" | ")[0] for words in refusals(disks.find("sda"), forced="sdb")] == [
        "--force-device names sdb, but the disk is sda",
        "sda is neither removable nor a USB disk or card, connected by sata",
    ]
    assert len(refusals(disks.find("sdb"), forced="sda")) == 1


def test_a_disk_larger_than_the_limit(disks: Disks) -> None:
    disks.add("sdb", USB, sectors=2000 * GIB_SECTORS)
    disk = disks.find("sdb")
    (words,) = refusals(disk)
    assert words.startswith("sdb has 2.0 TiB, more than the limit of 256.0 GiB | ")
    assert "--force-device sdb, or raise the limit with --max-size" in words
    assert refusals(disk, forced="sdb") == refusals(disk, max_bytes=2000 * GIB) == []
    assert len(refusals(disk, max_bytes=2000 * GIB - 1)) == 1


@pytest.mark.parametrize("point", ["/media/card", "/media/my\\040card"])
def test_a_mounted_disk_is_refused_even_when_forced(disks: Disks, point: str) -> None:
    disks.add("sdb", USB, parts=2)
    disks.mount("sdb2", point)
    words = "sdb is in use: sdb2 is mounted at " + point.replace("\\040", " ")
    assert refusals(disks.find("sdb")) == [f"{words} | unmount it first: umount, or eject it in your desktop"]
    assert len(refusals(disks.find("sdb"), forced="sdb")) == 1


def test_a_btrfs_mount_has_a_number_of_its_own_and_is_seen_by_its_source(disks: Disks) -> None:
    disks.add("sdb", USB, parts=1)
    disks.mount("sdb1", "/data", number="0:44")
    assert disks.find("sdb").uses == ("sdb1 is mounted at /data",)


def test_a_disk_mounted_without_partitions(disks: Disks) -> None:
    disks.add("sdb", USB)
    disks.mount("sdb", "/mnt")
    assert disks.find("sdb").uses == ("sdb is mounted at /mnt",)


def test_mounts_of_other_disks_do_not_matter(disks: Disks) -> None:
    disks.add("sdb", USB, parts=1)
    disks.add("sdc", USB, parts=1)
    disks.mount("sdc1", "/mnt")
    disks.swap("sdc1")
    assert refusals(disks.find("sdb")) == []


def test_swap_space_is_refused(disks: Disks) -> None:
    disks.add("sdb", USB, parts=3)
    disks.swap("sdb3")
    assert refusals(disks.find("sdb"), forced="sdb") == [
        "sdb is in use: sdb3 is swap space | stop using it first: swapoff"
    ]


def test_volumes_are_refused_with_what_lies_on_them(disks: Disks) -> None:
    disks.add("sdb", USB, parts=1)
    disks.volume("dm-0", "luks-data", on="sdb1")
    disks.volume("dm-1", "vg-home", on="dm-0")
    (words,) = refusals(disks.find("sdb"), forced="sdb")
    assert words.startswith(
        "sdb is in use: the volume dm-0 (luks-data) lies on it; the volume dm-1 (vg-home) lies on it | take the volume"
    )
    disks.mount("dm-1", "/mnt")
    assert "dm-1 is mounted at /mnt" in refusals(disks.find("sdb"))[0]


@pytest.mark.parametrize("point", ["/", "/boot/firmware", "/var"])
def test_the_disk_the_system_runs_from_is_refused_whatever_is_said(disks: Disks, point: str) -> None:
    disks.add("mmcblk0", MMC, parts=2, removable="1")
    disks.volume("dm-0", "root", on="mmcblk0p2")
    disks.mount("dm-0", point)
    for forced in (None, "mmcblk0"):
        assert refusals(disks.find("mmcblk0"), forced=forced) == [
            "mmcblk0 is the disk that this system runs from | nothing can force this"
        ]


def test_every_reason_is_given_at_once(disks: Disks) -> None:
    disks.add("sda", SATA, sectors=300 * GIB_SECTORS, parts=1, ro="1")
    disks.mount("sda1", "/srv")
    assert [words.split(" | ")[0] for words in refusals(disks.find("sda"), image_bytes=301 * GIB)] == [
        "sda is in use: sda1 is mounted at /srv",
        "sda is read-only",
        "sda has 300.0 GiB, 1.0 GiB less than the image",
        "sda is neither removable nor a USB disk or card, connected by sata",
        "sda has 300.0 GiB, more than the limit of 256.0 GiB",
    ]


def test_a_reader_without_a_card(disks: Disks) -> None:
    disks.add("sdb", USB, sectors=0, removable="1")
    assert refusals(disks.find("sdb"), forced="sdb") == ["sdb has no size | is there a card in the reader?"]


def test_an_image_that_just_fits_and_one_byte_more(disks: Disks) -> None:
    disks.add("sdb", USB)
    assert refusals(disks.find("sdb"), image_bytes=32 * GIB) == []
    assert len(refusals(disks.find("sdb"), image_bytes=32 * GIB + 1)) == 1


def test_a_partition_is_no_disk(disks: Disks) -> None:
    disks.add("mmcblk0", MMC, parts=1)
    with pytest.raises(InputError) as caught:
        disks.find("mmcblk0p1")
    assert (caught.value.message, caught.value.hint) == (
        "mmcblk0p1 is a partition",
        "name the whole disk: /dev/mmcblk0",
    )


def test_disks_to_offer_are_pluggable_and_not_in_use(disks: Disks) -> None:
    disks.add("sda", SATA)
    disks.add("sdb", USB, parts=1)
    disks.add("sdc", USB, parts=1)
    disks.add("sdd", USB, sectors=0)
    disks.add("mmcblk0", MMC)
    disks.mount("sdc1", "/mnt")
    assert disks.machine.likely() == ["mmcblk0", "sdb"]


def test_a_missing_device_names_those_there_are(disks: Disks, tmp_path: Path) -> None:
    disks.add("sdb", USB)
    with pytest.raises(InputError) as caught:
        disks.machine.find(tmp_path / "sdx")
    assert "No such file" in caught.value.message
    assert caught.value.hint == "removable disks: /dev/sdb"


def test_neither_disk_nor_file(disks: Disks, tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/null")):
        with pytest.raises(InputError, match="is neither a disk nor a file"):
            disks.machine.find(path)


def test_a_file_has_its_size_and_needs_no_force(tmp_path: Path) -> None:
    file = tmp_path / "card.img"
    file.touch()
    os.truncate(file, 300 * GIB)
    (tmp_path / "link").symlink_to(file)
    device = Machine().find(tmp_path / "link")
    assert (device.name, device.path, device.size_bytes, device.is_file) == ("card.img", file, 300 * GIB, True)
    assert refusals(device) == []
    assert len(refusals(device, image_bytes=301 * GIB)) == 1
