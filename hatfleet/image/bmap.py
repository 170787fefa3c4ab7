"""Block maps: which blocks of an image must be written to a disk, with their checksums, in bmaptool's format 2.0.

A block map is a promise that all other blocks do not matter: whoever flashes by it leaves on them what the disk held
before. A block of zeros inside a file system does matter (an empty entry of a FAT, a block that dm-verity hashes), and
a sparse image cannot tell such a block from one that nobody needs. So the caller says which extents are needed, and
zeros are left out only outside of these.
"""

from __future__ import annotations

import hashlib
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from hatfleet.common.errors import HatfleetError, InputError, Where

#: The block of every map that bmaptool 3 writes, and of the file systems we use, bytes.
BLOCK_BYTES = 4096

MIB = 1024 * 1024

#: What is wiped at the start of an empty partition: every file system we know has its superblock in it.
WIPED_BYTES = MIB

#: The checksum of a map is over its text with this in the checksum's place.
_NO_CHECKSUM = "0" * 64

_SHA256 = re.compile(r"[0-9a-f]{64}")

#: Data is read in pieces of this size.
_READ_BYTES = MIB


@dataclass(frozen=True)
class Extent:
    """Bytes of an image that must be on the disk as they are in the image, zeros too."""

    start_bytes: int
    size_bytes: int

    @property
    def end_bytes(self) -> int:
        """The first byte behind it."""
        return self.start_bytes + self.size_bytes


def needed_of_partition(start_bytes: int, size_bytes: int, content_bytes: int) -> Extent:
    """Return what of a partition must be written.

    Args:
        start_bytes: Where it starts on the disk.
        size_bytes: Its size.
        content_bytes: The size of the file system image in it; 0 for an empty partition, of which the start is written,
            so that a file system that the disk held there before cannot be taken for a part of this image.
    """
    return Extent(start_bytes, max(content_bytes, min(WIPED_BYTES, size_bytes)))


@dataclass(frozen=True)
class MappedRange:
    """Neighbouring blocks that must be written."""

    first: int
    last: int
    """The last block, itself part of the range."""
    sha256: str


@dataclass(frozen=True)
class Bmap:
    """A block map."""

    image_bytes: int
    ranges: tuple[MappedRange, ...]
    """In ascending order."""

    @property
    def blocks(self) -> int:
        """Blocks of the image, the last of which may be cut short."""
        return _blocks(self.image_bytes)

    @property
    def mapped_blocks(self) -> int:
        """Blocks that must be written."""
        return sum(entry.last - entry.first + 1 for entry in self.ranges)

    def extent(self, entry: MappedRange) -> Extent:
        """The bytes of a range; the image's end cuts the last one short."""
        start = entry.first * BLOCK_BYTES
        return Extent(start, min((entry.last + 1) * BLOCK_BYTES, self.image_bytes) - start)

    def render(self) -> str:
        """Return the map as bmaptool reads it."""
        lines = [
            '<?xml version="1.0" ?>',
            '<bmap version="2.0">',
            f"    <ImageSize> {self.image_bytes} </ImageSize>",
            f"    <BlockSize> {BLOCK_BYTES} </BlockSize>",
            f"    <BlocksCount> {self.blocks} </BlocksCount>",
            f"    <MappedBlocksCount> {self.mapped_blocks} </MappedBlocksCount>",
            "    <ChecksumType> sha256 </ChecksumType>",
            f"    <BmapFileChecksum> {_NO_CHECKSUM} </BmapFileChecksum>",
            "    <BlockMap>",
            *(f'        <Range chksum="{entry.sha256}"> {_words(entry)} </Range>' for entry in self.ranges),
            "    </BlockMap>",
            "</bmap>",
        ]
        text = "\n".join(lines) + "\n"
        return text.replace(_NO_CHECKSUM, hashlib.sha256(text.encode()).hexdigest(), 1)


