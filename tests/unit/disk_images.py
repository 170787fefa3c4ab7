"""Disk images for tests: their partitions, and ways to damage them."""

from __future__ import annotations

import os
import subprocess
import uuid
from pathlib import Path

from hatfleet.image.disk import MIB, NAMES, DiskIds, DiskLayout, Partition, TableType, place
from hatfleet.image.disk.layout import KINDS

IDS = DiskIds(0xCAFE0102, uuid.UUID("5f3b1a52-7c0e-4d7a-8a57-0a7c11f3e2d1"))


def sizes(*mib: int) -> list[Partition]:
    """Return the partitions of an image with these sizes, in MiB."""
    return [Partition(name, kind, size * MIB) for name, kind, size in zip(NAMES, KINDS, mib, strict=True)]


def image_layout(table: TableType) -> DiskLayout:
    return place(table, sizes(16, 96, 96, 512, 512, 20), IDS)


def tool(*argv: str | Path) -> str:
    """Run a tool that judges a disk; return all it says."""
    environment = {"PATH": f"/usr/sbin:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def damage(disk: Path, offset: int, data: bytes | None = None) -> None:
    """Overwrite bytes, by default one with what is certainly another value."""
    with disk.open("r+b") as handle:
        handle.seek(offset)
        new = data if data is not None else bytes([handle.read(1)[0] ^ 0xFF])
        handle.seek(offset)
        handle.write(new)
