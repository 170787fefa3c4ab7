"""A Raspberry Pi 4 from Debian's real packages: its whole boot partition, and its kernel in QEMU.

QEMU 7.2 has no Raspberry Pi 4. Its kernel runs on the virtual machine with the command line of the boot partition, and
on the model of a Raspberry Pi 3, where the drivers of the board's family find hardware.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hatfleet.image import cpio
from hatfleet.image.bootfiles import cmdline, collect, config_txt, write_tree
from hatfleet.image.disk import MIB
from hatfleet.image.fat import make_fat, tree_mib
from hatfleet.image.initramfs import kernel_version, load_order
from hatfleet.image.platforms import PLATFORMS
from hatfleet.image.tools import HostTools
from tests.private_apt import unpack
from tests.system.debian_packages import debian_packages

RPI4 = PLATFORMS["rpi4-debian"]
OPTIONS = RPI4.options()
EPOCH_S = 1754697600

#: What a first program needs; the real initramfs has tests of its own.
TOOLS = ("cat", "insmod", "mount", "poweroff", "sh", "sleep")

INIT = b"""#!/bin/sh
export PATH=/bin
mount -t devtmpfs devtmpfs /dev
mount -t proc proc /proc
for module in $(cat /modules/order); do
	insmod /modules/$module || echo "REFUSED $module"
