"""The boot partition: a FAT file system filled by mtools, without root and without mounting."""

from __future__ import annotations

import os
from pathlib import Path

from hatfleet.image.disk import MIB
from hatfleet.image.tools import Tools


def make_fat(
    image: Path, tree: Path, *, size_bytes: int, volume_id: int, label: str, epoch_s: int, tools: Tools, log: Path
) -> None:
    """Make a FAT32 file system that holds the files of ``tree``.

    Args:
        image: The file to write.
        tree: What goes in; its files' times are set to ``epoch_s``.
        size_bytes: Size of the file system.
        volume_id: 32-bit serial number, so that equal content gives equal bytes.
        label: Volume label, at most 11 characters.
        epoch_s: Time of every file, seconds since 1970.
        tools: Where mkfs.vfat and mtools come from.
        log: Receives what the tools print.

    Raises:
        MissingToolError, CommandError: a tool is missing or fails (for example: the partition is too small).
    """
    env = {"SOURCE_DATE_EPOCH": str(epoch_s)}

    def run(*argv: str | Path) -> None:
        tools.run(argv, reads=[tree], writes=[image.parent], env=env, log=log)

    with image.open("wb") as handle:
        handle.truncate(size_bytes)
    run("mkfs.vfat", "--invariant", "-F", "32", "-i", f"{volume_id:08x}", "-n", label, image)
    # Sorted and by name: with a directory as source, mcopy would take whatever order the builder's disk has.
    folders = [tree, *sorted(path for path in tree.rglob("*") if path.is_dir())]
    for folder in folders:
        target = f"::/{folder.relative_to(tree)}" if folder != tree else "::/"
        if folder != tree:
            os.utime(folder, (epoch_s, epoch_s))
            run("mmd", "-i", image, target)
        files = sorted(path for path in folder.iterdir() if not path.is_dir())
        for path in files:
            os.utime(path, (epoch_s, epoch_s))
        # One program for all: a Raspberry Pi has a few hundred overlays.
        if files:
            run("mcopy", "-i", image, "-m", *files, target)


def tree_mib(tree: Path) -> int:
    """Return how many MiB a FAT file system needs to hold ``tree`` (content, clusters, both tables and a reserve)."""
    content = sum(path.stat().st_size + 32 * 1024 for path in tree.rglob("*") if path.is_file())
    # FAT32 has at least 65525 clusters: below 33 MiB it would not be one.
    return max(34, -(-int(content * 1.02) // MIB) + 2)
