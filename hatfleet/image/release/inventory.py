"""What is installed in a root file system, read from its tar archive: Debian packages and Python distributions."""

from __future__ import annotations

import fnmatch
import hashlib
import posixpath
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email import message_from_string
from pathlib import Path

from hatfleet.common.errors import HatfleetError, Where
from hatfleet.image.release.licences import Licence, combine, read_copyright

#: Where dpkg's database lies; on a sealed image it is moved, since /var is not in the image.
STATUS_FILES = ("usr/lib/hatfleet/dpkg/status", "var/lib/dpkg/status")

_COPYRIGHT = "usr/share/doc/*/copyright"
_METADATA = "*.dist-info/METADATA"

#: Longest chain of links that is followed, as the kernel does (MAXSYMLINKS in include/linux/namei.h).
_MAX_LINKS = 40

_SOURCE = re.compile(r"(\S+)(?: \((\S+)\))?")


class InventoryError(HatfleetError):
    """A file that says what is installed is missing or damaged."""


@dataclass(frozen=True, order=True)
class DebianPackage:
    """An installed Debian package."""

    name: str
    version: str
    arch: str
    source: str
    """Name of its source package, under which vulnerabilities are filed."""
    source_version: str
    maintainer: str
    licence: Licence
    copyright_sha256: str | None
    """Of its copyright file; None when the image does not have it."""


@dataclass(frozen=True, order=True)
class PythonPackage:
    """An installed Python distribution."""

    name: str
    version: str
    path: str
    """Its .dist-info folder, without a slash at the front."""
    licence: Licence


@dataclass(frozen=True)
class Inventory:
    """Everything that is installed, sorted."""

    debian: tuple[DebianPackage, ...]
    python: tuple[PythonPackage, ...]


def read_inventory(archive: Path) -> Inventory:
    """Read what is installed from a tar archive of a root file system (names begin with ``./``).

    Raises:
        InventoryError: the archive, dpkg's status file or the METADATA of a distribution is damaged; it is named.
    """
    try:
        files, links = _read_archive(archive)
    except (OSError, tarfile.TarError, EOFError) as error:
        raise InventoryError(f"the archive is damaged or cannot be read: {error}", where=Where(archive)) from error
    status = next((name for name in STATUS_FILES if name in files), None)
    if status is None:
        raise InventoryError(f"there is neither {' nor '.join(STATUS_FILES)} in it", where=Where(archive))
    copyrights = _Copyrights(files, links)
    debian = (_debian(fields, copyrights) for fields in _installed(_text(files, status), status))
    python = (_python(name, _text(files, name)) for name in files if fnmatch.fnmatchcase(name, _METADATA))
    return Inventory(tuple(sorted(debian, key=_order)), tuple(sorted(python, key=lambda one: (one.name, one.path))))


def _order(package: DebianPackage) -> tuple[str, str, str]:
    return package.name, package.arch, package.version


