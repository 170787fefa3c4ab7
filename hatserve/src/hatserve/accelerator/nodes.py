"""Device nodes of the accelerator: which there are, who may open them, and who has."""

from __future__ import annotations

import grp
import stat
from dataclasses import dataclass
from pathlib import Path

from hatserve.accelerator.bus import Device
from hatserve.system import System, read_number, read_text

#: The program that is meant to hold the chip: the inference service.
OWN_PROGRAM = "hatserve"


@dataclass(frozen=True)
class Node:
    """A device node."""

    path: str
    """Such as ``/dev/hailo0``."""
    mode: str
    """Permission bits, such as ``0660``."""
    group: str
    """The group's name, or its number when it has none."""

    @property
    def world(self) -> bool:
        """Whether everybody may open it."""
        return bool(int(self.mode, 8) & stat.S_IRWXO)


@dataclass(frozen=True)
class Holder:
    """A process that has a device node open."""

    pid: int
    name: str
    node: str
    own: bool
    """Whether it is our inference service."""


def find_nodes(system: System, device: Device) -> tuple[Node, ...]:
    """Return the nodes of a device that exist in /dev."""
    found = []
    for name in _names(system, device):
        try:
            status = system.path(name).stat()
        except OSError:
            continue
        found.append(Node(name, f"{stat.S_IMODE(status.st_mode):04o}", _group(status.st_gid)))
    return tuple(found)


def _names(system: System, device: Device) -> list[str]:
    if device.bus == "usb":
        bus, number = (read_number(device.folder / name) for name in ("busnum", "devnum"))
        return [] if bus is None or number is None else [f"/dev/bus/usb/{bus:03.0f}/{number:03.0f}"]
    return [
        f"/dev/{entry.name}"
        for name in device.kind.classes
        for entry in system.entries(f"/sys/class/{name}")
        if (entry / "device").resolve().name == device.address
    ]


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def find_holders(system: System, nodes: tuple[Node, ...]) -> tuple[tuple[Holder, ...], str | None]:
    """Return the processes that have a node open, and why they may not be all; None when they are."""
    wanted = {str(system.path(node.path).resolve()): node.path for node in nodes}
    processes = [folder for folder in _folders(system.processes) if folder.name.isdigit()]
    if not processes:
        return (), f"there are no processes in {system.processes}"
    holders = []
    closed = 0
    for folder in processes:
        try:
            targets = {str(link.readlink()) for link in (folder / "fd").iterdir()}
        except FileNotFoundError:
            continue
        except PermissionError:
            closed += 1
            continue
        name = _program(folder)
        holders += [
            Holder(int(folder.name), name, wanted[target], own=name == OWN_PROGRAM)
            for target in sorted(targets & wanted.keys())
        ]
    return tuple(holders), f"only root sees the open files of {closed} processes" if closed else None


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _program(folder: Path) -> str:
    """Return the program that a process runs: a script's name, not its interpreter's."""
    words = [Path(word).name for word in (read_text(folder / "cmdline") or "").split("\0") if word]
    if OWN_PROGRAM in words[:2]:
        return OWN_PROGRAM
    return read_text(folder / "comm") or (words[0] if words else "?")
