"""Flashing: an image onto a disk, verified, and a host's seed with it."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

from hatfleet.common.errors import HatfleetError
from hatfleet.common.progress import say, step
from hatfleet.common.run import require_tool
from hatfleet.common.sizes import format_size
from hatfleet.image.flash.bootcfg import first_partition, put_file
from hatfleet.image.flash.copy import Copied, commit, copy, read_back, wipe_ends
from hatfleet.image.flash.device import Device, Machine
from hatfleet.image.flash.refuse import DEFAULT_MAX_BYTES, refuse
from hatfleet.image.flash.seed import DEFAULT_TOKEN_DAYS, SEED_FILE, Seed, make_seed
from hatfleet.image.flash.source import Source, open_source
from hatfleet.image.flash.target import Target, open_target

__all__ = [
    "DEFAULT_MAX_BYTES",
    "DEFAULT_TOKEN_DAYS",
    "Device",
    "Flashed",
    "Machine",
    "Seed",
    "Source",
    "flash",
    "make_seed",
    "open_source",
    "refuse",
]


@dataclass(frozen=True)
class Flashed:
    """A disk that holds an image."""

    device: str
    image: str
    image_bytes: int
    written_bytes: int
    """Bytes of the image that were written and read back; less than the image with a block map."""
    sha256: str
    """Of the whole unpacked image."""
    manifest: bool
    """Whether a manifest gave this checksum."""
    host: str | None
    seconds: float


def flash(source: Source, device: Device, seed: Seed | None = None) -> Flashed:
    """Write an image to a disk that :func:`refuse` lets pass, and read back every block that matters.

    What makes the disk a system, its partition table, comes last: an interrupted or failed flash leaves a disk that no
    board boots, and the next one starts over.

    Args:
        source: The image.
        device: The disk.
        seed: What to put into its partition bootcfg.

    Raises:
        InputError: the disk is in use or may not be written; nothing was touched.
        HatfleetError: anything that went wrong afterwards.
    """
    started_s = time.monotonic()
    if seed:
        require_tool("mcopy", "mtools")
    with open_target(device) as target:
        try:
            copied = _write(source, target, seed)
        except BaseException:
            # The table may be there already, and be what went wrong. A disk that is gone cannot be wiped.
            with contextlib.suppress(HatfleetError):
                wipe_ends(target)
            say(f"{device.name} holds no usable system now: nothing boots from it. Run the same command again.")
            raise
    return Flashed(
        device=device.name,
        image=source.file.name,
        image_bytes=source.image_bytes,
        written_bytes=copied.size_bytes,
        sha256=copied.sha256,
        manifest=source.declared is not None,
        host=seed.host if seed else None,
        seconds=round(time.monotonic() - started_s, 1),
    )


def _write(source: Source, target: Target, seed: Seed | None) -> Copied:
    with step("wipe both ends"):
        wipe_ends(target)
    with step("write") as current:
        copied = copy(source, target, current.update)
        current.note = _rate(copied.size_bytes, current.seconds)
    if source.declared and source.declared.sha256 != copied.sha256:
        raise HatfleetError(
            f"{source.file.name} has the SHA-256 {copied.sha256}, its manifest says {source.declared.sha256}",
            hint="the image was altered or damaged: fetch or build it again",
        )
    with step("read back and compare") as current:
        read_back(copied, target, current.update)
        current.note = _rate(copied.size_bytes, current.seconds)
    if seed:
        with step(f"seed of {seed.host}"):
            put_file(target, first_partition(copied.head, source.image_bytes), SEED_FILE, seed.content)
            # Before the disk can boot: a device must never come with a token that nobody knows.
            seed.remember()
    with step("partition table"):
        commit(copied, target)
        target.reread_partitions()
    return copied


def _rate(size_bytes: int, seconds: float) -> str:
    return f"{format_size(size_bytes)}, {format_size(int(size_bytes / max(seconds, 0.001)))}/s"