def make_bmap(image: Path, needed: Iterable[Extent]) -> Bmap:
    """Map an image: the extents that are needed as a whole, and of the rest every block that is not all zeros.

    The result depends on the content alone, not on where the file has holes.

    Args:
        image: The disk image.
        needed: What must be written though it may be zeros, see :func:`needed_of_partition`.

    Raises:
        HatfleetError: an extent that is not inside the image.
    """
    image_bytes = image.stat().st_size
    marks = bytearray(_blocks(image_bytes))
    for extent in needed:
        if extent.start_bytes < 0 or extent.end_bytes > image_bytes:
            raise HatfleetError(
                f"{image.name} has {image_bytes} bytes, but bytes {extent.start_bytes} to {extent.end_bytes} are needed"
            )
        first, behind = extent.start_bytes // BLOCK_BYTES, _blocks(extent.end_bytes)
        marks[first:behind] = b"\1" * (behind - first)
    descriptor = os.open(image, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _mark_data(descriptor, image_bytes, marks)
        unhashed = Bmap(image_bytes, tuple(_runs(marks)))
        digests = (_digest(descriptor, unhashed.extent(entry)) for entry in unhashed.ranges)
        ranges = zip(unhashed.ranges, digests, strict=True)
        return Bmap(image_bytes, tuple(MappedRange(entry.first, entry.last, digest) for entry, digest in ranges))
    finally:
        os.close(descriptor)


def read_bmap(file: Path) -> Bmap:
    """Read a block map of format 2.x with SHA-256 checksums and blocks of 4096 bytes.

    Raises:
        InputError: it cannot be read, is damaged, contradicts itself, or is of another kind; the error says which.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the block map: {error.strerror}", where=Where(file)) from error
    try:
        return _parse(data)
    except ValueError as error:
        hint = "fetch or build the image again, or remove the block map to copy the whole image"
        raise InputError(f"not a usable block map: {error}", where=Where(file), hint=hint) from error


def _parse(data: bytes) -> Bmap:
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise ValueError("it declares entities, which no block map needs")
    try:
        # Without declarations there is nothing in XML that could expand.
        root = ET.fromstring(data)  # noqa: S314
    except ET.ParseError as error:
        raise ValueError(f"broken or cut off ({error})") from error
    field = _fields(root)
    if not root.get("version", "").startswith("2."):
        raise ValueError(f"found version {root.get('version', 'none')}, known is 2.0")
    _check_checksum(data, field("BmapFileChecksum"))
    if field("ChecksumType") != "sha256":
        raise ValueError(f"found checksums of type {field('ChecksumType')}, known is sha256")
    if field("BlockSize") != str(BLOCK_BYTES):
        raise ValueError(f"found blocks of {field('BlockSize')} bytes, known is {BLOCK_BYTES}")
    ranges = tuple(_range(node) for node in root.iterfind("BlockMap/Range"))
    bmap = Bmap(_number(field("ImageSize")), ranges)
    if bmap.blocks != _number(field("BlocksCount")):
        raise ValueError(f"an image of {bmap.image_bytes} bytes has {bmap.blocks} blocks, not {field('BlocksCount')}")
    _check_order(bmap)
    if bmap.mapped_blocks != _number(field("MappedBlocksCount")):
        raise ValueError(f"it maps {bmap.mapped_blocks} blocks, but says {field('MappedBlocksCount')}")
    return bmap


def _check_checksum(data: bytes, recorded: str) -> None:
    if not _SHA256.fullmatch(recorded):
        raise ValueError("its own checksum is missing")
    if hashlib.sha256(data.replace(recorded.encode(), _NO_CHECKSUM.encode(), 1)).hexdigest() != recorded:
        raise ValueError("its own checksum does not match, so it was altered or damaged")


def _check_order(bmap: Bmap) -> None:
    for entry in bmap.ranges:
        if not entry.first <= entry.last < bmap.blocks:
            raise ValueError(f"the range {_words(entry)} is not inside the image's {bmap.blocks} blocks")
    for entry, following in pairwise(bmap.ranges):
        if following.first <= entry.last:
            raise ValueError(f"the range {_words(following)} does not come after {_words(entry)}")


def _fields(root: ET.Element) -> Callable[[str], str]:
    def field(name: str) -> str:
        found = root.findtext(name)
        if found is None:
            raise ValueError(f"it has no {name}")
        return found.strip()

    return field


def _range(node: ET.Element) -> MappedRange:
    first, _, last = (node.text or "").strip().partition("-")
    digest = node.get("chksum", "")
    if not _SHA256.fullmatch(digest):
        raise ValueError(f"the range {first} has no SHA-256 checksum")
    return MappedRange(_number(first), _number(last or first), digest)


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise ValueError(f"found {text[:20]!r} where a number belongs")
    return int(text)


def _words(entry: MappedRange) -> str:
    return str(entry.first) if entry.first == entry.last else f"{entry.first}-{entry.last}"


def _blocks(size_bytes: int) -> int:
    return -(-size_bytes // BLOCK_BYTES)


def _runs(marks: bytearray) -> Iterator[MappedRange]:
    for found in re.finditer(rb"\x01+", marks):
        yield MappedRange(found.start(), found.end() - 1, "")


def _mark_data(descriptor: int, image_bytes: int, marks: bytearray) -> None:
    """Mark every block that is not all zeros; holes are skipped unread where the file system knows of them."""
    zeros = bytes(_READ_BYTES)
    for start, end in _data(descriptor, image_bytes):
        # From the start of a block, so that the end of one hole and the start of the next fall into whole blocks.
        for position in range(start - start % BLOCK_BYTES, end, _READ_BYTES):
            chunk = os.pread(descriptor, min(_READ_BYTES, image_bytes - position), position)
            if chunk == zeros[: len(chunk)]:
                continue
            for offset in range(0, len(chunk), BLOCK_BYTES):
                block = chunk[offset : offset + BLOCK_BYTES]
                if block != zeros[: len(block)]:
                    marks[(position + offset) // BLOCK_BYTES] = 1


def _data(descriptor: int, image_bytes: int) -> Sequence[tuple[int, int]]:
    regions = []
    position = 0
    while position < image_bytes:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError:  # ENXIO: nothing but a hole until the end
            break
        position = os.lseek(descriptor, start, os.SEEK_HOLE)
        regions.append((start, position))
    return regions


def _digest(descriptor: int, extent: Extent) -> str:
    total = hashlib.sha256()
    for position in range(extent.start_bytes, extent.end_bytes, _READ_BYTES):
        total.update(os.pread(descriptor, min(_READ_BYTES, extent.end_bytes - position), position))
    return total.hexdigest()
