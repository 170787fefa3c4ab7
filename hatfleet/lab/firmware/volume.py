"""FAT file systems on a device's disk, read by mtools: no mount, no root."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from hatfleet.common.errors import CommandError
from hatfleet.common.run import require_tool, run
from hatfleet.lab.firmware.errors import FirmwareError
from hatfleet.lab.firmware.table import Partition


class Disk:
    """A device's disk (qcow2), while no machine runs on it.

    Args:
        path: The disk.
        work: A folder for copies of what is read.
    """

    def __init__(self, path: Path, work: Path) -> None:
        self._path = path
        self._work = work
        info = json.loads(run([_qemu_img(), "info", "--output=json", "--force-share", path]).stdout)
        self.size_bytes = int(info["virtual-size"])

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes of the disk; fewer where it ends."""
        copy = self._work / "window"
        self.copy(offset, length, copy)
        return copy.read_bytes()

    def copy(self, offset: int, length: int, target: Path) -> None:
        """Copy a part of the disk into a raw file, holes stay holes."""
        # The window starts and ends on sectors, or QEMU does not open it.
        length = max(0, min(length, self.size_bytes - offset))
        if length == 0:
            target.write_bytes(b"")
            return
        window = {
            "driver": "raw",
            "offset": offset,
            "size": length,
            "file": {"driver": "qcow2", "file": {"driver": "file", "filename": str(self._path)}},
        }
        run([_qemu_img(), "convert", "-O", "raw", f"json:{json.dumps(window)}", target])


class FatVolume:
    """A FAT file system in a file; a file that holds none is a volume without files."""

    def __init__(self, image: Path) -> None:
        self._image = image
        self._names: frozenset[str] | None = None

    def has(self, name: str) -> bool:
        """Return whether there is a file of that name; upper and lower case are the same in a FAT."""
        if self._names is None:
            self._names = self._list()
        return name.strip("/").lower() in self._names

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            FirmwareError: it is not there or cannot be read.
        """
        copy = self._image.with_name(f"{self._image.name}.file")
        return self._copy(name, copy).read_bytes()

    def inside(self, name: str) -> FatVolume:
        """Return the FAT file system that a file holds.

        Raises:
            FirmwareError: the file is not there or cannot be read.
        """
        return FatVolume(self._copy(name, self._image.with_name(f"{self._image.name}.{name.rpartition('/')[2]}")))

    def _copy(self, name: str, target: Path) -> Path:
        try:
            self._mtools("mcopy", "-n", "-o", "-i", self._image, f"::{name}", target)
        except CommandError as error:
            raise FirmwareError(f"there is no readable {name} on the boot partition: {error.stderr.strip()}") from error
        return target

    def _list(self) -> frozenset[str]:
        try:
            listing = self._mtools("mdir", "-b", "-/", "-i", self._image, "::")
        except CommandError:
            return frozenset()
        return frozenset(line.removeprefix("::/").lower() for line in listing.decode(errors="replace").splitlines())

    @staticmethod
    def _mtools(tool: str, *arguments: str | Path) -> bytes:
        # mtools would refuse a file system whose geometry is not a floppy's or a disk's; the content is what counts.
        env = {**os.environ, "MTOOLS_SKIP_CHECK": "1", "LC_ALL": "C"}
        return run([require_tool(tool, "mtools"), *arguments], env=env).stdout


class DiskVolumes(Mapping[int, FatVolume]):
    """The FAT partitions of a disk by number, each copied when it is first looked at."""

    def __init__(self, disk: Disk, partitions: tuple[Partition, ...], work: Path) -> None:
        self._disk = disk
        self._partitions = {partition.number: partition for partition in partitions if partition.fat}
        self._work = work
        self._open: dict[int, FatVolume] = {}

    def __getitem__(self, number: int) -> FatVolume:
        if number not in self._open:
            partition = self._partitions[number]
            copy = self._work / f"partition-{number}"
            self._disk.copy(partition.start_bytes, partition.size_bytes, copy)
            self._open[number] = FatVolume(copy)
        return self._open[number]

    def __iter__(self) -> Iterator[int]:
        return iter(self._partitions)

    def __len__(self) -> int:
        return len(self._partitions)


def _qemu_img() -> str:
    return require_tool("qemu-img", "qemu-utils")
