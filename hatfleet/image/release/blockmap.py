"""A block map against its image: what it leaves out must not matter."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from hatfleet.common.errors import HatfleetError
from hatfleet.image.bmap import Bmap

_PIECE_BYTES = 1024 * 1024


class BlockMapError(HatfleetError):
    """The block map does not fit the image."""


def check_block_map(block_map: Bmap, image: Path) -> None:
    """Make sure that every range has its digest, and that there is nothing but zeros outside of them.

    Raises:
        BlockMapError: the image differs.
    """
    size = image.stat().st_size
    if size != block_map.image_bytes:
        raise BlockMapError(f"it is for an image of {block_map.image_bytes} bytes, the image has {size}")
    position = 0
    with image.open("rb") as handle:
        for entry in block_map.ranges:
            extent = block_map.extent(entry)
            _require_zeros(handle, position, extent.start_bytes)
            total = hashlib.sha256()
            for piece in _pieces(handle, extent.start_bytes, extent.end_bytes):
                total.update(piece)
            if total.hexdigest() != entry.sha256:
                raise BlockMapError(f"blocks {entry.first}-{entry.last} of the image do not have the digest in the map")
            position = extent.end_bytes
        _require_zeros(handle, position, size)


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
