"""The list of all files of a root file system: an artefact of each build, by which two images are compared.

It is made from the archive that the system partition is made from, so that nothing needs to be unpacked later.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import posixpath
import stat
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from hatfleet.common.errors import HatfleetError, InputError, Where
from hatfleet.common.files import write_atomic

#: Files below these whose text goes into the list, so that changed settings can be shown line by line.
_TEXT_FOLDERS = ("etc/", "usr/lib/hatfleet/")
_TEXT_BYTES = 64 * 1024

_XATTR = "SCHILY.xattr."


class FileType(StrEnum):
    """What a path is."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    DEVICE = "device"
    PIPE = "pipe"


class FileEntry(BaseModel):
    """A path of a root file system."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    path: str
    """Without a slash at the front; the root itself is ``.``."""
    type: FileType
    mode: int
    """Permission bits, with setuid, setgid and sticky."""
    uid: int | None = None
    """Numeric owner; None when it could not be read."""
    gid: int | None = None
    size: int = 0
    """Bytes of a file."""
    sha256: str | None = None
    """Over the content of a file."""
    target: str | None = None
    """Where a symbolic link leads; kind and numbers of a device."""
    xattrs: dict[str, str] | None = None
    """Extended attributes, values in hexadecimal; None when they could not be read."""
    text: str | None = None
    """Content of a small text file of settings that everybody may read."""


class _List(BaseModel):
    """The artefact."""

    model_config = ConfigDict(extra="forbid")

    # "schema" is a method of pydantic's models.
    schema_version: Annotated[int, Field(alias="schema", ge=1, le=1)] = 1
    files: tuple[FileEntry, ...]


def files_of_archive(archive: Path) -> tuple[FileEntry, ...]:
    """List the files of a tar archive of a root file system (names begin with ``./``), sorted by path.

    Raises:
        HatfleetError: the archive is damaged.
    """
    entries: dict[str, FileEntry] = {}
    try:
        with tarfile.open(archive, "r:") as tar:
            for member in tar:
                path = _printable(posixpath.normpath(member.name))
                entries[path] = _of_member(tar, member, path, entries)
    except (OSError, tarfile.TarError, EOFError, KeyError) as error:
        raise HatfleetError(f"the archive is damaged: {error}", where=Where(archive)) from error
    return tuple(entries[path] for path in sorted(entries))


def files_of_folder(root: Path) -> tuple[FileEntry, ...]:
    """List the files of an unpacked root file system, sorted by path.

    Owners and extended attributes are left out: an ordinary user cannot unpack them.

    Raises:
        OSError: a file cannot be read.
    """
    return tuple(sorted(_walk(root, "."), key=lambda entry: entry.path))


def write_files(entries: Iterable[FileEntry], path: Path) -> None:
    """Write the artefact; the same entries give the same bytes."""
    text = _List(files=tuple(entries)).model_dump_json(by_alias=True, exclude_defaults=True)
    write_atomic(path, gzip.compress(text.encode(), mtime=0))


def read_files(path: Path) -> tuple[FileEntry, ...]:
    """Read the artefact.

    Raises:
        InputError: it is not there, damaged, or of a schema that this version does not know.
    """
    try:
        text = gzip.decompress(path.read_bytes())
        return TypeAdapter(_List).validate_json(text).files
    except (OSError, EOFError, gzip.BadGzipFile) as error:
        raise InputError(f"the list of files cannot be read: {error}", where=Where(path)) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        raise InputError(
            f"the list of files is damaged or of another version: {place}: {first['msg']}",
            where=Where(path),
            hint="build the image again, or fetch the release again",
        ) from error


def _of_member(tar: tarfile.TarFile, member: tarfile.TarInfo, path: str, known: Mapping[str, FileEntry]) -> FileEntry:
    if member.islnk():
        # Another name of a file that came before: everything about it is the same.
        return known[_printable(posixpath.normpath(member.linkname))].model_copy(update={"path": path})
    handle = tar.extractfile(member) if member.isreg() else None
    content, text = _read(handle, path, member.size, member.mode) if handle else (None, None)
    names = {name: value for name, value in member.pax_headers.items() if name.startswith(_XATTR)}
    return FileEntry(
        path=path,
        type=_tar_type(member),
        mode=member.mode & 0o7777,
        uid=member.uid,
        gid=member.gid,
        size=member.size if member.isreg() else 0,
        sha256=content,
        target=_tar_target(member),
        xattrs={name.removeprefix(_XATTR): _raw(value).hex() for name, value in sorted(names.items())},
        text=text,
    )


def _printable(name: str) -> str:
    """Return a name as it can be written as JSON: bytes that are no UTF-8 as escapes."""
    return _raw(name).decode("utf-8", "backslashreplace")


def _raw(value: str) -> bytes:
    # What is no UTF-8 comes as surrogates, from tarfile and from the file system alike.
    return value.encode("utf-8", "surrogateescape")


def _tar_type(member: tarfile.TarInfo) -> FileType:
    if member.isdir():
        return FileType.FOLDER
    if member.issym():
        return FileType.LINK
    if member.isfifo():
        return FileType.PIPE
    return FileType.DEVICE if member.isdev() else FileType.FILE


def _tar_target(member: tarfile.TarInfo) -> str | None:
    if member.issym():
        return _printable(member.linkname)
    if member.ischr() or member.isblk():
        return f"{'character' if member.ischr() else 'block'} {member.devmajor}:{member.devminor}"
    return None


def _read(handle: IO[bytes], path: str, size: int, mode: int) -> tuple[str, str | None]:
    """Return the digest of a file, and its text when it is one whose text is kept."""
    if size > _TEXT_BYTES or not mode & 0o004 or not path.startswith(_TEXT_FOLDERS):
        # file_digest does not take every handle that tarfile gives.
        digest = hashlib.sha256()
        while chunk := handle.read(1024 * 1024):
            digest.update(chunk)
        return digest.hexdigest(), None
    content = handle.read()
    try:
        text = None if b"\0" in content else content.decode()
    except UnicodeDecodeError:
        text = None
    return hashlib.sha256(content).hexdigest(), text


def _walk(root: Path, path: str) -> Iterator[FileEntry]:
    place = root / path
    status = place.lstat()
    kind, content, text, target = FileType.DEVICE, None, None, None
    if stat.S_ISLNK(status.st_mode):
        kind, target = FileType.LINK, _printable(str(place.readlink()))
    elif stat.S_ISDIR(status.st_mode):
        kind = FileType.FOLDER
    elif stat.S_ISREG(status.st_mode):
        kind = FileType.FILE
        with place.open("rb") as handle:
            content, text = _read(handle, path, status.st_size, status.st_mode)
    elif stat.S_ISFIFO(status.st_mode):
        kind = FileType.PIPE
    elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        name = "character" if stat.S_ISCHR(status.st_mode) else "block"
        target = f"{name} {os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    size = status.st_size if kind is FileType.FILE else 0
    mode = stat.S_IMODE(status.st_mode)
    shown = _printable(path)
    yield FileEntry(path=shown, type=kind, mode=mode, size=size, sha256=content, target=target, text=text)
    if kind is FileType.FOLDER:
        for child in sorted(place.iterdir()):
            yield from _walk(root, str(child.relative_to(root)))
