"""Disks as a device has them: images on loop devices, flashed, booted and cut off.

``partx`` tells the kernel of their partitions, so that it works on kernels that do not read partition tables
themselves; what the kernel knows is then as after a boot.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hatfleet.image.data import GROW_SCRIPT, blank_data
from hatfleet.image.disk import MIB, TableType, place, write_disk
from tests.unit.disk_images import IDS, sizes, tool

DISK_MIB = 400
LAYOUT_MIB = (8, 8, 8, 8, 8, 16)
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def has_loop_devices() -> bool:
    found = subprocess.run(["/usr/sbin/losetup", "-f"], check=False, capture_output=True)
    return os.geteuid() == 0 and found.returncode == 0


def may_resize_mounted() -> bool:
    """Whether we have CAP_SYS_RESOURCE (24), which enlarging a mounted file system takes; a container often has not."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return bool(int(status["CapEff"], 16) >> 24 & 1)


@dataclass(frozen=True)
class Disk:
    """A disk image, its loop device while it is attached, and the data partition's number."""

    image: Path
    device: str
    number: int

    @property
    def data(self) -> str:
        return f"{self.device}p{self.number}"

    def grow(self, script: Path = GROW_SCRIPT, **environment: str) -> subprocess.CompletedProcess[str]:
        argv = ["sh", script, self.device, str(self.number), self.data]
        return subprocess.run(
            argv, check=False, capture_output=True, text=True, env={"PATH": PATH, **environment}, start_new_session=True
        )

    @contextlib.contextmanager
    def mounted(self, at: Path) -> Iterator[Path]:
        at.mkdir(exist_ok=True)
        tool("mount", self.data, at)
        try:
            yield at
        finally:
            tool("umount", at)


@contextlib.contextmanager
def booted(image: Path, table: TableType) -> Iterator[Disk]:
    """Attach a disk, as a boot does: what the kernel knew of it before is gone."""
    device = tool("losetup", "--show", "--find", image).strip()
    try:
        tool("partx", "--add", device)
        yield Disk(image, device, 7 if table is TableType.MBR else 6)
    finally:
        subprocess.run(["umount", "/run/hatfleet-data"], check=False, capture_output=True)
        subprocess.run(["/usr/bin/partx", "--delete", device], check=False, capture_output=True)
        tool("losetup", "--detach", device)


def flash(image: Path, table: TableType, disk_mib: int = DISK_MIB) -> None:
    """Put an image on a disk as a flasher does: what is a hole in the image is not written."""
    built = image.with_name("built.img")
    layout = place(table, sizes(*LAYOUT_MIB), IDS)
    write_disk(built, layout, {}, blank_data())
    if not image.exists():
        image.touch()
        os.truncate(image, disk_mib * MIB)
    with built.open("rb") as source, image.open("r+b") as target:
        position = 0
        while position < layout.size_bytes:
            try:
                start = os.lseek(source.fileno(), position, os.SEEK_DATA)
            except OSError:
                break
            position = os.lseek(source.fileno(), start, os.SEEK_HOLE)
            os.pwrite(target.fileno(), os.pread(source.fileno(), position - start, start), start)


def resize_disk(image: Path, disk_mib: int) -> None:
    os.truncate(image, disk_mib * MIB)
