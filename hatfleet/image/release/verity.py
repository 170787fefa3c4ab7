"""dm-verity's hash tree, computed again in Python from the data it protects.

The format is that of veritysetup: a superblock, then the tree from its top level down to its leaves. See
https://gitlab.com/cryptsetup/cryptsetup/-/wikis/DMVerity and the kernel's admin-guide/device-mapper/verity.rst.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from hatfleet.common.errors import HatfleetError

BLOCK_BYTES = 4096
_DIGEST_BYTES = 32
_HASHES_PER_BLOCK = BLOCK_BYTES // _DIGEST_BYTES

#: Magic, version, hash type, uuid, algorithm, data and hash block size, data blocks, salt size, padding, salt.
_SUPERBLOCK = struct.Struct("<8sII16s32sIIQH6x256s")

#: Data is read in pieces of this many blocks.
_PIECE_BLOCKS = 256


class VerityError(HatfleetError):
    """The data, the tree or the superblock is not what the root hash promises."""


@dataclass(frozen=True)
class Superblock:
    """What a verity superblock says."""

    data_blocks: int
    salt: bytes


def read_superblock(stream: BinaryIO, offset: int) -> Superblock:
    """Read the superblock at ``offset`` of a disk image.

    Raises:
        VerityError: there is none, or it is of a kind that we do not make.
    """
    stream.seek(offset)
    data = stream.read(_SUPERBLOCK.size)
    if len(data) < _SUPERBLOCK.size:
        raise VerityError("the file ends before the verity superblock")
    magic, version, kind, _uuid, algorithm, data_block, hash_block, blocks, salt_size, salt = _SUPERBLOCK.unpack(data)
    if magic != b"verity\0\0":
        raise VerityError("there is no verity superblock where the manifest says")
    found = (version, kind, algorithm.rstrip(b"\0"), data_block, hash_block)
    if found != (1, 1, b"sha256", BLOCK_BYTES, BLOCK_BYTES) or salt_size > len(salt):
        raise VerityError(f"the verity superblock is none of ours: {found}, salt of {salt_size} bytes")
    return Superblock(blocks, salt[:salt_size])


def tree_bytes(data_blocks: int) -> int:
    """Return how long the hash tree over so many blocks is, without the superblock's block."""
    return sum(_level_sizes(data_blocks)) * BLOCK_BYTES


def check_tree(
    stream: BinaryIO,
    start: int,
    hash_offset: int,
    root_hash: str,
    on_bytes: Callable[[int], None] = lambda count: None,
) -> None:
    """Compute the hash tree of a partition again, and compare it with the one stored and with a root hash.

    Args:
        stream: The disk image.
        start: Where the partition starts, bytes.
        hash_offset: Where in the partition the data ends and the superblock lies, bytes.
        root_hash: Hexadecimal.
        on_bytes: Hears how many bytes of the data have been read.

    Raises:
        VerityError: something differs, or the file is too short.
    """
    superblock = read_superblock(stream, start + hash_offset)
    if superblock.data_blocks * BLOCK_BYTES != hash_offset:
        raise VerityError(
            f"the superblock protects {superblock.data_blocks} blocks, the data has {hash_offset // BLOCK_BYTES}"
        )
    hashes = _leaf_hashes(stream, start, superblock, on_bytes)
    stream.seek(start + hash_offset + BLOCK_BYTES)
    stored = stream.read(tree_bytes(superblock.data_blocks))
    # The leaves are stored last; each level above holds the hashes of the blocks below.
    end = len(stored)
    for number, blocks in enumerate(reversed(_level_sizes(superblock.data_blocks))):
        level = hashes.ljust(blocks * BLOCK_BYTES, b"\0")
        begin = end - len(level)
        if begin < 0 or stored[begin:end] != level:
            raise VerityError(
                _difference(stored[max(begin, 0) : end], level) if number == 0 else "the hash tree is damaged"
            )
        end = begin
        hashes = b"".join(
            _hash(superblock.salt, level[at : at + BLOCK_BYTES]) for at in range(0, len(level), BLOCK_BYTES)
        )
    if hashes.hex() != root_hash:
        raise VerityError(f"the data has the root hash {hashes.hex()}, not {root_hash}")


def _level_sizes(data_blocks: int) -> list[int]:
    """Return the blocks of each level of the tree, the top first; a single data block needs no tree."""
    sizes: list[int] = []
    below = data_blocks
    while below > 1:
        below = -(-below // _HASHES_PER_BLOCK)
        sizes.insert(0, below)
    return sizes


def _leaf_hashes(stream: BinaryIO, start: int, superblock: Superblock, on_bytes: Callable[[int], None]) -> bytes:
    stream.seek(0, os.SEEK_END)
    if start + superblock.data_blocks * BLOCK_BYTES > stream.tell():
        raise VerityError("the file ends before the data does")
    stream.seek(start)
    salted = hashlib.sha256(superblock.salt)
    hashes = bytearray()
    for first in range(0, superblock.data_blocks, _PIECE_BLOCKS):
        piece = stream.read(min(_PIECE_BLOCKS, superblock.data_blocks - first) * BLOCK_BYTES)
        for at in range(0, len(piece), BLOCK_BYTES):
            digest = salted.copy()
            digest.update(piece[at : at + BLOCK_BYTES])
            hashes += digest.digest()
        on_bytes(first * BLOCK_BYTES + len(piece))
    return bytes(hashes)


def _hash(salt: bytes, block: bytes) -> bytes:
    return hashlib.sha256(salt + block).digest()


def _difference(stored: bytes, computed: bytes) -> str:
    differing = [
        at // _DIGEST_BYTES
        for at in range(0, len(computed), _DIGEST_BYTES)
        if stored[at : at + _DIGEST_BYTES] != computed[at : at + _DIGEST_BYTES]
    ]
    first = f"the first at byte {differing[0] * BLOCK_BYTES} of the partition"
    return f"{len(differing)} data blocks differ from the hash tree, {first}"
