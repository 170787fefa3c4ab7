"""What a disk is and who uses it, as the kernel tells in /sys and /proc."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hatfleet.common.errors import InputError

#: The unit of ``size`` in /sys/class/block, whatever the disk's own sectors (Documentation/ABI/stable/sysfs-block).
_SYSFS_SECTOR_BYTES = 512

#: A disk with one of these mounted is what the running system lives on.
SYSTEM_MOUNTS = ("/", "/usr", "/var", "/boot", "/boot/efi", "/boot/firmware")


@dataclass(frozen=True)
class Partition:
    """A partition that the kernel sees on a disk."""

    name: str
    size_bytes: int


@dataclass(frozen=True)
class Device:
    """Something that an image can be written to."""

    path: Path
    """The node to open, symbolic links resolved."""
    name: str
    """The kernel's name, such as ``sdb``; a file's own name."""
    size_bytes: int
    is_file: bool = False
    model: str = ""
    serial: str = ""
    transport: str = ""
    """How it is connected: usb, mmc, nvme, sata, virtio, loop; empty when the kernel does not say."""
    removable: bool = False
    """What the kernel says of the medium; card readers say so, most USB disks do not."""
    read_only: bool = False
    partitions: tuple[Partition, ...] = ()
    uses: tuple[str, ...] = ()
    """Who uses it or a part of it, each as words: a mount, swap space, a volume that lies on it."""
    runs_system: bool = False
    """The running system lives on it."""


@dataclass(frozen=True)
class Machine:
    """Where the kernel tells of disks; other folders in tests."""

    sys: Path = Path("/sys")
    proc: Path = Path("/proc")

    def find(self, path: Path) -> Device:
        """Return what a path names.

        Raises:
            InputError: nothing is there, or it is neither a whole disk nor a file.
        """
        node = path.resolve()
        try:
            status = node.stat()
        except OSError as error:
            known = ", ".join(str(Path("/dev") / name) for name in self.likely()) or "none is connected"
            raise InputError(f"cannot open {path}: {error.strerror}", hint=f"removable disks: {known}") from error
        if stat.S_ISREG(status.st_mode):
            return Device(node, node.name, status.st_size, is_file=True)
        if not stat.S_ISBLK(status.st_mode):
            raise InputError(
                f"{path} is neither a disk nor a file", hint="name a disk such as /dev/sdb or /dev/mmcblk0"
            )
        number = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
        return self.disk((self.sys / "dev" / "block" / number).resolve().name, node)

    def likely(self) -> list[str]:
        """Return the names of disks that one would flash: removable, USB or MMC, and not in use."""
        names = sorted(entry.name for entry in (self.sys / "class" / "block").glob("*") if self._is_disk(entry))
        disks = [self.disk(name, Path("/dev") / name) for name in names]
        return [disk.name for disk in disks if is_pluggable(disk) and disk.size_bytes and not disk.uses]

    def disk(self, name: str, node: Path) -> Device:
        """Return a disk by the kernel's name of it.

        Raises:
            InputError: it is a part of a disk.
        """
        folder = (self.sys / "class" / "block" / name).resolve()
        if (folder / "partition").exists():
            whole = folder.parent.name
            raise InputError(f"{name} is a partition", hint=f"name the whole disk: /dev/{whole}")
        parts = [part.parent for part in sorted(folder.glob("*/partition"), key=_partition_number)]
        stack = dict(self._stack(folder, name))
        mounts = list(self._mounts(stack))
        return Device(
            path=node,
            name=name,
            size_bytes=_size_bytes(folder),
            model=" ".join(filter(None, (_read(folder / "device" / key) for key in ("vendor", "model", "name")))),
            serial=_read(folder / "device" / "serial") or _serial_of_parent(folder),
            transport=_transport(folder),
            removable=_read(folder / "removable") == "1",
            read_only=_read(folder / "ro") == "1",
            partitions=tuple(Partition(part.name, _size_bytes(part)) for part in parts),
            uses=(*(words for _, words in mounts), *self._swaps(stack), *self._volumes(stack, folder)),
            runs_system=any(point in SYSTEM_MOUNTS for point, _ in mounts),
        )

    def _is_disk(self, entry: Path) -> bool:
        return not (entry / "partition").exists() and (entry / "device").exists()

    def _stack(self, folder: Path, name: str) -> Iterator[tuple[str, str]]:
        """Yield number and name of a disk, its partitions and all volumes (LVM, LUKS, RAID) that lie on them."""
        yield _read(folder / "dev"), name
        for part in folder.glob("*/partition"):
            yield from self._stack(part.parent, part.parent.name)
        for holder in sorted((folder / "holders").glob("*")):
            yield from self._stack((self.sys / "class" / "block" / holder.name).resolve(), holder.name)

    def _mounts(self, stack: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        """Yield mount point and words for every file system that is mounted from the stack."""
        names = set(stack.values())
        for line in _lines(self.proc / "self" / "mountinfo"):
            words = line.split(" ")
            number, point, source = words[2], _unescape(words[4]), _unescape(words[words.index("-") + 2])
            # btrfs mounts have a number of their own; their source names the disk.
            name = stack.get(number) or (source.startswith("/dev/") and Path(source).resolve().name)
            if name in names:
                yield point, f"{name} is mounted at {point}"

    def _swaps(self, stack: Mapping[str, str]) -> Iterator[str]:
        for line in _lines(self.proc / "swaps")[1:]:
            name = Path(_unescape(line.split()[0])).resolve().name
            if name in stack.values():
                yield f"{name} is swap space"

    def _volumes(self, stack: Mapping[str, str], folder: Path) -> Iterator[str]:
        own = {folder.name, *(part.parent.name for part in folder.glob("*/partition"))}
        for name in stack.values():
            if name not in own:
                label = _read(self.sys / "class" / "block" / name / "dm" / "name")
                yield f"the volume {name}{f' ({label})' if label else ''} lies on it"


def is_pluggable(device: Device) -> bool:
    """Whether it can be taken out: the kernel says so, or it is connected by USB or is an SD card or eMMC."""
    return device.removable or device.transport in ("usb", "mmc")


def _transport(folder: Path) -> str:
    kinds = (
        (r"usb\d+", "usb"),
        (r"mmc\d+", "mmc"),
        (r"nvme\d+", "nvme"),
        (r"ata\d+", "sata"),
        (r"virtio\d+", "virtio"),
    )
    # The parts of the path are the buses on the way to the disk. A USB enclosure of an NVMe disk is USB.
    for pattern, transport in kinds:
        if any(re.fullmatch(pattern, part) for part in folder.parts):
            return transport
    return "loop" if folder.name.startswith("loop") else ""


def _serial_of_parent(folder: Path) -> str:
    """Return the serial number of the USB device that a disk is a part of."""
    for parent in folder.parents:
        if re.fullmatch(r"usb\d+", parent.name):
            break
        if (parent / "idVendor").exists():
            return _read(parent / "serial")
    return ""


def _partition_number(file: Path) -> int:
    return int(_read(file) or 0)


def _size_bytes(folder: Path) -> int:
    return int(_read(folder / "size") or 0) * _SYSFS_SECTOR_BYTES


def _read(file: Path) -> str:
    """Return a one-line file of the kernel's; nothing where there is none (not every disk has every attribute)."""
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""


def _lines(file: Path) -> list[str]:
    return file.read_text(errors="replace").splitlines()


def _unescape(word: str) -> str:
    """Undo the kernel's octal escapes of blanks and the like in paths."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), word)
