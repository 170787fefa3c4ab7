"""A .bmap file against its image: bmaptool's format 2, https://github.com/yoctoproject/bmaptool."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from xml.etree import ElementTree

from hatfleet.common.errors import HatfleetError

#: Far more than the map of any image; what is larger is not read into memory.
_MAX_BYTES = 64 * 1024 * 1024

_PIECE_BYTES = 1024 * 1024


class BlockMapError(HatfleetError):
    """The block map is damaged, or does not fit the image."""


@dataclass(frozen=True)
class BlockMap:
    """Which parts of an image have content."""

    image_bytes: int
    block_bytes: int
    ranges: tuple[tuple[int, int, str], ...]
    """First block, last block, sha256 of the content."""


def read_block_map(path: Path) -> BlockMap:
    """Read a block map, and compare it with the digest it bears of itself.

    Raises:
        BlockMapError: it is damaged, or of another format.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise BlockMapError(f"it is larger than {_MAX_BYTES} bytes")
    data = path.read_bytes()
    # Nothing but elements and text belongs into it; an entity could make a small file endless.
    if any(word in data for word in (b"<!DOCTYPE", b"<!ENTITY", b"\0")):
        raise BlockMapError("it declares entities or is not UTF-8, which no block map does")
    try:
        root = ElementTree.fromstring(data)  # noqa: S314 (no entities, see above)
        if root.get("version", "").partition(".")[0] != "2" or _value(root, "ChecksumType") != "sha256":
            raise BlockMapError(f"found version {root.get('version')}: allowed is 2 with sha256")
        own = _value(root, "BmapFileChecksum")
        found = BlockMap(int(_value(root, "ImageSize")), int(_value(root, "BlockSize")), tuple(_ranges(root)))
        mapped = int(_value(root, "MappedBlocksCount"))
    except (ElementTree.ParseError, ValueError) as error:
        raise BlockMapError(f"it is damaged: {error}") from error
    if not re.fullmatch("[0-9a-f]{64}", own):
        raise BlockMapError("it does not bear a digest of itself")
    # The digest was made while it was all zeros itself.
    if hashlib.sha256(data.replace(own.encode(), b"0" * len(own))).hexdigest() != own:
        raise BlockMapError("it does not have the digest that it bears of itself")
    if found.block_bytes <= 0 or mapped != sum(last - first + 1 for first, last, _ in found.ranges):
        raise BlockMapError("its counts of blocks do not add up")
    return found


def check_block_map(block_map: BlockMap, image: Path) -> None:
    """Make sure that every range has its digest, and that there is nothing but zeros outside of them.

    Raises:
        BlockMapError: the image differs.
    """
    size = image.stat().st_size
    if size != block_map.image_bytes:
        raise BlockMapError(f"it is for an image of {block_map.image_bytes} bytes, the image has {size}")
    position = 0
    with image.open("rb") as handle:
        for first, last, digest in block_map.ranges:
            start, end = first * block_map.block_bytes, min((last + 1) * block_map.block_bytes, size)
            if start < position or end <= start:
                raise BlockMapError(f"its ranges are out of order at {first}-{last}")
            _require_zeros(handle, position, start)
            total = hashlib.sha256()
            for piece in _pieces(handle, start, end):
                total.update(piece)
            if total.hexdigest() != digest:
                raise BlockMapError(f"blocks {first}-{last} of the image do not have the digest in the map")
            position = end
        _require_zeros(handle, position, size)


def _value(root: ElementTree.Element, name: str) -> str:
    text = (root.findtext(name) or "").strip()
    if not text:
        raise BlockMapError(f"it has no {name}")
    return text


def _ranges(root: ElementTree.Element) -> Iterator[tuple[int, int, str]]:
    for element in root.iterfind("BlockMap/Range"):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", (element.text or "").strip())
        if match is None:
            raise BlockMapError(f"{element.text!r} is no range of blocks")
        yield int(match[1]), int(match[2] or match[1]), element.get("chksum", "")


def _require_zeros(handle: BinaryIO, start: int, end: int) -> None:
    """Read what is not a hole between two offsets: a flash by the map would leave it out."""
    while start < end:
        try:
            data = os.lseek(handle.fileno(), start, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                return
            raise
        if data >= end:
            return
        hole = min(os.lseek(handle.fileno(), data, os.SEEK_HOLE), end)
        position = data
        for piece in _pieces(handle, data, hole):
            if piece.strip(b"\0"):
                raise BlockMapError(f"there is content at byte {position} of the image or behind, and no range for it")
            position += len(piece)
        start = hole


def _pieces(handle: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    handle.seek(start)
    while start < end:
        piece = handle.read(min(_PIECE_BYTES, end - start))
        if not piece:
            raise BlockMapError("the image ends before the map does")
        start += len(piece)
        yield piece
