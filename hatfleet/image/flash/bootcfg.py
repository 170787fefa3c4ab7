"""A file for the first partition of a disk that is being flashed.

mtools works on a copy of the partition, and what has changed in the copy is written to the disk: so it needs no rights
on the disk, does not contend for its lock, and the partition table can wait.
"""

from __future__ import annotations

import os
import struct
import tempfile
from pathlib import Path

from hatfleet.common.errors import CommandError, HatfleetError
from hatfleet.common.run import require_tool, run
from hatfleet.image.bmap import Extent
from hatfleet.image.flash.copy import HELD_BYTES
from hatfleet.image.flash.target import Target

SECTOR_BYTES = 512

#: What tells the configuration partition from a boot partition.
MARKER = "autoboot.txt"

#: The first partition's entry in a master boot record, the types for FAT in it, and the one that says GPT.
_MBR_ENTRY, _FAT_TYPES, _PROTECTIVE = 446, (0x0B, 0x0C), 0xEE

#: A configuration partition holds some kilobytes of text; a larger one is something else.
_MAX_BYTES = 512 * 2**20

_BLOCK_BYTES = 4096


def first_partition(head: bytes, image_bytes: int) -> Extent:
    """Return where the first partition of an image lies, from the image's first MiB (MBR or GPT).

    Raises:
        HatfleetError: there is no such partition, or it reaches into what is written last.
    """
    if len(head) < SECTOR_BYTES or head[510:512] != b"\x55\xaa":
        raise _no_bootcfg("the image has no partition table")
    kind, first, count = struct.unpack_from("<4xB3xII", head, _MBR_ENTRY)
    if kind == _PROTECTIVE:
        # UEFI specification 2.10, section 5.3: header in sector 1, entries of 128 bytes from the sector it names.
        if head[512:520] != b"EFI PART":
            raise _no_bootcfg("the image's GPT is damaged")
        (entries,) = struct.unpack_from("<Q", head, 512 + 72)
        entry = entries * SECTOR_BYTES
        if entry + 48 > len(head):
            raise _no_bootcfg("the image's GPT is damaged")
        first, last = struct.unpack_from("<QQ", head, entry + 32)
        count = last - first + 1
    elif kind not in _FAT_TYPES:
        raise _no_bootcfg("its first partition is not a FAT")
    extent = Extent(first * SECTOR_BYTES, count * SECTOR_BYTES)
    if not 0 < extent.size_bytes <= _MAX_BYTES:
        raise _no_bootcfg(f"its first partition has {extent.size_bytes} bytes")
    if extent.start_bytes < HELD_BYTES or extent.end_bytes > image_bytes - HELD_BYTES:
        raise _no_bootcfg("its first partition is too near to an end of the image")
    return extent


def put_file(target: Target, place: Extent, name: str, content: bytes) -> None:
    """Write a file into the FAT in ``place`` of a disk, replacing one of that name, and read back what was written.

    Raises:
        HatfleetError: the partition is no configuration partition, is full, or the disk reports an error.
    """
    mtype, mcopy = require_tool("mtype", "mtools"), require_tool("mcopy", "mtools")
    # Nothing of the admin's own mtools configuration counts.
    env = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "MTOOLSRC": os.devnull}
    with tempfile.TemporaryDirectory(prefix="hatfleet-") as folder:
        copy, file = Path(folder) / "bootcfg", Path(folder) / name
        with copy.open("wb") as handle:
            for _, piece in target.read(place.start_bytes, place.size_bytes):
                handle.write(piece)
        if run([mtype, "-i", copy, f"::/{MARKER}"], env=env, check=False).returncode != 0:
            raise _no_bootcfg(f"its first partition holds no {MARKER}")
        file.write_bytes(content)
        try:
            run([mcopy, "-i", copy, "-o", file, f"::/{name}"], env=env)
        except CommandError as error:
            raise HatfleetError(f"cannot write {name} into the configuration partition: {error.message}") from error
        _write_changes(target, place, copy)


def _write_changes(target: Target, place: Extent, copy: Path) -> None:
    written: list[tuple[int, bytes]] = []
    with copy.open("rb") as handle:
        for offset, piece in target.read(place.start_bytes, place.size_bytes):
            wanted = handle.read(len(piece))
            for at in range(0, len(wanted), _BLOCK_BYTES):
                if wanted[at : at + _BLOCK_BYTES] != piece[at : at + _BLOCK_BYTES]:
                    written.append((offset + at, wanted[at : at + _BLOCK_BYTES]))
    for offset, block in written:
        target.write(offset, block)
    target.sync()
    target.drop_cache()
    for offset, block in written:
        if b"".join(bytes(piece) for _, piece in target.read(offset, len(block))) != block:
            raise HatfleetError(
                f"{target.device.name} does not keep what is written at byte {offset}", hint="try another"
            )


def _no_bootcfg(why: str) -> HatfleetError:
    return HatfleetError(
        f"the seed has nowhere to go: {why}",
        hint="flash without --host, or an image built by hatfleet with slots A and B",
    )
