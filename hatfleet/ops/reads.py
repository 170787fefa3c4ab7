"""What can be read from a target. Many reads are gathered in one command (see :mod:`hatfleet.ops.gather`)."""

from __future__ import annotations

from dataclasses import dataclass

#: A file here decides what systemd knows about units.
UNIT_FOLDERS = ("/etc/systemd", "/run/systemd", "/usr/lib/systemd", "/usr/local/lib/systemd", "/lib/systemd")

#: On a device, lists the operations that are still to follow a change (see hatfleet/fleet/engine/followups.py).
FOLLOW_UPS_FILE = "/var/lib/hatfleet/follow-ups"


@dataclass(frozen=True)
class Read:
    """A question to the target; equal reads are asked once."""

    def depends_on(self, path: str, *, below: bool) -> bool:
        """Whether the answer may be another one after something at ``path`` was made or changed.

        Args:
            path: What was changed; folders above it may have been made.
            below: Whether what was below it may be gone, too.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class PathState:
    """What is at a path; ``kind`` is absent, file, directory, link or other. ``mode`` is octal with four digits."""

    kind: str
    mode: str = ""
    owner: str = ""
    group: str = ""
    size: int = 0
    sha256: str = ""
    target: str = ""


@dataclass(frozen=True)
class PathRead(Read):
    """What is at a path, without following a link there; answered with a :class:`PathState`.

    Args:
        path: Absolute path.
        content: Also read a file's sha256.
    """

    path: str
    content: bool = False

    def depends_on(self, path: str, *, below: bool) -> bool:
        """Whether it is that path, a folder above it, or something below it that may be gone."""
        return path == self.path or path.startswith(f"{self.path}/") or (below and self.path.startswith(f"{path}/"))


@dataclass(frozen=True)
class TextRead(Read):
    """The content of a file, answered with bytes."""

    path: str

    def depends_on(self, path: str, *, below: bool) -> bool:
        """Whether it is the file, or may be gone with a folder above it."""
        return path == self.path or (below and self.path.startswith(f"{path}/"))


@dataclass(frozen=True)
class PackageState:
    """A package, as dpkg has it."""

    status: str
    """"installed", "config-files", "half-configured" …"""
    selection: str
    """What dpkg is asked to do with it: "install", "hold", "deinstall" …"""
    version: str
    """Empty when none was ever installed."""

    @property
    def installed(self) -> bool:
        """Whether it is there, unpacked and configured."""
        return self.status == "installed"


@dataclass(frozen=True)
class PackagesRead(Read):
    """Packages, answered with each one's :class:`PackageState` by name; those that dpkg does not know are left out."""

    names: tuple[str, ...]

    def depends_on(self, path: str, *, below: bool) -> bool:  # noqa: ARG002
        """No file of a role changes what is installed."""
        return False


@dataclass(frozen=True)
class UnitState:
    """A unit. ``file`` is systemd's UnitFileState ("" when there is no such unit)."""

    file: str
    active: str = ""
    condition_failed: bool = False
    needs_reload: bool = False


@dataclass(frozen=True)
class UnitRead(Read):
    """The state of a systemd unit, answered with a :class:`UnitState`."""

    name: str

    def depends_on(self, path: str, *, below: bool) -> bool:  # noqa: ARG002
        """Whether systemd would see the file."""
        return path.startswith(UNIT_FOLDERS)


@dataclass(frozen=True)
class ScriptRead(Read):
    """What a read-only shell script prints, answered with its lines.

    A script that ends with a non-zero status fails the operation; one whose failure is an answer must end with
    ``true``.
    """

    script: str


@dataclass(frozen=True)
class ShellRead(ScriptRead):
    """What a script prints of which nothing more is known."""

    def depends_on(self, path: str, *, below: bool) -> bool:  # noqa: ARG002
        """Nobody knows what a script reads."""
        return True


@dataclass(frozen=True)
class FollowUpsRead(Read):
    """The operations that an earlier run, which was cut off, left to be done; answered with their ids.

    What happens in this run does not change the answer: the engine itself knows of that.

    Args:
        file: The list on the device.
    """

    file: str

    def depends_on(self, path: str, *, below: bool) -> bool:  # noqa: ARG002
        """No file of a role changes it."""
        return False
