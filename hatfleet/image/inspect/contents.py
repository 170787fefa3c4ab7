"""What lies in the partitions of an image, read from the image itself."""

from __future__ import annotations

import hashlib
import os
import shlex
import struct
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hatfleet.common.errors import CommandError, HatfleetError, Where
from hatfleet.image.disk import MIB, Placed
from hatfleet.image.inspect.files import FileEntry, files_of_folder
from hatfleet.image.tools import Tools

#: The boot sector of a FAT ends with these, and says in bytes 54 or 82 of which width it is.
_BOOT_SIGNATURE = b"\x55\xaa"
_FAT_NAMES = (b"FAT12", b"FAT16", b"FAT32")

#: Where EROFS and ext4 have their superblocks, and how those begin (Linux, fs/erofs/erofs_fs.h and fs/ext4/ext4.h).
_SUPERBLOCK_AT = 1024
_EROFS_MAGIC = 0xE0F5E1E2
_EXT4_MAGIC_AT, _EXT4_MAGIC = 56, 0xEF53

#: Magic, checksum, features, bits of the block size, two others, inodes, build time twice, blocks, two places, UUID,
#: name.
_EROFS = struct.Struct("<IIIBBHQQIIII16s16s")

#: A superblock of dm-verity begins with this (cryptsetup, on-disk format of dm-verity).
VERITY_MAGIC = b"verity\0\0"


