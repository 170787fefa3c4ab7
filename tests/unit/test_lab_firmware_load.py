"""The whole firmware stage on real disks: tables by sfdisk, FATs by mtools, qcow2 by qemu-img."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hatfleet.lab.firmware import FirmwareError, load
from hatfleet.lab.firmware.devicetree import write_device_tree
from tests.unit.lab_disks import (
    FAT_STARTS,
    GPT_TABLE,
    MBR_TABLE,
    MIB,
    autoboot,
    boot_sig,
    make_disk,
    make_fat,
    make_key,
    make_overlay,
    slot,
)
from tests.unit.lab_tiny import tiny_image

BOOTCFG = {"autoboot.txt": autoboot()}


@pytest.mark.parametrize("table", [MBR_TABLE, GPT_TABLE])
def test_an_image_in_our_layout_boots_slot_a_and_its_trial_slot_b(tmp_path: Path, table: str) -> None:
    parts = {1: BOOTCFG, 2: slot(vmlinuz=b"kernel a"), 3: slot(vmlinuz=b"kernel b", initrd_img=b"new initramfs")}
    disk = make_overlay(make_disk(tmp_path / "a, b.img", parts, table=table))
    log: list[str] = []
    boot = load(disk, tmp_path, log=log.append)
    assert (boot.kernel.read_bytes(), boot.command_line, boot.partition) == (b"kernel a", "slot=a", 2)
    assert log[1] == "partition 2 is chosen by autoboot.txt"
    trial = load(disk, tmp_path, tryboot=True)
    assert (trial.kernel.read_bytes(), trial.command_line, trial.partition) == (b"kernel b", "slot=b", 3)
    assert trial.initrd is not None
    assert trial.initrd.read_bytes() == b"new initramfs"
    assert trial.tryboot
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a, b.img", "a, b.qcow2", "initrd.img", "vmlinuz"]


def test_an_empty_second_slot_is_no_fat_and_its_trial_ends_in_the_first(tmp_path: Path) -> None:
    disk = make_overlay(make_disk(tmp_path / "disk.img", {1: BOOTCFG, 2: slot(), 3: None}))
    boot = load(disk, tmp_path, tryboot=True)
    assert (boot.partition, boot.tryboot) == (2, True)


def test_what_the_device_changed_on_its_disk_counts_not_the_image(tmp_path: Path) -> None:
    image = make_disk(tmp_path / "disk.img", {1: BOOTCFG, 2: slot(), 3: slot()})
    disk, before = make_overlay(image), image.read_bytes()
    fat = make_fat(tmp_path / "changed.fat", {"autoboot.txt": autoboot(3, 2)})
    write = f"write -s {fat} {FAT_STARTS[1]} {fat.stat().st_size}"
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", write, disk], check=True, stdout=subprocess.DEVNULL)
    assert load(disk, tmp_path).partition == 3
    assert image.read_bytes() == before


@pytest.mark.parametrize("missing", ["initrd.img", "cmdline-b.txt"])
def test_a_trial_that_lacks_a_file_ends_in_the_old_slot_and_a_committed_one_is_an_error(
    tmp_path: Path, missing: str
) -> None:
    broken = slot()
    broken.pop(missing)
    disk = make_overlay(make_disk(tmp_path / "disk.img", {1: BOOTCFG, 2: slot(), 3: broken}))
    log: list[str] = []
    boot = load(disk, tmp_path, tryboot=True, log=log.append)
    assert (boot.partition, boot.tryboot) == (2, False)
    assert any(f"the trial ends here: there is no readable {missing}" in line for line in log)
    committed = make_overlay(make_disk(tmp_path / "b.img", {1: {"autoboot.txt": autoboot(3, 2)}, 2: slot(), 3: broken}))
    with pytest.raises(FirmwareError, match=f"no readable {missing}"):
        load(committed, tmp_path)


def test_a_signed_boot_image_is_opened_and_an_altered_one_is_not(tmp_path: Path) -> None:
    key = make_key()
    image = make_fat(tmp_path / "boot.img", slot(), size_bytes=MIB).read_bytes()
    files = {"config.txt": b"boot_ramdisk=1\n", "boot.img": image, "boot.sig": boot_sig(image, key)}
    disk = make_overlay(make_disk(tmp_path / "disk.img", {1: BOOTCFG, 2: files, 3: None}))
    boot = load(disk, tmp_path, key=key.public_key())
    assert (boot.kernel.read_bytes(), boot.command_line, boot.signed) == (b"kernel", "slot=a", True)
    files["boot.img"] = image[:-1] + b"!"
    altered = make_overlay(make_disk(tmp_path / "altered.img", {1: BOOTCFG, 2: files, 3: None}))
    with pytest.raises(FirmwareError, match="partition 2 is not trusted"):
        load(altered, tmp_path, key=key.public_key())
    assert not load(altered, tmp_path).signed


def test_files_in_folders_are_found_whatever_their_case(tmp_path: Path) -> None:
    files = {"CONFIG.TXT": b"os_prefix=new/\ncmdline=line.txt\n", "new/VMLINUZ": b"k", "new/line.txt": b"ro\n"}
    boot = load(make_overlay(make_disk(tmp_path / "disk.img", {1: BOOTCFG, 2: files})), tmp_path)
    assert (boot.kernel.read_bytes(), boot.initrd, boot.command_line) == (b"k", None, "ro")


def test_an_image_with_one_boot_partition_and_no_config_txt_boots(tmp_path: Path) -> None:
    disk = make_overlay(tiny_image(tmp_path / "disk.img", "hello", cmdline="root=/dev/vda2 ro\r\n"))
    boot = load(disk, tmp_path)
    assert boot.kernel.read_bytes().endswith(b"hello\0")
    assert (boot.command_line, boot.partition) == ("root=/dev/vda2 ro", 1)


@pytest.mark.parametrize("missing", ["vmlinuz", "initrd.img", "cmdline.txt"])
def test_a_missing_boot_file_is_named(tmp_path: Path, missing: str) -> None:
    disk = make_overlay(tiny_image(tmp_path / "disk.img", "x", leave_out=missing))
    with pytest.raises(FirmwareError, match=f"no (readable )?{missing}"):
        load(disk, tmp_path)


# --- the device tree ---

OPTIONS = ["-cpu", "cortex-a76", "-smp", "1", "-m", "64M"]


def fdtget(tree: Path, *words: str) -> str:
    return subprocess.run(["fdtget", *words[:-2], tree, *words[-2:]], check=True, capture_output=True, text=True).stdout


def test_the_device_tree_has_what_the_bootloader_did_as_cells(tmp_path: Path) -> None:
    disk = make_overlay(make_disk(tmp_path / "disk.img", {1: BOOTCFG, 2: slot(), 3: slot()}))
    folder = tmp_path / "with, a comma"
    folder.mkdir()
    tree = folder / "device.dtb"
    values = load(disk, folder, tryboot=True).bootloader_values()
    write_device_tree(["qemu-system-aarch64"], "virt,gic-version=3", OPTIONS, tree, values)
    found = {name: fdtget(tree, "-t", "bx", "/chosen/bootloader", name).split() for name in values}
    assert found["partition"] == ["0", "0", "0", "3"]
    assert found["tryboot"] == ["0", "0", "0", "1"]
    assert found["boot-mode"] == ["0", "0", "0", "1"]
    assert found["signed"] == found["signed_boot"] == ["0", "0", "0", "0"]
    assert fdtget(tree, "/", "compatible").strip() == "linux,dummy-virt"
    assert sorted(path.name for path in folder.iterdir()) == ["device.dtb", "initrd.img", "vmlinuz"]


def test_the_seeds_for_randomness_are_new_in_each_tree(tmp_path: Path) -> None:
    seeds = []
    for name in ("a.dtb", "b.dtb"):
        write_device_tree(["qemu-system-aarch64"], "virt", OPTIONS, tmp_path / name, {"partition": 2})
        seeds.append((fdtget(tmp_path / name, "/chosen", "rng-seed"), fdtget(tmp_path / name, "/chosen", "kaslr-seed")))
    assert seeds[0][0] != seeds[1][0]
    assert seeds[0][1] != seeds[1][1]
