"""Disks and volumes for the tests of the firmware stage: in memory, and real ones made with sfdisk and mtools."""

from __future__ import annotations

import functools
import hashlib
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hatfleet.lab.firmware.errors import FirmwareError

MIB = 1024 * 1024

CONFIG = b"""kernel=vmlinuz
initramfs initrd.img followkernel
[boot_partition=2]
cmdline=cmdline-a.txt
[boot_partition=3]
cmdline=cmdline-b.txt
[all]
"""


def autoboot(normal: int = 2, trial: int = 3) -> bytes:
    """An autoboot.txt of the one size that it always has."""
    text = f"[all]\ntryboot_a_b=1\nboot_partition={normal}\n[tryboot]\nboot_partition={trial}\n".encode()
    return text + b"#" * (511 - len(text)) + b"\n"


def slot(**changed: bytes | None) -> dict[str, bytes]:
    """The files of a boot partition; a changed one is named with _ for . and -, None leaves it out."""
    files = {
        "config.txt": CONFIG,
        "vmlinuz": b"kernel",
        "initrd.img": b"initramfs",
        "cmdline-a.txt": b"slot=a\n",
        "cmdline-b.txt": b"slot=b\n",
    }
    for name in list(files):
        if (key := name.replace(".", "_").replace("-", "_")) in changed:
            content = changed[key]
            files.pop(name)
            if content is not None:
                files[name] = content
    return files


@dataclass
class MemoryVolume:
    """A volume of files in memory; a FAT inside a file is listed beside them."""

    files: Mapping[str, bytes]
    images: Mapping[str, MemoryVolume] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        return name in self.files

    def read(self, name: str) -> bytes:
        if name not in self.files:
            raise FirmwareError(f"there is no readable {name}")
        return self.files[name]

    def inside(self, name: str) -> MemoryVolume:
        return self.images.get(name, MemoryVolume({}))


@functools.cache
def make_key(owner: str = "us") -> rsa.RSAPrivateKey:
    """The key of somebody; made once in a run."""
    return rsa.generate_private_key(65537, 2048)


def public_pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def boot_sig(image: bytes, key: rsa.RSAPrivateKey, *, claim: bytes | None = None) -> bytes:
    """A boot.sig for an image; ``claim`` is what it says the image is."""
    digest = hashlib.sha256(image if claim is None else claim).hexdigest()
    signed = key.sign(image, padding.PKCS1v15(), SHA256()).hex()
    return f"{digest}\nts: 1700000000\nrsa2048: {signed}\n".encode()


def make_fat(path: Path, files: Mapping[str, bytes], *, size_bytes: int = 2 * MIB) -> Path:
    """Write a FAT file system with these files, a folder for each name with a slash."""
    path.write_bytes(bytes(size_bytes))
    subprocess.run(
        ["mformat", "-i", path, "-v", "BOOT", "-h", "4", "-s", "8", "-t", str(size_bytes // 16384)], check=True
    )
    for folder in sorted({name.rpartition("/")[0] for name in files if "/" in name}):
        subprocess.run(["mmd", "-i", path, f"::{folder}"], check=True)
    for name, content in files.items():
        subprocess.run(["mcopy", "-i", path, "-", f"::{name}"], input=content, check=True)
    return path


MBR_TABLE = """label: dos
label-id: 0x12345678
start=8M, size=4M, type=c
start=16M, size=4M, type=c
start=24M, size=4M, type=c
start=32M, size=20M, type=f
start=33M, size=4M, type=83
start=41M, size=4M, type=83
start=49M, size=2M, type=83
"""

GPT_TABLE = """label: gpt
start=8M, size=4M, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7, name=bootcfg
start=16M, size=4M, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7, name=boot_a
start=24M, size=4M, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7, name=boot_b
start=33M, size=4M, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name=system_a
start=41M, size=4M, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name=system_b
start=49M, size=2M, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name=data
"""

#: Where the three FAT partitions of both tables start.
FAT_STARTS = {1: 8 * MIB, 2: 16 * MIB, 3: 24 * MIB}


DISK_BYTES = 56 * MIB


@functools.cache
def partitioned(table: str) -> bytes:
    """An empty disk that sfdisk partitioned; made once in a run."""
    with tempfile.NamedTemporaryFile() as disk:
        disk.truncate(DISK_BYTES)
        subprocess.run(["sfdisk", "-q", disk.name], input=table.encode(), check=True)
        return Path(disk.name).read_bytes()


def make_disk(path: Path, parts: Mapping[int, Mapping[str, bytes] | None], *, table: str = MBR_TABLE) -> Path:
    """Write a disk image in the layout of our images; a partition without files (None) is empty: zeros, no FAT."""
    path.write_bytes(partitioned(table))
    for number, files in parts.items():
        if files is not None:
            fat = make_fat(path.with_suffix(f".{number}"), files)
            with path.open("r+b") as disk:
                disk.seek(FAT_STARTS[number])
                disk.write(fat.read_bytes())
            fat.unlink()
    return path


def make_overlay(image: Path) -> Path:
    """A device's disk over an image."""
    disk = image.with_suffix(".qcow2")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", image, disk], check=True)
    return disk