@dataclass(frozen=True)
class BootFile:
    """A file of a boot partition."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Content:
    """What is on a partition."""

    type: str
    """fat, erofs, ext4, empty (nothing but zeros), or unknown."""
    used_bytes: int | None = None
    """What its files, or the file system with its dm-verity tree, take; None where it is not known."""
    uuid: str | None = None
    """Of the file system."""
    files: tuple[BootFile, ...] = ()
    """Of a FAT."""


def read_content(image: Path, placed: Placed, tools: Tools) -> Content:
    """Say what is on a partition.

    Raises:
        HatfleetError: a FAT is damaged.
        MissingToolError: mtools is not installed.
    """
    with image.open("rb") as handle:
        handle.seek(placed.start_bytes)
        head = handle.read(4096)
    if _is_fat(head):
        files = _fat_files(image, placed, tools)
        return Content("fat", sum(file.size for file in files), files=files)
    superblock = head[_SUPERBLOCK_AT:]
    if superblock[:4] == struct.pack("<I", _EROFS_MAGIC):
        return _erofs(image, placed, superblock)
    if superblock[_EXT4_MAGIC_AT : _EXT4_MAGIC_AT + 2] == struct.pack("<H", _EXT4_MAGIC):
        return Content("ext4", uuid=str(uuid.UUID(bytes=superblock[104:120])))
    return Content("unknown") if next(blocks(image, placed), None) else Content("empty", 0)


def partition_digest(image: Path, placed: Placed) -> str:
    """Return a hash over the bytes of a partition, for comparison with another only."""
    total = hashlib.sha256(str(placed.size_bytes).encode())
    for offset, block in blocks(image, placed):
        total.update(f"{offset}\0".encode() + block)
    return total.hexdigest()


def blocks(image: Path, placed: Placed, size: int = 4096) -> Iterator[tuple[int, bytes]]:
    """Yield offset and bytes of the blocks of a partition that are not zeros; holes are not read."""
    zeros = bytes(size)
    with image.open("rb") as handle:
        position = placed.start_bytes
        while position < placed.end_bytes:
            try:
                start = os.lseek(handle.fileno(), position, os.SEEK_DATA)
            except OSError:
                # Nothing but a hole from here on.
                return
            # Partitions are aligned, the ends of holes need not be.
            position = max(position, start - (start - placed.start_bytes) % size)
            if position >= placed.end_bytes:
                return
            chunk = os.pread(handle.fileno(), min(MIB, placed.end_bytes - position), position)
            for offset in range(0, len(chunk), size):
                block = chunk[offset : offset + size]
                if block != zeros[: len(block)]:
                    yield position + offset - placed.start_bytes, block
            position += len(chunk)


def boot_file_text(image: Path, placed: Placed, name: str, tools: Tools) -> str:
    """Return the text of a file of a boot partition.

    Raises:
        CommandError: there is no such file, or the FAT is damaged.
    """
    found = tools.run(["mcopy", "-i", f"{image}@@{placed.start_bytes}", f"::/{name}", "-"], reads=[image])
    return found.stdout.decode(errors="replace")


def argument(command_line: str, name: str) -> str | None:
    """Return the value of the last argument ``name=value`` of a kernel command line, as the kernel takes it."""
    try:
        words = shlex.split(command_line)
    except ValueError:
        words = command_line.split()
    values = [word.removeprefix(f"{name}=") for word in words if word.startswith(f"{name}=")]
    return values[-1] if values else None


def system_files(image: Path, placed: Placed, tools: Tools) -> tuple[FileEntry, ...]:
    """Unpack the system partition and list its files, without owners and extended attributes.

    Raises:
        HatfleetError: it is no EROFS, is damaged, or the erofs-utils are too old for it.
    """
    with tempfile.TemporaryDirectory(prefix="hatfleet-") as name:
        folder = Path(name)
        # The programs of Debian 12 know nothing of a file system somewhere in a file.
        _cut_out(image, placed, folder / "system.img")
        try:
            tools.run(["fsck.erofs", f"--extract={folder / 'root'}", folder / "system.img"], writes=[folder])
        except CommandError as error:
            raise HatfleetError(
                "the system partition cannot be unpacked: it is no EROFS, damaged, or the erofs-utils are too old",
                where=Where(image),
                hint="images of hatfleet need erofs-utils 1.8 or later (Debian 13), or their list of files beside them",
            ) from error
        return files_of_folder(folder / "root")


def _is_fat(head: bytes) -> bool:
    return head[510:512] == _BOOT_SIGNATURE and (head[54:59] in _FAT_NAMES or head[82:87] in _FAT_NAMES)


def _fat_files(image: Path, placed: Placed, tools: Tools) -> tuple[BootFile, ...]:
    with tempfile.TemporaryDirectory(prefix="hatfleet-") as name:
        folder = Path(name)
        try:
            tools.run(
                ["mcopy", "-s", "-n", "-i", f"{image}@@{placed.start_bytes}", "::/", folder],
                reads=[image],
                writes=[folder],
            )
        except CommandError as error:
            raise HatfleetError(
                f"the FAT of partition {placed.name or placed.number} is damaged: {error.message}", where=Where(image)
            ) from error
        return tuple(_boot_file(folder, path) for path in sorted(folder.rglob("*")) if path.is_file())


def _boot_file(folder: Path, path: Path) -> BootFile:
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    return BootFile(str(path.relative_to(folder)), path.stat().st_size, digest)


def _erofs(image: Path, placed: Placed, superblock: bytes) -> Content:
    fields = _EROFS.unpack_from(superblock)
    size = fields[9] << fields[3]
    with image.open("rb") as handle:
        handle.seek(placed.start_bytes + size)
        tree = handle.read(len(VERITY_MAGIC)) == VERITY_MAGIC
    return Content("erofs", size + (_tree_bytes(size) if tree else 0), str(uuid.UUID(bytes=fields[12])))


def _tree_bytes(data_bytes: int) -> int:
    """Return the size of a dm-verity tree with its superblock: SHA-256 and blocks of 4 KiB, 128 hashes in each."""
    total, level = 1, data_bytes // 4096
    while level > 1:
        level = -(-level // 128)
        total += level
    return total * 4096


def _cut_out(image: Path, placed: Placed, target: Path) -> None:
    with image.open("rb") as source, target.open("wb") as copy:
        source.seek(placed.start_bytes)
        left = placed.size_bytes
        while left and (chunk := source.read(min(MIB, left))):
            if chunk.count(0) == len(chunk):
                copy.seek(len(chunk), os.SEEK_CUR)
            else:
                copy.write(chunk)
            left -= len(chunk)
        copy.truncate(placed.size_bytes)
