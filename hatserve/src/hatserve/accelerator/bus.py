"""Finding accelerators on PCI and USB by what they are, never by where they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hatserve.accelerator.kinds import KINDS, Kind
from hatserve.system import System, read_number, read_text

PCI = "/sys/bus/pci/devices"
USB = "/sys/bus/usb/devices"


@dataclass(frozen=True)
class Device:
    """An accelerator on a bus."""

    kind: Kind
    bus: str
    """``pci`` or ``usb``."""
    address: str
    """What sysfs calls it, such as ``0001:01:00.0``. It differs between kernels."""
    id: str
    folder: Path
    """Its folder in sysfs."""

    @property
    def driver(self) -> str | None:
        """The name of the driver that has it; None when none has."""
        link = self.folder / "driver"
        return link.resolve().name if link.exists() else None

    @property
    def link_speed_gts(self) -> float | None:
        """The speed of its PCIe link, in GT/s; sysfs says it as ``8.0 GT/s PCIe``."""
        return read_number(self.folder / "current_link_speed")

    @property
    def link_width(self) -> int | None:
        """The number of its PCIe lanes."""
        width = read_number(self.folder / "current_link_width")
        return None if width is None else int(width)


def find_devices(system: System) -> list[Device]:
    """Return every accelerator on PCI and USB, in the order of KINDS."""
    seen = [
        *((folder, "pci", _pci_id(folder)) for folder in system.entries(PCI)),
        *((folder, "usb", _usb_id(folder)) for folder in system.entries(USB)),
    ]
    return [
        Device(kind, bus, folder.name, number, folder)
        for kind in KINDS.values()
        for folder, bus, number in seen
        if number in (kind.pci_ids if bus == "pci" else kind.usb_ids)
    ]


def _pci_id(folder: Path) -> str:
    vendor, device = (read_text(folder / name) or "" for name in ("vendor", "device"))
    return f"{vendor.removeprefix('0x')}:{device.removeprefix('0x')}"


def _usb_id(folder: Path) -> str:
    vendor, product = (read_text(folder / name) or "" for name in ("idVendor", "idProduct"))
    return f"{vendor}:{product}"
