"""The archive format of an initramfs: cpio "newc".

As in the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A file, folder or device of the archive; all belong to root."""

    path: str
    """Without leading slash."""
    mode: int
    """Type and permission bits, as in ``st_mode``."""
    content: bytes = b""
    device: tuple[int, int] = (0, 0)
    """Major and minor number of a device."""


def folder(path: str) -> Entry:
    """Return a folder that everybody may read."""
    return Entry(path, stat.S_IFDIR | 0o755)


def regular(path: str, content: bytes, mode: int = 0o644) -> Entry:
    """Return a regular file."""
    return Entry(path, stat.S_IFREG | mode, content)


def link(path: str, to: str) -> Entry:
    """Return a symbolic link."""
    return Entry(path, stat.S_IFLNK | 0o777, to.encode())


def character_device(path: str, major: int, minor: int) -> Entry:
    """Return a character device that root may use."""
    return Entry(path, stat.S_IFCHR | 0o600, device=(major, minor))


def archive(entries: Iterable[Entry], epoch_s: int) -> bytes:
    """Return the archive; every entry's time is ``epoch_s`` (seconds since 1970)."""
    data = bytearray()
    for number, entry in enumerate(entries, start=1):
        _append(data, entry, number, epoch_s)
    _append(data, Entry("TRAILER!!!", 0), 0, 0)
    return bytes(data) + bytes(-len(data) % 512)


def _append(data: bytearray, entry: Entry, inode: int, epoch_s: int) -> None:
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    name = entry.path.encode() + b"\0"
    fields = (inode, entry.mode, 0, 0, links, epoch_s, len(entry.content), 0, 0, *entry.device, len(name), 0)
    data += b"070701" + b"".join(b"%08X" % field for field in fields) + name
    data += bytes(-len(data) % 4)
    data += entry.content
    data += bytes(-len(data) % 4)
