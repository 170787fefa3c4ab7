"""The boot partition of a Raspberry Pi 5, from apt to the last byte.

Its packages are stand-ins (tests/standin_archive.py says which and why); apt, GnuPG, mtools, fsck and openssl are real.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from hatfleet.common.errors import InputError, Where
from hatfleet.image.archives import ArchivePlace, checked_keyring, locate, sources
from hatfleet.image.bootfiles import (
    Slot,
    autoboot_txt,
    boot_image,
    boot_sig,
    cmdline,
    cmdline_file,
    collect,
    config_txt,
    ramdisk_config_txt,
    write_tree,
)
from hatfleet.image.disk import MIB
from hatfleet.image.fat import make_fat
from hatfleet.image.platforms import PLATFORMS, Platform
from hatfleet.image.platforms.options import Rpi5Options
from hatfleet.image.tools import HostTools
from tests.private_apt import PrivateApt, unpack
from tests.standin_archive import KERNEL, SUITE, StandInArchive, build_archive, content, served

EPOCH_S = 1754697600
RPI5 = PLATFORMS["rpi5"]
WHERE = Where(key="archive")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> StandInArchive:
    return build_archive(tmp_path_factory.mktemp("archive") / "debian")


@pytest.fixture(scope="module")
def platform(archive: StandInArchive) -> Platform:
    """The platform as it is, but for the key that signs its archive."""
    return replace(RPI5, archives=(replace(RPI5.archives[0], fingerprints=(archive.fingerprint,)),))


@pytest.fixture
def uri(archive: StandInArchive) -> Iterator[str]:
    with served(archive) as address:
        yield address


def located(platform: Platform, uri: str, keyring: Path) -> ArchivePlace:
    variables = {"HATFLEET_RPI_ARCHIVE": uri, "HATFLEET_RPI_KEYRING": str(keyring)}
    return locate(platform.archives[0], None, WHERE, Path(), variables)


def apt_for(folder: Path, place: ArchivePlace) -> PrivateApt:
    keyring = folder / "keys.gpg"
    keyring.write_bytes(checked_keyring(place))
    return PrivateApt(folder / "apt", sources(place, suite=SUITE, arch="arm64", keyring=keyring))


def read(image: Path, name: str) -> bytes:
    return subprocess.run(["mtype", "-i", image, f"::/{name}"], check=True, capture_output=True).stdout


def listed(image: Path) -> set[str]:
    shown = subprocess.run(["mdir", "-/", "-b", "-i", image, "::/"], check=True, capture_output=True, text=True)
    return {line.removeprefix("::/") for line in shown.stdout.splitlines() if not line.endswith("/")}


@pytest.mark.parametrize("flavour", ["rpi-2712", "rpi-v8"])
def test_the_boot_partition_is_complete(
    tmp_path: Path, archive: StandInArchive, platform: Platform, uri: str, flavour: str
) -> None:
    options = Rpi5Options.model_validate({"kernel": flavour})
    apt = apt_for(tmp_path, located(platform, uri, archive.keyring))
    apt.update()
    root = unpack(apt.fetch(platform.packages_for(options)), tmp_path / "root")
    files = collect(root, platform, options)
    version = KERNEL.format(flavour=flavour)
    trees = f"usr/lib/linux-image-{version}"
    expected = {
        "vmlinuz": content(f"boot/vmlinuz-{version}"),
        **{
            name: content(f"{trees}/broadcom/{name}")
            for name in ("bcm2712-rpi-5-b.dtb", "bcm2712-d-rpi-5-b.dtb", "bcm2712d0-rpi-5-b.dtb")
        },
        **{
            f"overlays/{name}": content(f"{trees}/overlays/{name}")
            for name in (
                "bcm2712d0.dtbo",
                "disable-bt-pi5.dtbo",
                "disable-wifi-pi5.dtbo",
                "hat_map.dtb",
                "overlay_map.dtb",
                "tpm-slb9670.dtbo",
                "vc4-kms-v3d-pi5.dtbo",
            )
        },
        "config.txt": config_txt(platform, options),
        "initrd.img": b"initramfs",
    }
    arguments = (*platform.arguments_for(options), "root=/dev/mapper/root", "roothash=" + "ab" * 32)
    slots: tuple[Slot, ...] = ("a", "b")
    for slot in slots:
        name = cmdline_file(platform, slot)
        expected[name] = (
            "console=tty1 cgroup_enable=memory lsm=apparmor panic=10 watchdog_disarm=0 root=/dev/mapper/root "
            f"roothash={'ab' * 32} hatfleet.slot={slot}\n"
        ).encode()
        assert cmdline(platform, arguments, slot) == expected[name]
    contents = {name: expected[name] for name in ("config.txt", "cmdline-a.txt", "cmdline-b.txt", "initrd.img")}
    write_tree(tmp_path / "tree", files, contents)
    image = tmp_path / "boot.vfat"
    log = tmp_path / "log"
    make_fat(
        image,
        tmp_path / "tree",
        size_bytes=34 * MIB,
        volume_id=1,
        label="BOOT_A",
        epoch_s=EPOCH_S,
        tools=HostTools(),
        log=log,
    )
    subprocess.run(["/usr/sbin/fsck.vfat", "-n", image], check=True, capture_output=True)
    assert listed(image) == set(expected)
    assert {name: read(image, name) for name in expected} == expected


def test_autoboot_is_read_back_from_a_fat_as_one_sector(tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", (), {"autoboot.txt": autoboot_txt()})
    image = tmp_path / "bootcfg.vfat"
    make_fat(
        image,
        tmp_path / "tree",
        size_bytes=34 * MIB,
        volume_id=1,
        label="BOOTCFG",
        epoch_s=EPOCH_S,
        tools=HostTools(),
        log=tmp_path / "log",
    )
    assert read(image, "autoboot.txt") == autoboot_txt()
    # Its content starts on a sector, so that a commit is one sector written in place.
    assert image.read_bytes().index(autoboot_txt()) % 512 == 0


def test_a_signed_boot_partition_holds_three_files_and_openssl_believes_them(
    tmp_path: Path, archive: StandInArchive, platform: Platform, uri: str
) -> None:
    apt = apt_for(tmp_path, located(platform, uri, archive.keyring))
    apt.update()
    options = Rpi5Options()
    root = unpack(apt.fetch(platform.packages_for(options)), tmp_path / "root")
    signing = rsa.generate_private_key(65537, 2048)
    inner = {"config.txt": config_txt(platform, options, signed=True), "initrd.img": b"initramfs"}
    ramdisk = tmp_path / "boot.img"
    log, tools = tmp_path / "log", HostTools()
    found = collect(root, platform, options)
    digest = boot_image(ramdisk, found, inner, volume_id=2, epoch_s=EPOCH_S, tools=tools, log=log)
    signature = boot_sig(digest, signing, EPOCH_S)
    outer = {"boot.img": ramdisk.read_bytes(), "boot.sig": signature, "config.txt": ramdisk_config_txt()}
    write_tree(tmp_path / "tree", (), outer)
    image = tmp_path / "boot.vfat"
    size = 80 * MIB
    make_fat(image, tmp_path / "tree", size_bytes=size, volume_id=1, label="B", epoch_s=EPOCH_S, tools=tools, log=log)
    assert listed(image) == {"boot.img", "boot.sig", "config.txt"}
    taken = tmp_path / "taken.img"
    taken.write_bytes(read(image, "boot.img"))
    assert b"lock_device_private_key=1\n" in read(taken, "config.txt")
    assert read(taken, "vmlinuz") == content(f"boot/vmlinuz-{KERNEL.format(flavour='rpi-2712')}")
    lines = read(image, "boot.sig").decode().splitlines()
    assert lines[1] == f"ts: {EPOCH_S}"
    (tmp_path / "signature").write_bytes(bytes.fromhex(lines[2].removeprefix("rsa2048: ")))
    (tmp_path / "public.pem").write_bytes(
        signing.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    verify = ["openssl", "dgst", "-sha256", "-verify", tmp_path / "public.pem", "-signature", tmp_path / "signature"]
    assert subprocess.run([*verify, taken], capture_output=True, check=False).returncode == 0
    damaged = bytearray(taken.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    taken.write_bytes(damaged)
    assert subprocess.run([*verify, taken], capture_output=True, check=False).returncode != 0


def test_the_stand_ins_key_does_not_count_for_the_real_platform(archive: StandInArchive, uri: str) -> None:
    with pytest.raises(InputError) as caught:
        checked_keyring(located(RPI5, uri, archive.keyring))
    assert archive.fingerprint in caught.value.message
    assert RPI5.archives[0].fingerprints[0] in caught.value.message


def test_apt_refuses_an_archive_that_another_key_signed(
    tmp_path: Path, archive: StandInArchive, platform: Platform
) -> None:
    other = build_archive(tmp_path / "other", packages=())
    place = located(platform, f"file:{other.folder}", archive.keyring)
    done = apt_for(tmp_path, place).run("update", "--error-on=any", check=False)
    assert done.returncode != 0
    assert "NO_PUBKEY" in done.stdout + done.stderr


def test_apt_refuses_a_package_that_was_changed(tmp_path: Path) -> None:
    own = build_archive(tmp_path / "own")
    named = replace(RPI5, archives=(replace(RPI5.archives[0], fingerprints=(own.fingerprint,)),))
    package = own.folder / "pool" / "raspi-utils.deb"
    content_now = bytearray(package.read_bytes())
    content_now[-1] ^= 1
    package.write_bytes(content_now)
    with served(own) as uri:
        apt = apt_for(tmp_path, located(named, uri, own.keyring))
        apt.update()
        done = apt.run("install", "--yes", "--download-only", "raspi-utils", check=False)
    assert done.returncode != 0
    assert "Hash Sum mismatch" in done.stdout + done.stderr
