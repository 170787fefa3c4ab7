"""Reading a root file system as the device will see it: links lead to its own files, never to the builder's."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hatfleet.common.errors import HatfleetError

#: As many links in a row as Linux follows (path_resolution(7)).
MAX_LINKS = 40

_HINT = "the gate must see everything: run it as the owner of the tree (root, or inside its user namespace)"


@dataclass(frozen=True)
class Entry:
    """A file, folder, link or other thing in the tree."""

    path: str
    """As on the device, absolute."""
    real: str
    """Where it lies on this machine."""
    status: os.stat_result

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.status.st_mode)

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.status.st_mode)

    def read(self) -> bytes:
        """Return the content of a regular file.

        Raises:
            HatfleetError: it cannot be read.
        """
        return _read(self.real)

    def capabilities(self) -> bytes:
        """Return the file capabilities (the extended attribute security.capability); empty when it has none."""
        try:
            return os.getxattr(self.real, "security.capability", follow_symlinks=False)
        except OSError:
            # No such attribute, or a file system that cannot have any.
            return b""


@dataclass(frozen=True)
class Rootfs:
    """A root file system in a folder.

    Args:
        root: The folder.
    """

    root: Path

    def walk(self) -> Iterator[Entry]:
        """Yield everything in it but the root itself, links not followed, in the order of the names.

        Raises:
            HatfleetError: a folder cannot be read.
        """
        yield from self._below("")

    def _below(self, folder: str) -> Iterator[Entry]:
        try:
            with os.scandir(f"{self.root}{folder}") as found:
                entries = sorted(found, key=lambda item: item.name)
            known = [(entry, entry.stat(follow_symlinks=False)) for entry in entries]
        except OSError as error:
            raise HatfleetError(f"the folder {folder or '/'} cannot be read: {error.strerror}", hint=_HINT) from error
        for entry, status in known:
            path = f"{folder}/{entry.name}"
            yield Entry(path, entry.path, status)
            if stat.S_ISDIR(status.st_mode):
                yield from self._below(path)

    def resolve(self, path: str) -> str | None:
        """Return where a path leads on the device, all links followed; None when there is nothing."""
        parts, done, links = path.strip("/").split("/")[::-1], "", 0
        while parts:
            part = parts.pop()
            if part in ("", "."):
                continue
            if part == "..":
                done = done.rpartition("/")[0]
                continue
            try:
                target = str(Path(f"{self.root}{done}/{part}").readlink())
            except FileNotFoundError:
                return None
            except OSError:
                done = f"{done}/{part}"
                continue
            links += 1
            if links > MAX_LINKS:
                return None
            if target.startswith("/"):
                done = ""
            parts += target.split("/")[::-1]
        return (done or "/") if os.path.lexists(f"{self.root}{done}") else None

    def read(self, path: str) -> bytes | None:
        """Return the content of a regular file, links followed; None when there is none.

        Raises:
            HatfleetError: it cannot be read.
        """
        found = self.resolve(path)
        real = f"{self.root}{found}"
        if found is None or not stat.S_ISREG(os.lstat(real).st_mode):
            return None
        return _read(real)

    def text(self, path: str) -> str:
        """Return the content of a text file; empty when there is none.

        Raises:
            HatfleetError: it cannot be read.
        """
        return (self.read(path) or b"").decode(errors="surrogateescape")

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, sorted; nothing when there is no such folder.

        Raises:
            HatfleetError: it cannot be read.
        """
        found = self.resolve(folder)
        try:
            return sorted(os.listdir(f"{self.root}{found}")) if found else []  # noqa: PTH208 - names, not paths
        except NotADirectoryError:
            return []
        except OSError as error:
            raise HatfleetError(f"the folder {folder} cannot be read: {error.strerror}", hint=_HINT) from error

    def link(self, path: str) -> str | None:
        """Return what a symbolic link says; None when it is none. Links on the way to it are followed."""
        folder, _, name = path.rpartition("/")
        found = self.resolve(folder)
        try:
            return str(Path(f"{self.root}{found}/{name}").readlink()) if found else None
        except OSError:
            return None

    def there(self, path: str) -> bool:
        """Whether something of that name is there, a link that leads nowhere included."""
        return self.link(path) is not None or self.resolve(path) is not None


def _read(real: str) -> bytes:
    try:
        with open(os.open(real, os.O_RDONLY | os.O_NOFOLLOW), "rb") as handle:  # noqa: PTH123 - never behind a link
            return handle.read()
    except OSError as error:
        raise HatfleetError(f"{real} cannot be read: {error.strerror}", hint=_HINT) from error
