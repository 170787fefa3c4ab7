"""A small disk image with a configuration partition, made by the usual tools, for the tests of flashing."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
from dataclasses import dataclass
from pathlib import Path

from hatfleet.image.bmap import MIB, Extent, make_bmap, needed_of_partition

SIZE_BYTES = 24 * MIB
BOOTCFG = Extent(2 * MIB, 4 * MIB)
SYSTEM = Extent(6 * MIB, 8 * MIB)
EMPTY = Extent(14 * MIB, 8 * MIB)
#: How much of the system partition is filled; a part of that is zeros.
SYSTEM_CONTENT_BYTES = 3 * MIB

_TABLES = {
    "dos": "label: dos\nlabel-id: 0x1234abcd\nstart=2MiB, size=4MiB, type=c\nstart=6MiB, size=8MiB, type=83\n"
    "start=14MiB, size=8MiB, type=83\n",
    "gpt": "label: gpt\nstart=2MiB, size=4MiB, name=bootcfg\nstart=6MiB, size=8MiB, name=system_a\n"
    "start=14MiB, size=8MiB, name=system_b\n",
}
_ENV = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "MTOOLSRC": "/dev/null"}


@dataclass(frozen=True)
class Release:
    """An image with block map and manifest, as a build leaves them."""

    image: Path

    @property
    def bmap(self) -> Path:
        return self.image.with_name(f"{self.image.name}.bmap")

    @property
    def manifest(self) -> Path:
        return self.image.with_name("manifest.json")

    @property
    def content(self) -> bytes:
        return self.image.read_bytes()

    def packed(self) -> Path:
        """Pack the image and take the plain one away."""
        target = self.image.with_name(f"{self.image.name}.zst")
        subprocess.run(["zstd", "-q", "-1", "--rm", self.image, "-o", target], check=True)
        return target


def make_release(folder: Path, table: str = "dos") -> Release:
    folder.mkdir(parents=True)
    image = folder / "edge-1.0.img"
    with image.open("wb") as disk:
        disk.truncate(SIZE_BYTES)
    tool(["sfdisk", "-q", image], _TABLES[table])
    fat = folder / "fat"
    with fat.open("wb") as handle:
        handle.truncate(BOOTCFG.size_bytes)
    tool(["mkfs.vfat", "-n", "BOOTCFG", fat])
    autoboot = folder / "autoboot.txt"
    autoboot.write_text("[all]\ntryboot_a_b=1\nboot_partition=2\n")
    tool(["mcopy", "-i", fat, autoboot, "::/autoboot.txt"])
    noise = random.Random(7).randbytes(256 * 1024)
    with image.open("r+b") as disk:
        disk.seek(BOOTCFG.start_bytes)
        disk.write(fat.read_bytes())
        for offset in (0, SYSTEM_CONTENT_BYTES - len(noise)):
            disk.seek(SYSTEM.start_bytes + offset)
            disk.write(noise)
    fat.unlink()
    autoboot.unlink()
    release = Release(image)
    release.bmap.write_text(make_bmap(image, needed()).render())
    digest = hashlib.sha256(release.content).hexdigest()
    about = {"name": "edge", "version": "1.0", "image": image.name, "sha256": digest, "platform": "virt"}
    release.manifest.write_text(json.dumps(about))
    return release


def needed() -> list[Extent]:
    return [
        needed_of_partition(BOOTCFG.start_bytes, BOOTCFG.size_bytes, BOOTCFG.size_bytes),
        needed_of_partition(SYSTEM.start_bytes, SYSTEM.size_bytes, SYSTEM_CONTENT_BYTES),
        needed_of_partition(EMPTY.start_bytes, EMPTY.size_bytes, 0),
    ]


def read_seed(disk: Path) -> dict[str, object]:
    """Read the seed with mtools, as nothing of ours does."""
    place = f"{disk}@@{BOOTCFG.start_bytes}"
    content: dict[str, object] = json.loads(tool(["mtype", "-i", place, "::/hatfleet-seed.json"]))
    return content


def tool(command: list[str | Path], text: str = "") -> str:
    done = subprocess.run(command, input=text, env=_ENV, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def used_card(path: Path, size_bytes: int = SIZE_BYTES + 2 * MIB) -> Path:
    """A card that is full of something else: what is not written shows."""
    path.write_bytes(b"\xa5" * size_bytes)
    return path
