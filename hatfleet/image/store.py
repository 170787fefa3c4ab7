"""The cache of stage outputs: one folder per stage and key, complete or not there at all.

A stage works in a temporary folder that is renamed to its final name when it is done. A build that is killed leaves
a temporary folder, which the next build of the same recipe (it holds the recipe's lock) removes.

An output's record lists its files. One that was cut, exchanged or written to since does not count, and is made again;
what leaves sizes and times as they were (a failing disk) is found by reading it all.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hatfleet.common.files import write_atomic

#: Lies in every complete output: the inputs it was made from, how long that took, its files. Its time is the last use.
RECORD = "stage.json"

#: Files are read in pieces of this size; pieces that are all zeros, as in sparse images, cost no hashing.
_PIECE_BYTES = 1024 * 1024


def stage_key(stage: str, inputs: Mapping[str, str]) -> str:
    """Return the key of a stage's output: a hash over its name and everything that goes into it."""
    return hashlib.sha256(json.dumps([stage, dict(inputs)], sort_keys=True).encode()).hexdigest()[:32]


def digest_tree(*roots: Path) -> str:
    """Return a hash over the names and contents of all files below some folders (or of single files).

    Compiled Python files do not count: they appear when a role is run.
    """
    total = hashlib.sha256()
    for root in roots:
        files = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
        for path in files:
            if "__pycache__" in path.parts:
                continue
            name = path.name if path == root else str(path.relative_to(root))
            executable = path.stat().st_mode & 0o111 != 0
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            total.update(f"{name}\0{executable}\0{content}\n".encode())
    return total.hexdigest()[:32]


@dataclass(frozen=True)
class Store:
    """Stage outputs below one folder."""

    root: Path

    def path(self, stage: str, key: str) -> Path:
        """Where the output of a stage lies, or will lie."""
        return self.root / stage / key

    def has(self, stage: str, key: str) -> bool:
        """Whether the output is there, and as it was made."""
        return (self.path(stage, key) / RECORD).is_file() and self.damage(stage, key) is None

    def damage(self, stage: str, key: str, *, thorough: bool = False) -> str | None:
        """Say what is wrong with an output that is there; None when it is as it was made.

        Args:
            stage: The stage.
            key: Its key.
            thorough: Compare contents, too, not only names, sizes and times.
        """
        folder = self.path(stage, key)
        try:
            recorded = json.loads((folder / RECORD).read_text())["files"]
        except (OSError, ValueError, KeyError, TypeError):
            return f"its {RECORD} is damaged"
        found = _files(folder)
        for name in sorted({*recorded, *found}):
            if name not in found or name not in recorded:
                return f"{name} is {'missing' if name in recorded else 'not its own'}"
            if found[name] != recorded[name]["stat"]:
                return f"{name} was changed"
            if thorough and _digest(folder / name) != recorded[name]["digest"]:
                return f"the content of {name} is damaged"
        return None

    def touch(self, stage: str, key: str) -> None:
        """Note that an output is being used now."""
        os.utime(self.path(stage, key) / RECORD)

    def used_s(self, stage: str, key: str) -> float:
        """When an output was last used, seconds since 1970; 0 when it is gone."""
        try:
            return (self.path(stage, key) / RECORD).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def size_bytes(self, stage: str, key: str) -> int:
        """How much of the disk an output takes, bytes."""
        files = (path for path in self.path(stage, key).rglob("*") if path.is_file() and not path.is_symlink())
        return sum(file.stat().st_blocks * 512 for file in files)

    def make(self, stage: str, key: str, inputs: Mapping[str, str], owner: str, make: Callable[[Path], None]) -> float:
        """Make an output: ``make`` fills a temporary folder, which then gets its final name.

        Args:
            stage: The stage.
            key: Its key.
            inputs: What the key was made from, for the record.
            owner: The recipe on whose behalf, so that its next build can clear away what a killed one left.
            make: Fills the folder it is given.

        Returns:
            Seconds that ``make`` took.
        """
        final = self.path(stage, key)
        final.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=final.parent, prefix=f"{_work_prefix(owner)}"))
        try:
            started_s = time.monotonic()
            work.chmod(0o755)
            make(work)
            seconds = time.monotonic() - started_s
            files = {
                name: {"stat": status, "digest": _digest(work / name)} for name, status in sorted(_files(work).items())
            }
            record = {"inputs": dict(inputs), "seconds": round(seconds, 1), "files": files}
            write_atomic(work / RECORD, json.dumps(record, indent=2) + "\n")
            if not self.has(stage, key):
                self.remove(stage, key)
                work.rename(final)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return seconds

    def clear_work(self, owner: str) -> None:
        """Remove what a killed build of a recipe left; the caller holds the recipe's lock."""
        for path in self.root.glob(f"*/{_work_prefix(owner)}*"):
            shutil.rmtree(path, ignore_errors=True)

    def outputs(self) -> Iterator[tuple[str, str, Path]]:
        """Yield stage, key and folder of every complete output."""
        for record in sorted(self.root.glob(f"*/*/{RECORD}")):
            if not record.parent.name.startswith("."):
                yield record.parent.parent.name, record.parent.name, record.parent

    def remove(self, stage: str, key: str) -> int:
        """Remove an output, whole or damaged; return how many bytes of disk that freed."""
        path = self.path(stage, key)
        if not path.exists():
            return 0
        freed_bytes = self.size_bytes(stage, key)
        # The record goes first: from then on the output does not count as complete.
        (path / RECORD).unlink(missing_ok=True)
        shutil.rmtree(path)
        return freed_bytes

    def prune(self, keep: Collection[tuple[str, str]]) -> tuple[int, int]:
        """Remove all outputs but those of some (stage, key) pairs.

        Returns:
            How many were removed, and how many bytes of disk that freed.
        """
        freed = [self.remove(stage, key) for stage, key, _ in list(self.outputs()) if (stage, key) not in keep]
        return len(freed), sum(freed)


def _files(folder: Path) -> dict[str, list[int]]:
    """Return size and time of change (ns) of every file of an output, by its name in it."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_symlink() or path.is_file():
            status = path.lstat()
            found[str(path.relative_to(folder))] = [status.st_size, status.st_mtime_ns]
    found.pop(RECORD, None)
    return found


def _digest(file: Path) -> str:
    """Return a hash over a file's content (or where a link leads), by pieces, without those that are all zeros."""
    total = hashlib.sha256()
    if file.is_symlink():
        total.update(os.fsencode(file.readlink()))
        return total.hexdigest()
    zeros = bytes(_PIECE_BYTES)
    with file.open("rb") as handle:
        offset = 0
        while piece := handle.read(_PIECE_BYTES):
            if piece != zeros[: len(piece)]:
                total.update(offset.to_bytes(8, "big"))
                total.update(piece)
            offset += len(piece)
    return total.hexdigest()


def _work_prefix(owner: str) -> str:
    return f".work-{owner}-"
