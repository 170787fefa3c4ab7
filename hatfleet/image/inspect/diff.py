"""What differs between two images."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hatfleet.image.disk import Placed
from hatfleet.image.inspect.contents import blocks, partition_digest, system_files
from hatfleet.image.inspect.files import FileEntry, FileType, read_files
from hatfleet.image.inspect.report import BOOT, SYSTEM, ImageReport, report_of
from hatfleet.image.inspect.source import Source, find_source
from hatfleet.image.tools import Tools

#: Unit in which an update finds what the device already has (RAUC's block-hash-index).
BLOCK_BYTES = 4096


@dataclass(frozen=True)
class Change:
    """Something that is in both images and not the same, or in one of them only."""

    name: str
    before: str | None
    """None: it is only in the second."""
    after: str | None
    """None: it is only in the first."""


@dataclass(frozen=True)
class FileChange:
    """A file that differs."""

    path: str
    what: tuple[str, ...]
    """``added``, ``removed``, or which of its properties changed, with both values where they are short."""
    text: str = ""
    """Its text line by line, as ``diff -u`` shows it, where the list of files has the text."""


@dataclass(frozen=True)
class BlockChange:
    """What an update of the system partition must carry."""

    blocks: int
    """Blocks of 4 KiB of the second image that are not zeros."""
    new: int
    """Those of them that are nowhere on the first image's system partition."""

    @property
    def share(self) -> float:
        """New blocks as a part of all, 0 to 1."""
        return self.new / self.blocks if self.blocks else 0.0


@dataclass(frozen=True)
class Difference:
    """What differs between two images; everything is empty when they are the same."""

    facts: tuple[Change, ...]
    """Name, version, platform, kernel, root hash and the like."""
    partitions: tuple[Change, ...]
    """Places and sizes."""
    contents: tuple[Change, ...]
    """Partitions that have other bytes: the digests, for comparison with each other only."""
    roles: tuple[Change, ...]
    """Roles whose code or settings differ."""
    packages: tuple[Change, ...]
    boot_files: tuple[FileChange, ...]
    """Files of boot partition A."""
    files: tuple[FileChange, ...]
    """Files of the system partition."""
    system: BlockChange | None
    """None when one of the images has no system partition A."""

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        lists = (self.facts, self.partitions, self.contents, self.roles, self.packages, self.boot_files, self.files)
        return not any(lists)


def diff_images(before: Path, after: Path, tools: Tools) -> Difference:
    """Compare two images.

    Files are compared by the lists that the builds wrote; without them the system partitions are unpacked, which
    tells nothing of owners and extended attributes.

    Args:
        before: An image file, or the folder that a build wrote.
        after: Another one.
        tools: Runs mtools and the erofs-utils.

    Raises:
        InputError: there is no image, or its partition table, manifest or list of files is damaged.
        HatfleetError: a file system in it is damaged.
    """
    sources = find_source(before), find_source(after)
    one, other = (report_of(source, tools) for source in sources)
    return Difference(
        facts=changes(_facts(one), _facts(other)),
        partitions=changes(_partitions(one), _partitions(other)),
        contents=changes(_contents(one), _contents(other)),
        roles=_roles(one, other),
        packages=changes(_packages(one), _packages(other)),
        boot_files=file_changes(_boot_files(one), _boot_files(other)),
        files=file_changes(_files(sources[0], one, tools), _files(sources[1], other, tools)),
        system=_block_change(one, other),
    )


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Change, ...]:
    """Compare named values."""
    names = dict.fromkeys((*before, *after))
    pairs = ((name, before.get(name), after.get(name)) for name in names)
    return tuple(Change(name, old, new) for name, old, new in pairs if old != new)


def file_changes(before: Sequence[FileEntry], after: Sequence[FileEntry]) -> tuple[FileChange, ...]:
    """Compare two lists of files; what one of them does not know about a file is not compared."""
    old, new = ({entry.path: entry for entry in entries} for entries in (before, after))
    return tuple(_file_changes(old, new))


def _file_changes(old: Mapping[str, FileEntry], new: Mapping[str, FileEntry]) -> Iterator[FileChange]:
    for path in sorted({*old, *new}):
        one, other = old.get(path), new.get(path)
        if one is None or other is None:
            yield FileChange(path, ("added" if one is None else "removed",), _text_change(path, one, other))
        elif what := tuple(_properties(one, other)):
            yield FileChange(path, what, _text_change(path, one, other))


