"""Folders that look like /sys and /proc of a machine with some disks."""

from __future__ import annotations

from pathlib import Path

from hatfleet.image.flash.device import Device, Machine

GIB_SECTORS = 2**21


class Disks:
    """A machine that is put together disk by disk."""

    def __init__(self, root: Path) -> None:
        self.machine = Machine(root / "sys", root / "proc")
        self.sys, self.proc = self.machine.sys, self.machine.proc
        (self.sys / "class" / "block").mkdir(parents=True)
        (self.sys / "dev" / "block").mkdir(parents=True)
        (self.proc / "self").mkdir(parents=True)
        (self.proc / "swaps").write_text("Filename\tType\tSize\tUsed\tPriority\n")
        (self.proc / "self" / "mountinfo").write_text(
            "21 1 0:20 / /proc rw,relatime - proc proc rw\n22 1 0:25 / / rw - overlay overlay rw,lowerdir=/a\n"
        )
        self.count = 0

    def add(self, name: str, bus: str, sectors: int = 32 * GIB_SECTORS, parts: int = 0, **attributes: str) -> Path:
        """Add a disk; ``attributes`` are files in its folder, ``device__model`` stands for ``device/model``."""
        folder = self.sys / "devices" / bus / "block" / name
        write(folder / "size", str(sectors))
        write(folder / "ro", "0")
        write(folder / "removable", "0")
        (folder / "device").mkdir()
        self._register(folder)
        for key, text in attributes.items():
            write(folder / key.replace("__", "/"), text)
        separator = "p" if name[-1].isdigit() else ""
        for number in range(1, parts + 1):
            part = folder / f"{name}{separator}{number}"
            write(part / "partition", str(number))
            write(part / "size", str(GIB_SECTORS))
            self._register(part)
        return folder

    def volume(self, name: str, label: str, on: str) -> None:
        """Add a device-mapper volume that lies on something."""
        folder = self.sys / "devices" / "virtual" / "block" / name
        write(folder / "dm" / "name", label)
        self._register(folder)
        holders = (self.sys / "class" / "block" / on).resolve() / "holders"
        holders.mkdir(exist_ok=True)
        (holders / name).symlink_to(folder)

    def mount(self, name: str, point: str, number: str | None = None, source: str | None = None) -> None:
        number = number or (self.sys / "class" / "block" / name / "dev").read_text().strip()
        with (self.proc / "self" / "mountinfo").open("a") as handle:
            handle.write(f"30 22 {number} / {point} rw shared:1 - ext4 {source or f'/dev/{name}'} rw\n")

    def swap(self, name: str) -> None:
        with (self.proc / "swaps").open("a") as handle:
            handle.write(f"/dev/{name}  partition\t1024\t0\t-2\n")

    def find(self, name: str) -> Device:
        return self.machine.disk(name, Path("/dev") / name)

    def _register(self, folder: Path) -> None:
        self.count += 1
        write(folder / "dev", f"8:{self.count}")
        (self.sys / "class" / "block" / folder.name).symlink_to(folder)
        (self.sys / "dev" / "block" / f"8:{self.count}").symlink_to(folder)


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{text}\n")


#: Ways to a disk as Linux names them in /sys/devices.
USB = "pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host6/target6:0:0/6:0:0:0"
MMC = "platform/emmc2bus/fe340000.mmc/mmc_host/mmc0/mmc0:aaaa"
NVME = "pci0000:00/0000:00:1d.0/0000:3a:00.0/nvme/nvme0"
SATA = "pci0000:00/0000:00:17.0/ata3/host2/target2:0:0/2:0:0:0"
