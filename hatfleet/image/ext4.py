"""The system partition of the first version: an ext4 file system filled from a folder, without mounting."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

from hatfleet.common.run import require_tool, run
from hatfleet.image.disk import MIB


def make_ext4(
    image: Path, tree: Path, *, size_bytes: int, identity: uuid.UUID, label: str, epoch_s: int, log: Path
) -> None:
    """Make an ext4 file system that holds ``tree`` with its owners, modes and extended attributes.

    Args:
        image: The file to write.
        tree: What goes in.
        size_bytes: Size of the file system.
        identity: UUID of the file system and seed of its directory hashes.
        label: Volume label, at most 16 characters.
        epoch_s: Time of creation and of every inode change, seconds since 1970.
        log: Receives what the tools print.

    Raises:
        MissingToolError, CommandError: a tool is missing or fails.
    """
    mke2fs, debugfs = require_tool("mke2fs", "e2fsprogs"), require_tool("debugfs", "e2fsprogs")
    dumpe2fs = require_tool("dumpe2fs", "e2fsprogs")
    env = {"PATH": os.defpath, "TZ": "UTC", "LC_ALL": "C.UTF-8", "E2FSPROGS_FAKE_TIME": str(epoch_s)}
    with image.open("wb") as handle:
        handle.truncate(size_bytes)
    options = f"hash_seed={identity},lazy_itable_init=0,lazy_journal_init=0,nodiscard"
    run(
        [
            mke2fs,
            "-q",
            "-t",
            "ext4",
            "-F",
            "-U",
            str(identity),
            "-L",
            label,
            "-E",
            options,
            "-m",
            "1",
            "-d",
            tree,
            image,
        ],
        env=env,
        log=log,
    )
    # mke2fs copies the times of inode change and access from the builder's disk; they are not part of the content.
    used = _used_inodes(run([dumpe2fs, image], env=env, log=log).stdout.decode())
    script = "".join(f"sif <{inode}> {field} @{epoch_s:#x}\n" for inode in used for field in ("ctime", "atime"))
    run([debugfs, "-w", "-f", "-", image], stdin=script.encode(), env=env, log=log)


def _used_inodes(dump: str) -> Iterator[int]:
    """Yield the inodes with content: the root directory and the ordinary ones, by dumpe2fs's ranges of free inodes."""
    total = int(_field(dump, "Inode count"))
    first = int(_field(dump, "First inode"))
    free: set[int] = set()
    for ranges in re.findall(r"^  Free inodes: (.*)$", dump, re.MULTILINE):
        for part in filter(None, (part.strip() for part in ranges.split(","))):
            low, _, high = part.partition("-")
            free.update(range(int(low), int(high or low) + 1))
    yield 2
    yield from (inode for inode in range(first, total + 1) if inode not in free)


def _field(dump: str, name: str) -> str:
    found = re.search(rf"^{name}:\s+(\d+)$", dump, re.MULTILINE)
    if not found:
        raise ValueError(f"dumpe2fs printed no {name!r}")
    return found[1]


def tree_mib(tree: Path) -> int:
    """Return how many MiB an ext4 file system needs to hold ``tree``, with journal and a tenth in reserve."""
    blocks = inodes = 0
    for path in tree.rglob("*"):
        info = path.lstat()
        inodes += 1
        blocks += -(-info.st_size // 4096) if path.is_file() and not path.is_symlink() else 1
    content_bytes = blocks * 4096 + inodes * 256
    journal_bytes = 64 * MIB
    return -(-int(content_bytes * 1.1 + journal_bytes) // MIB)