done >/dev/console 2>&1
echo "ARGUMENTS $(cat /proc/cmdline)" >/dev/console
echo REACHED >/dev/console
sleep 1
poweroff
"""


@dataclass(frozen=True)
class Unpacked:
    """A root file system with the packages unpacked, nothing configured, and the folder to work in."""

    root: Path
    work: Path


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Unpacked:
    names = (*RPI4.packages_for(OPTIONS), "klibc-utils", "libklibc")
    packages = debian_packages(names, "trixie", RPI4.debian_components)
    work = tmp_path_factory.mktemp("rpi4")
    root = unpack(packages, work / "root")
    # As base-files has it; depmod looks there.
    (root / "lib").symlink_to("usr/lib")
    subprocess.run(["/usr/sbin/depmod", "-b", root, kernel_version(root)], check=True)
    return Unpacked(root, work)


@pytest.fixture(scope="module")
def boot(unpacked: Unpacked) -> Path:
    """The boot partition."""
    initramfs = cpio.archive(entries(unpacked.root), EPOCH_S)
    contents = {
        "config.txt": config_txt(RPI4, OPTIONS),
        "cmdline.txt": cmdline(RPI4, RPI4.arguments_for(OPTIONS), "a"),
        "initrd.img": initramfs,
    }
    tree, image = unpacked.work / "tree", unpacked.work / "boot.vfat"
    write_tree(tree, collect(unpacked.root, RPI4, OPTIONS), contents)
    make_fat(
        image,
        tree,
        size_bytes=tree_mib(tree) * MIB,
        volume_id=1,
        label="BOOT_A",
        epoch_s=EPOCH_S,
        tools=HostTools(),
        log=unpacked.work / "log",
    )
    return image


def entries(root: Path) -> Iterator[cpio.Entry]:
    for name in ("bin", "dev", "modules", "proc", "usr", "usr/lib"):
        yield cpio.folder(name)
    yield cpio.character_device("dev/console", 5, 1)
    yield cpio.regular("init", INIT, 0o755)
    yield cpio.link("lib", "usr/lib")
    for name in TOOLS:
        yield cpio.regular(f"bin/{name}", (root / "usr/lib/klibc/bin" / name).read_bytes(), 0o755)
    for library in root.glob("usr/lib/klibc-*.so"):
        yield cpio.regular(f"usr/lib/{library.name}", library.read_bytes(), 0o755)
    modules = root / "usr/lib/modules" / kernel_version(root)
    order = load_order(modules, RPI4.initramfs_modules)
    for path in order:
        yield cpio.regular(f"modules/{Path(path).stem}", lzma.decompress((modules / path).read_bytes()))
    yield cpio.regular("modules/order", "".join(f"{Path(path).stem}\n" for path in order).encode())


def read(image: Path, name: str) -> bytes:
    return subprocess.run(["mtype", "-i", image, f"::/{name}"], check=True, capture_output=True).stdout


def start(boot: Path, work: Path, machine: str, *further: str, arguments: str = "") -> str:
    """Start kernel and initramfs of the boot partition with its command line; return what the serial port said."""
    for name in ("vmlinuz", "initrd.img"):
        (work / name).write_bytes(read(boot, name))
    line = read(boot, "cmdline.txt").decode().strip()
    command = ["qemu-system-aarch64", "-M", machine, "-nographic", "-no-reboot", *further]
    command += ["-kernel", str(work / "vmlinuz"), "-initrd", str(work / "initrd.img"), "-append", f"{line} {arguments}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, stdin=subprocess.DEVNULL, check=False)
    return done.stdout + done.stderr


def test_the_boot_partition_is_a_whole_one(unpacked: Unpacked, boot: Path) -> None:
    subprocess.run(["/usr/sbin/fsck.vfat", "-n", boot], check=True, capture_output=True)
    shown = subprocess.run(["mdir", "-/", "-b", "-i", boot, "::/"], check=True, capture_output=True, text=True).stdout
    names = {line.removeprefix("::/") for line in shown.splitlines() if not line.endswith("/")}
    assert names == {
        *("bcm2711-rpi-4-b.dtb", "bcm2711-rpi-400.dtb", "bcm2711-rpi-cm4-io.dtb"),
        *("cmdline.txt", "config.txt", "fixup4.dat", "initrd.img", "start4.elf", "vmlinuz"),
        *("overlays/hifiberry-dac.dtbo", "overlays/pi4-spidev.dtbo"),
    }
    firmware = unpacked.root / "usr/lib/raspi-firmware/start4.elf"
    assert hashlib.sha256(read(boot, "start4.elf")).digest() == hashlib.sha256(firmware.read_bytes()).digest()
    # A flattened device tree, which names the board (Devicetree Specification, 5.2).
    tree = read(boot, "bcm2711-rpi-4-b.dtb")
    assert tree.startswith(b"\xd0\x0d\xfe\xed")
    assert b"raspberrypi,4-model-b" in tree


def test_the_slot_filter_is_off_as_long_as_debians_firmware_is_too_old_for_it(unpacked: Unpacked) -> None:
    changelog = gzip.decompress((unpacked.root / "usr/share/doc/raspi-firmware/changelog.Debian.gz").read_bytes())
    dated = re.match(rb"raspi-firmware \(1\.(20[0-9]{6})\+ds", changelog)
    assert dated, changelog[:80]
    # start4.elf has [boot_partition=N] since March 2025 (raspberrypi/firmware#1940).
    assert RPI4.slot_filter == (int(dated[1]) >= 20250401)


def test_its_kernel_starts_with_the_boot_partitions_command_line_and_takes_every_module(
    boot: Path, tmp_path: Path
) -> None:
    said = start(boot, tmp_path, "virt", "-cpu", "cortex-a72", "-m", "1G", "-net", "none", arguments="console=ttyAMA0")
    assert "REACHED" in said, said[-3000:]
    assert "REFUSED" not in said
    assert "ARGUMENTS console=tty1 panic=10 hatfleet.slot=firmware console=ttyAMA0" in said


def test_its_kernel_runs_on_the_model_of_a_raspberry_pi(unpacked: Unpacked, boot: Path, tmp_path: Path) -> None:
    trees = unpacked.root / f"usr/lib/linux-image-{kernel_version(unpacked.root)}/broadcom"
    said = start(
        boot,
        tmp_path,
        "raspi3b",
        "-dtb",
        str(trees / "bcm2837-rpi-3-b.dtb"),
        arguments="earlycon=pl011,0x3f201000 console=ttyAMA0,115200",
    )
    assert "Machine model: Raspberry Pi 3 Model B" in said, said[-3000:]
    assert "REACHED" in said, said[-3000:]
    # The module that the platform loads early found its hardware.
    assert "bcm2835-wdt bcm2835-wdt: Broadcom BCM2835 watchdog timer" in said
