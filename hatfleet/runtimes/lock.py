"""Locks: exactly which wheels an environment is made of, as a requirements file with hashes that pip understands."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from hatfleet.common.errors import InputError, Where
from hatfleet.common.files import write_atomic
from hatfleet.common.site import Site
from hatfleet.runtimes.hatserve import NAME
from hatfleet.runtimes.target import Target

#: Folder of locks in a site or in the package.
KIND, SUFFIX = "runtimes", ".lock"

_HEAD = "# Wheels of /opt/hatserve for {target}, written by: provision runtimes lock\n"
_REQUIRES = "# requires "
_ENTRY = re.compile(
    r"^(?P<name>[a-z0-9][a-z0-9-]*)==(?P<version>\S+) \\\n"
    r"    --hash=sha256:(?P<sha256>[0-9a-f]{64})\n"
    r"    # via (?P<via>[a-z0-9, -]+)\n",
    re.MULTILINE,
)


@dataclass(frozen=True, order=True)
class LockedWheel:
    """One wheel."""

    name: str
    """Normalised name of the distribution."""
    version: str
    sha256: str
    via: tuple[str, ...]
    """Which distributions require it."""

    @property
    def pinned(self) -> str:
        """Name and version as pip takes them."""
        return f"{self.name}=={self.version}"

    @property
    def text(self) -> str:
        """Its lines of the file."""
        return f"{self.pinned} \\\n    --hash=sha256:{self.sha256}\n    # via {', '.join(self.via)}\n"


@dataclass(frozen=True)
class Lock:
    """A lock file."""

    target: Target
    requires: tuple[str, ...]
    """What hatserve required when it was made, sorted."""
    wheels: tuple[LockedWheel, ...]
    """Sorted by name."""

    @property
    def text(self) -> str:
        """The whole file."""
        head = _HEAD.format(target=self.target) + "".join(f"{_REQUIRES}{line}\n" for line in self.requires)
        return head + "".join(wheel.text for wheel in self.wheels)

    def without(self, left_out: Collection[str]) -> tuple[LockedWheel, ...]:
        """Return the wheels that are needed when hatserve does without some of what it requires."""
        wanted = {NAME}
        while True:
            more = {
                wheel.name
                for wheel in self.wheels
                if wheel.name not in left_out and wheel.name not in wanted and wanted.intersection(wheel.via)
            }
            if not more:
                return tuple(wheel for wheel in self.wheels if wheel.name in wanted)
            wanted |= more


def digest(wheels: Sequence[LockedWheel]) -> str:
    """Return a hash over wheels."""
    return hashlib.sha256("".join(wheel.text for wheel in wheels).encode()).hexdigest()


def find_lock(site: Site, target: Target) -> Path:
    """Return where the lock for a target lies: in the site, else in the package.

    Raises:
        InputError: there is none; the error names those there are.
    """
    found = site.find_content(KIND, target.name, (SUFFIX,))
    if found is None:
        known = ", ".join(site.names(KIND, SUFFIX)) or "none"
        raise InputError(
            f"there is no lock of wheels for {target}: there is {known}",
            hint=f"make one: provision runtimes lock --arch {target.arch} --python {target.python}",
        )
    return found


def parse(file: Path, target: Target) -> Lock:
    """Read a lock.

    Raises:
        InputError: the file is not there, not for the target, or not as it was written.
    """
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the lock cannot be read: {error}", where=Where(file), hint=_hint(target)) from error
    requires = tuple(line.removeprefix(_REQUIRES) for line in text.splitlines() if line.startswith(_REQUIRES))
    wheels = tuple(
        LockedWheel(found["name"], found["version"], found["sha256"], tuple(found["via"].split(", ")))
        for found in _ENTRY.finditer(text)
    )
    lock = Lock(target, requires, wheels)
    if lock.text == text:
        return lock
    for number, (line, wanted) in enumerate(zip(text.splitlines(), [*lock.text.splitlines(), ""], strict=False), 1):
        if line != wanted:
            raise InputError(
                f"this is no line of a lock for {target}: {line[:80]!r}", where=Where(file, number), hint=_hint(target)
            )
    raise InputError(f"the lock for {target} is cut off", where=Where(file), hint=_hint(target))


def read_lock(file: Path, target: Target, requires: Sequence[str]) -> Lock:
    """Read a lock that was made for these requirements.

    Raises:
        InputError: it cannot be read, or is older than the requirements; the error names what differs.
    """
    lock = parse(file, target)
    new, gone = sorted(set(requires) - set(lock.requires)), sorted(set(lock.requires) - set(requires))
    if new or gone:
        changes = [*(f"+{line}" for line in new), *(f"-{line}" for line in gone)]
        raise InputError(
            f"the lock is older than what hatserve requires: {' '.join(changes)}", where=Where(file), hint=_hint(target)
        )
    return lock


def write_lock(file: Path, lock: Lock) -> None:
    """Write a lock."""
    write_atomic(file, lock.text)


def _hint(target: Target) -> str:
    return f"make it anew: provision runtimes lock --arch {target.arch} --python {target.python}"