def _properties(one: FileEntry, other: FileEntry) -> Iterator[str]:
    if one.type is not other.type:
        yield f"{one.type} -> {other.type}"
        return
    if one.sha256 != other.sha256:
        sizes = f" {one.size} -> {other.size} bytes" if one.size != other.size else ""
        yield f"content{sizes}"
    if one.target != other.target:
        yield f"{one.target} -> {other.target}"
    # The mode of a symbolic link has no meaning.
    if one.mode != other.mode and one.target is None:
        yield f"mode {one.mode:04o} -> {other.mode:04o}"
    if None not in (one.uid, other.uid) and (one.uid, one.gid) != (other.uid, other.gid):
        yield f"owner {one.uid}:{one.gid} -> {other.uid}:{other.gid}"
    if one.xattrs is not None and other.xattrs is not None and one.xattrs != other.xattrs:
        names = sorted(name for name in {*one.xattrs, *other.xattrs} if one.xattrs.get(name) != other.xattrs.get(name))
        yield f"attributes {', '.join(names)}"


def _text_change(path: str, one: FileEntry | None, other: FileEntry | None) -> str:
    before, after = (entry.text if entry else "" for entry in (one, other))
    if before is None or after is None or before == after:
        return ""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), f"a/{path}", f"b/{path}", lineterm="")
    return "\n".join(lines)


def _facts(report: ImageReport) -> dict[str, str]:
    facts = {
        "name": report.name,
        "version": report.version,
        "platform": report.platform,
        "arch": report.arch,
        "suite": report.suite,
        "kernel": report.kernel,
        "partition table": report.table.value,
        "disk identifier": report.ptuuid,
        "root hash": report.root_hash,
        "data partition": "to be made" if report.data_unmade else "made",
    }
    return facts | {f"command line {slot}": line for slot, line in report.command_lines.items()}


def _partitions(report: ImageReport) -> dict[str, str]:
    return {
        _name(placed): f"number {placed.number}, {placed.size_bytes >> 20} MiB "
        f"at {placed.start_bytes >> 20}, {placed.partuuid}"
        for placed in (partition.placed for partition in report.partitions)
    }


def _contents(report: ImageReport) -> dict[str, str]:
    placed = (partition.placed for partition in report.partitions)
    return {_name(one): partition_digest(report.image, one) for one in placed}


def _name(placed: Placed) -> str:
    return placed.name or f"partition {placed.number}"


def _packages(report: ImageReport) -> dict[str, str]:
    return {f"{one.name}:{one.arch}" if one.arch else one.name: one.version for one in report.packages}


def _roles(one: ImageReport, other: ImageReport) -> tuple[Change, ...]:
    """Compare roles by digests, of which only the beginning is worth showing."""
    before, after = (
        {
            f"{what} of {name}": digest[:12]
            for name, role in report.roles.items()
            for what, digest in (("code", role.code), ("settings", role.settings))
        }
        for report in (one, other)
    )
    return changes(before, after)


def _boot_files(report: ImageReport) -> tuple[FileEntry, ...]:
    boot = report.partition(BOOT)
    files = boot.content.files if boot else ()
    return tuple(
        FileEntry(path=file.path, type=FileType.FILE, mode=0o755, size=file.size, sha256=file.sha256) for file in files
    )


def _files(source: Source, report: ImageReport, tools: Tools) -> tuple[FileEntry, ...]:
    if source.files:
        return read_files(source.files)
    system = report.partition(SYSTEM)
    return system_files(source.image, system.placed, tools) if system else ()


def _block_change(one: ImageReport, other: ImageReport) -> BlockChange | None:
    before, after = one.partition(SYSTEM), other.partition(SYSTEM)
    if before is None or after is None:
        return None
    known = {hashlib.sha256(block).digest() for _, block in blocks(one.image, before.placed, BLOCK_BYTES)}
    total = new = 0
    for _, block in blocks(other.image, after.placed, BLOCK_BYTES):
        total += 1
        new += hashlib.sha256(block).digest() not in known
    return BlockChange(total, new)
