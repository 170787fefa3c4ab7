"""Which units a device would start, read from the links and files of its root file system."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from hatfleet.image.gate.rootfs import Rootfs

#: Where systemd looks for units, first one wins (systemd.unit(5)); /run is empty in an image.
SYSTEM_FOLDERS = ("/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system")
USER_FOLDERS = ("/etc/systemd/user", "/usr/local/lib/systemd/user", "/usr/lib/systemd/user")

#: How units of user sessions are named in allow-lists: user/ssh-agent.socket.
USER_PREFIX = "user/"

_ENABLING = (".wants", ".requires", ".upholds")

#: These start nothing by themselves: what they pull in is judged on its own.
_PASSIVE = (".target", ".slice", ".scope", ".device")

_PULLS = re.compile(r"^(?:Wants|Requires|BindsTo|Upholds|Requisite)\s*=\s*(.*)$", re.MULTILINE)
_SYSV = re.compile(r"S\d\d(.+)")


@dataclass(frozen=True)
class Enabled:
    """A unit that would be started."""

    name: str
    """Its own name, links resolved; units of user sessions with the prefix ``user/``."""
    path: str
    """The link, file or folder that enables it."""


@dataclass
class _Manager:
    """The units of the system, or of user sessions."""

    rootfs: Rootfs
    folders: tuple[str, ...]
    prefix: str = ""
    _files: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for folder in reversed(self.folders):
            self._files |= {name: f"{folder}/{name}" for name in self.rootfs.names(folder)}

    def enabled(self) -> Iterator[Enabled]:
        """Yield every unit that something pulls in and that can be started."""
        for name, path in self._pulled():
            real = self._startable(name)
            if real and not real.endswith(_PASSIVE):
                yield Enabled(self.prefix + real, path)

    def _pulled(self) -> Iterator[tuple[str, str]]:
        for folder in self.folders:
            for name in self.rootfs.names(folder):
                inside = f"{folder}/{name}"
                # What is only for the initramfs is not started after it.
                if name.endswith(_ENABLING) and not name.startswith("initrd"):
                    for unit in self.rootfs.names(inside):
                        yield unit, f"{inside}/{unit}"
                elif name.endswith(".d"):
                    yield from self._drop_ins(inside)
        yield from self._presets()

    def _drop_ins(self, folder: str) -> Iterator[tuple[str, str]]:
        """Yield what drop-ins of other units pull in: enabling by another name."""
        for name in self.rootfs.names(folder):
            if name.endswith(".conf"):
                for line in _PULLS.findall(self.rootfs.text(f"{folder}/{name}")):
                    for unit in line.split():
                        yield unit, f"{folder}/{name}"

    def _presets(self) -> Iterator[tuple[str, str]]:
        """Yield what a site's own presets enable at a first boot.

        Those of the distribution were applied when the packages were installed, and are never again: that takes a
        writable /etc without machine-id.
        """
        folder = f"{self.folders[0]}-preset"
        for name in self.rootfs.names(folder):
            for line in self.rootfs.text(f"{folder}/{name}").splitlines():
                verb, *units = line.split()[:2] or [""]
                for unit in units if verb == "enable" else ():
                    yield unit, f"{folder}/{name}"

    def _startable(self, name: str) -> str | None:
        """Return the name of a unit behind aliases; None when it is masked or not there."""
        for _ in range(8):
            template = re.sub(r"@[^@]*(\.\w+)$", r"@\1", name)
            path = self._files.get(name) or self._files.get(template)
            if path is None:
                return None
            target = self.rootfs.link(path)
            if target is None:
                return None if self.rootfs.read(path) == b"" else name
            last = target.rpartition("/")[2]
            if target == "/dev/null" or last == "null":
                return None
            if last in (name, template):
                return name if self.rootfs.resolve(path) else None
            name = last if "@." not in last else re.sub(r"@\.", f"@{_instance(name)}.", last)
        return None

    def knows(self, name: str) -> bool:
        """Whether there is a unit file of that name, masked or not."""
        return name in self._files


def _instance(name: str) -> str:
    return name.partition("@")[2].rpartition(".")[0]


def enabled_units(rootfs: Rootfs) -> tuple[Enabled, ...]:
    """Return every unit that the system or a user session would start, each once, by name."""
    system = _Manager(rootfs, SYSTEM_FOLDERS)
    found = [*system.enabled(), *_sysv(rootfs, system), *_Manager(rootfs, USER_FOLDERS, USER_PREFIX).enabled()]
    first: dict[str, Enabled] = {}
    for unit in found:
        first.setdefault(unit.name, unit)
    return tuple(first[name] for name in sorted(first))


def _sysv(rootfs: Rootfs, system: _Manager) -> Iterator[Enabled]:
    """Yield what systemd makes units of because there is only an old init script (systemd-sysv-generator(8))."""
    for level in ("S", "2", "3", "4", "5"):
        for name in rootfs.names(f"/etc/rc{level}.d"):
            script = _SYSV.fullmatch(name)
            if script and not system.knows(f"{script[1]}.service") and rootfs.resolve(f"/etc/init.d/{script[1]}"):
                yield Enabled(f"{script[1]}.service", f"/etc/rc{level}.d/{name}")


def template_of(name: str) -> str:
    """Return the template that a unit is an instance of (getty@tty1.service: getty@.service); else its own name."""
    return re.sub(r"@[^@]+(\.\w+)$", r"@\1", name)
