"""Copying an image to a disk so that at every instant the disk holds either nothing that boots, or all of it.

The start of the image (with the partition table) and its end (where GPT keeps a second one) are held back in memory
until everything else is on the disk and has been read back.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from hatfleet.common.errors import HatfleetError
from hatfleet.common.sizes import format_size
from hatfleet.image.bmap import Extent
from hatfleet.image.flash.source import Source
from hatfleet.image.flash.target import CHUNK_BYTES, MIB, Target

#: How much of both ends is held back, bytes. Partitions start behind it; GPT's second table takes 17 KiB.
HELD_BYTES = MIB

#: After so many bytes the disk has to catch up, so that progress is true and Ctrl-C need not wait for minutes.
_SYNC_BYTES = 32 * MIB

_Show = Callable[[str], None]


@dataclass(frozen=True)
class Held:
    """A piece of the image that is written last."""

    start_bytes: int
    data: bytearray

    @property
    def end_bytes(self) -> int:
        """The first byte behind it."""
        return self.start_bytes + len(self.data)


@dataclass(frozen=True)
class Copied:
    """An image that is on a disk but for what is held back."""

    sha256: str
    """Of the whole unpacked image as it was read."""
    extents: tuple[tuple[Extent, str], ...]
    """What was written or is held, each with its SHA-256."""
    held: tuple[Held, ...]
    """In the order in which it is to be written: the start of the image last."""

    @property
    def head(self) -> bytes:
        """The start of the image, with the partition table."""
        return bytes(self.held[-1].data)

    @property
    def size_bytes(self) -> int:
        """How many bytes of the image go to the disk."""
        return sum(extent.size_bytes for extent, _ in self.extents)


@dataclass
class Meter:
    """How fast it goes and how long it will take."""

    total_bytes: int
    show: _Show
    done_bytes: int = 0
    started_s: float = field(default_factory=time.monotonic)

    def add(self, size_bytes: int) -> None:
        """Count bytes that are done, and show where it stands."""
        self.done_bytes += size_bytes
        seconds = time.monotonic() - self.started_s
        rate = self.done_bytes / seconds if seconds > 0 else 0.0
        left_s = (self.total_bytes - self.done_bytes) / rate if rate else 0.0
        done = f"{format_size(self.done_bytes)} of {format_size(self.total_bytes)}"
        self.show(f"{done}, {format_size(int(rate))}/s, {_minutes(left_s)} left")


def wipe_ends(target: Target) -> None:
    """Zero the first and the last MiB of a disk: no partition table, old or half new, is on it from then on.

    Raises:
        HatfleetError: the disk reports an error.
    """
    zeros = bytes(min(HELD_BYTES, target.device.size_bytes))
    target.write(0, zeros)
    target.write(target.device.size_bytes - len(zeros), zeros)
    target.sync()


def copy(source: Source, target: Target, show: _Show) -> Copied:
    """Write the image but for what is held back, reading it once from start to end.

    Raises:
        HatfleetError: image and block map differ, the image ends early or late, or the disk reports an error.
    """
    extents = _extents(source)
    held = _held(source.image_bytes)
    digests = [hashlib.sha256() for _ in extents]
    whole = hashlib.sha256()
    meter = Meter(sum(extent.size_bytes for extent in extents), show)
    first_open = unsynced = 0
    for offset, chunk in _chunks(source):
        whole.update(chunk)
        for area in held:
            start, end = max(offset, area.start_bytes), min(offset + len(chunk), area.end_bytes)
            if start < end:
                area.data[start - area.start_bytes : end - area.start_bytes] = chunk[start - offset : end - offset]
        for index in range(first_open, len(extents)):
            extent = extents[index]
            start, end = max(offset, extent.start_bytes), min(offset + len(chunk), extent.end_bytes)
            if start >= end:
                break
            piece = chunk[start - offset : end - offset]
            digests[index].update(piece)
            _write_unheld(target, start, piece, held)
            meter.add(len(piece))
            unsynced += len(piece)
            if end == extent.end_bytes:
                first_open = index + 1
                _check_source(source, index, digests[index].hexdigest())
        if unsynced >= _SYNC_BYTES:
            target.sync()
            unsynced = 0
    target.sync()
    found = ((extent, digest.hexdigest()) for extent, digest in zip(extents, digests, strict=True))
    return Copied(whole.hexdigest(), tuple(found), held)


def read_back(copied: Copied, target: Target, show: _Show) -> None:
    """Compare the disk with what was read from the image.

    Raises:
        HatfleetError: they differ, or the disk reports an error.
    """
    target.drop_cache()
    meter = Meter(copied.size_bytes, show)
    for extent, expected in copied.extents:
        digest = hashlib.sha256()
        for offset, piece in target.read(extent.start_bytes, extent.size_bytes):
            digest.update(_overlay(offset, piece, copied.held))
            meter.add(len(piece))
        if digest.hexdigest() != expected:
            raise _differs(target, extent)


def commit(copied: Copied, target: Target) -> None:
    """Write what was held back, the partition table at the very end, and read it back.

    Raises:
        HatfleetError: the disk reports an error, or holds something else than was written.
    """
    for area in copied.held:
        target.write(area.start_bytes, memoryview(area.data))
        target.sync()
    target.drop_cache()
    for area in copied.held:
        found = b"".join(bytes(piece) for _, piece in target.read(area.start_bytes, len(area.data)))
        if found != area.data:
            raise _differs(target, Extent(area.start_bytes, len(area.data)))


def _extents(source: Source) -> tuple[Extent, ...]:
    if source.bmap is None:
        return (Extent(0, source.image_bytes),)
    return tuple(source.bmap.extent(entry) for entry in source.bmap.ranges)


def _held(image_bytes: int) -> tuple[Held, ...]:
    head = min(HELD_BYTES, image_bytes)
    tail = max(head, image_bytes - HELD_BYTES)
    return Held(tail, bytearray(image_bytes - tail)), Held(0, bytearray(head))


def _chunks(source: Source) -> Iterator[tuple[int, memoryview]]:
    buffer = bytearray(CHUNK_BYTES)
    offset = 0
    with source.stream() as stream:
        while True:
            filled = 0
            # A pipe or a decompressor gives less than it is asked for.
            while filled < CHUNK_BYTES and (got := stream.readinto(memoryview(buffer)[filled:])):  # type: ignore[attr-defined]
                filled += got
            if offset + filled > source.image_bytes:
                raise _wrong_length(source, "goes on behind")
            if filled:
                yield offset, memoryview(buffer)[:filled]
            offset += filled
            if filled < CHUNK_BYTES:
                break
    if offset < source.image_bytes:
        raise _wrong_length(source, f"ends at {offset}, before")


def _write_unheld(target: Target, start: int, piece: memoryview, held: Sequence[Held]) -> None:
    tail, head = held
    first, last = max(start, head.end_bytes), min(start + len(piece), tail.start_bytes)
    if first < last:
        target.write(first, piece[first - start : last - start])


def _overlay(offset: int, piece: memoryview, held: Sequence[Held]) -> memoryview:
    """Return a piece of the disk as it will be when what is held back has been written."""
    patched: bytearray | None = None
    for area in held:
        start, end = max(offset, area.start_bytes), min(offset + len(piece), area.end_bytes)
        if start < end:
            patched = patched or bytearray(piece)
            patched[start - offset : end - offset] = area.data[start - area.start_bytes : end - area.start_bytes]
    return piece if patched is None else memoryview(patched)


def _check_source(source: Source, index: int, digest: str) -> None:
    if source.bmap is None or source.bmap.ranges[index].sha256 == digest:
        return
    entry = source.bmap.ranges[index]
    raise HatfleetError(
        f"{source.file.name} is not what its block map says: blocks {entry.first} to {entry.last} differ",
        hint="the image is damaged, or the block map is of another build: fetch or build them again",
    )


def _wrong_length(source: Source, what: str) -> HatfleetError:
    message = f"{source.file.name} {what} the {source.image_bytes} bytes that it should have"
    return HatfleetError(message, hint="it is cut off or damaged: fetch or build it again")


def _differs(target: Target, extent: Extent) -> HatfleetError:
    place = f"between bytes {extent.start_bytes} and {extent.end_bytes}"
    return HatfleetError(
        f"what was read back from {target.device.name} is not what was written, {place}",
        hint="the card or its reader is faulty, or the card is smaller than it claims: try another one",
    )


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