def _read_archive(archive: Path) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the content of the files wanted, and the target of every link that may lead to one."""
    files: dict[str, bytes] = {}
    links: dict[str, str] = {}
    with tarfile.open(archive, "r:") as tar:
        for member in tar:
            name = posixpath.normpath(member.name)
            if member.issym():
                links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname)).lstrip("/")
            elif member.islnk():
                links[name] = posixpath.normpath(member.linkname)
            elif member.isreg() and _wanted(name) and (handle := tar.extractfile(member)):
                files[name] = handle.read()
    return files, links


def _wanted(name: str) -> bool:
    return name in STATUS_FILES or name.endswith(".dist-info/METADATA") or fnmatch.fnmatchcase(name, _COPYRIGHT)


def _text(files: Mapping[str, bytes], name: str) -> str:
    try:
        return files[name].decode()
    except UnicodeDecodeError as error:
        raise InventoryError(f"/{name} is damaged: it is not UTF-8 at byte {error.start}") from error


class _Copyrights:
    """Copyright files; a package may have a link in place of its folder of documentation."""

    def __init__(self, files: Mapping[str, bytes], links: Mapping[str, str]) -> None:
        self._files, self._links = files, links
        self._read: dict[str, tuple[Licence, str]] = {}

    def of(self, package: str) -> tuple[Licence, str | None]:
        """Return the licence of a package, and the digest of its copyright file."""
        path = self._resolve(f"usr/share/doc/{package}/copyright")
        if path not in self._files:
            return Licence(), None
        if path not in self._read:
            data = self._files[path]
            self._read[path] = read_copyright(data.decode(errors="replace")), hashlib.sha256(data).hexdigest()
        return self._read[path]

    def _resolve(self, path: str) -> str:
        for _ in range(_MAX_LINKS):
            parts = path.split("/")
            heads = ("/".join(parts[:count]) for count in range(1, len(parts) + 1))
            head = next((head for head in heads if head in self._links), None)
            if head is None:
                break
            path = posixpath.normpath(self._links[head] + path[len(head) :])
        return path


def _installed(text: str, name: str) -> Iterator[Mapping[str, str]]:
    """Yield the fields of every package of dpkg's status file that is on the system."""
    for line, fields in _paragraphs(text, name):
        for needed in ("Package", "Status"):
            if needed not in fields:
                raise InventoryError(f"/{name}:{line} is damaged: a package without the field {needed}")
        state = fields["Status"].split()
        if len(state) != 3:
            raise InventoryError(f"/{name}:{line} is damaged: {fields['Status']!r} is no status of a package")
        if state[2] in ("config-files", "not-installed"):
            continue
        for needed in ("Version", "Architecture"):
            if needed not in fields:
                raise InventoryError(f"/{name}:{line} is damaged: {fields['Package']} has no field {needed}")
        yield fields


def _paragraphs(text: str, name: str) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield line number and fields of each paragraph; of fields with several lines, the first."""
    fields: dict[str, str] = {}
    start = 1
    for number, line in enumerate([*text.splitlines(), ""], 1):
        if not line.strip():
            if fields:
                yield start, fields
            fields = {}
        elif line[0] not in " \t":
            key, colon, value = line.partition(":")
            if not colon or not key or " " in key or key in fields:
                raise InventoryError(f"/{name}:{number} is damaged: {line[:60]!r} is no field, or there twice")
            start = start if fields else number
            fields[key] = value.strip()
        elif not fields:
            raise InventoryError(f"/{name}:{number} is damaged: a paragraph begins in the middle of a field")


def _debian(fields: Mapping[str, str], copyrights: _Copyrights) -> DebianPackage:
    name, version = fields["Package"], fields["Version"]
    match = _SOURCE.fullmatch(fields.get("Source", name))
    if match is None:
        raise InventoryError(f"dpkg's status is damaged: {fields['Source']!r} is no source package, of {name}")
    licence, digest = copyrights.of(name)
    return DebianPackage(
        name=name,
        version=version,
        arch=fields["Architecture"],
        source=match[1],
        source_version=match[2] or version,
        maintainer=fields.get("Maintainer", ""),
        licence=licence,
        copyright_sha256=digest,
    )


def _python(path: str, text: str) -> PythonPackage:
    fields = message_from_string(text)
    for needed in ("Metadata-Version", "Name", "Version"):
        if not str(fields.get(needed, "")).strip():
            raise InventoryError(f"/{path} is damaged: there is no field {needed}")
    return PythonPackage(
        # As PyPI and purl compare names: https://packaging.python.org/en/latest/specifications/name-normalization/
        name=re.sub(r"[-_.]+", "-", str(fields["Name"]).strip()).lower(),
        version=str(fields["Version"]).strip(),
        path=posixpath.dirname(path),
        licence=_python_licence(str(fields.get("License-Expression", "")), fields.get_all("Classifier", [])),
    )


def _python_licence(expression: str, classifiers: list[str]) -> Licence:
    """Return the licence by its SPDX expression, else by the classifiers; "License" is prose, often the whole text."""
    if expression.strip():
        return combine([expression.strip()])
    prefix = "License :: "
    return combine(text.removeprefix(prefix).rpartition(" :: ")[2] for text in classifiers if text.startswith(prefix))
