"""What the boot partition takes from a root file system, and what is said when something is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from hatfleet.common.errors import InputError
from hatfleet.image.bootfiles import collect, write_tree
from hatfleet.image.platforms import PLATFORMS, Platform
from tests.unit.boot_root import ARM64_IMAGE, GZIP_IMAGE, KERNEL, boot_root, put

RPI5, RPI4, VIRT = PLATFORMS["rpi5"], PLATFORMS["rpi4-debian"], PLATFORMS["virt"]
TREES = f"usr/lib/linux-image-{KERNEL}"


def names(root: Path, platform: Platform) -> list[str]:
    return [file.name for file in collect(root, platform, platform.options())]


@pytest.mark.parametrize("kernel", [ARM64_IMAGE, GZIP_IMAGE], ids=["plain", "gzip"])
def test_virt_takes_its_kernel_and_nothing_else(tmp_path: Path, kernel: bytes) -> None:
    (file,) = collect(boot_root(tmp_path, VIRT, kernel=kernel), VIRT, VIRT.options())
    assert (file.name, file.source.read_bytes()) == ("vmlinuz", kernel)


def test_rpi5_takes_its_own_device_trees_and_all_overlays(tmp_path: Path) -> None:
    root = boot_root(tmp_path, RPI5)
    for name in ("broadcom/bcm2712d0-rpi-5-b.dtb", "overlays/hat_map.dtb", "overlays/tpm-slb9670.dtbo"):
        put(root / TREES / name, b"x")
    for name in ("broadcom/bcm2711-rpi-4-b.dtb", "broadcom/bcm2712-rpi-500.dtb", "overlays/README"):
        put(root / TREES / name, b"x")
    assert names(root, RPI5) == [
        "bcm2712-rpi-5-b.dtb",
        "bcm2712d0-rpi-5-b.dtb",
        "overlays/bcm2712d0.dtbo",
        "overlays/disable-bt-pi5.dtbo",
        "overlays/disable-wifi-pi5.dtbo",
        "overlays/hat_map.dtb",
        "overlays/tpm-slb9670.dtbo",
        "vmlinuz",
    ]


def test_rpi4_takes_the_firmware_of_its_generation_only(tmp_path: Path) -> None:
    root = boot_root(tmp_path, RPI4)
    for name in ("start.elf", "start4x.elf", "start4cd.elf", "fixup4x.dat", "bootcode.bin", "overlays/pi4-spidev.dtbo"):
        put(root / "usr/lib/raspi-firmware" / name, b"x")
    expected = ["bcm2711-rpi-4-b.dtb", "fixup4.dat", "overlays/pi4-spidev.dtbo", "start4.elf", "vmlinuz"]
    assert names(root, RPI4) == expected


def test_no_kernel_names_the_package_that_the_options_ask_for(tmp_path: Path) -> None:
    root = boot_root(tmp_path, RPI5)
    (root / f"boot/vmlinuz-{KERNEL}").unlink()
    with pytest.raises(InputError, match="there is no kernel: /boot/vmlinuz-") as caught:
        collect(root, RPI5, RPI5.options.model_validate({"kernel": "rpi-v8"}))
    assert "linux-image-rpi-v8" in str(caught.value.hint)


def test_two_kernels_are_named(tmp_path: Path) -> None:
    root = boot_root(tmp_path, RPI5)
    put(root / "boot/vmlinuz-6.12.1-arm64", ARM64_IMAGE)
    with pytest.raises(InputError, match=r"found 2: 6\.12\.1-arm64, 6\.18\.34\+rpt-rpi-2712"):
        collect(root, RPI5, RPI5.options())


@pytest.mark.parametrize(
    "kernel",
    [b"MZ\0\0zimg".ljust(80, b"\0"), b"\x7fELF".ljust(80, b"\0"), b"", b"short"],
    ids=["EFI", "ELF", "empty", "short"],
)
def test_a_kernel_that_the_firmware_cannot_start_is_refused(tmp_path: Path, kernel: bytes) -> None:
    with pytest.raises(InputError, match="the firmware cannot start /boot/vmlinuz-"):
        collect(boot_root(tmp_path, RPI4, kernel=kernel), RPI4, RPI4.options())


@pytest.mark.parametrize(
    ("platform", "path", "package"),
    [
        (RPI5, f"{TREES}/broadcom/bcm2712-rpi-5-b.dtb", f"linux-image-{KERNEL}"),
        (RPI5, f"{TREES}/overlays/bcm2712d0.dtbo", f"linux-image-{KERNEL}"),
        (RPI4, f"{TREES}/broadcom/bcm2711-rpi-4-b.dtb", f"linux-image-{KERNEL}"),
        (RPI4, "usr/lib/raspi-firmware/start4.elf", "raspi-firmware"),
        (RPI4, "usr/lib/raspi-firmware/fixup4.dat", "raspi-firmware"),
    ],
)
def test_a_missing_file_is_named_with_its_package(tmp_path: Path, platform: Platform, path: str, package: str) -> None:
    root = boot_root(tmp_path, platform)
    (root / path).unlink()
    with pytest.raises(InputError) as caught:
        collect(root, platform, platform.options())
    assert f"/{path} is missing" in caught.value.message
    assert package in str(caught.value.hint)


def test_a_link_out_of_the_root_file_system_is_refused(tmp_path: Path) -> None:
    root = boot_root(tmp_path / "root", RPI5)
    put(tmp_path / "secret", b"the builder's")
    (root / TREES / "overlays" / "evil.dtbo").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match=r"evil\.dtbo is not a file of the root file system"):
        collect(root, RPI5, RPI5.options())


def test_a_tree_holds_what_was_collected_and_what_was_added(tmp_path: Path) -> None:
    files = collect(boot_root(tmp_path / "root", RPI5), RPI5, RPI5.options())
    write_tree(tmp_path / "tree", files, {"config.txt": b"x\n", "initrd.img": b"y"})
    found = {str(path.relative_to(tmp_path / "tree")) for path in (tmp_path / "tree").rglob("*") if path.is_file()}
    assert found == {file.name for file in files} | {"config.txt", "initrd.img"}
    assert (tmp_path / "tree" / "vmlinuz").read_bytes() == ARM64_IMAGE


def test_two_files_of_one_name_are_an_error(tmp_path: Path) -> None:
    files = collect(boot_root(tmp_path / "root", VIRT), VIRT, VIRT.options())
    with pytest.raises(FileExistsError):
        write_tree(tmp_path / "tree", files, {"vmlinuz": b"another"})
