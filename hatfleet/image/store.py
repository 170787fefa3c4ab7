"""The cache of stage outputs: one folder per stage and key, complete or not there at all.

A stage works in a temporary folder that is renamed to its final name when it is done. A build that is killed leaves
a temporary folder, which the next build of the same recipe (it holds the recipe's lock) removes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hatfleet.common.files import write_atomic

#: Lies in every complete output: the inputs it was made from, and how long that took.
RECORD = "stage.json"


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
        """Whether the output is there."""
        return (self.path(stage, key) / RECORD).is_file()

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
            record = {"inputs": dict(inputs), "seconds": round(seconds, 1)}
            write_atomic(work / RECORD, json.dumps(record, indent=2) + "\n")
            if not self.has(stage, key):
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

    def prune(self, keep: Collection[tuple[str, str]]) -> tuple[int, int]:
        """Remove all outputs but those of some (stage, key) pairs.

        Returns:
            How many were removed, and how many bytes of disk that freed.
        """
        count = freed_bytes = 0
        for stage, key, path in list(self.outputs()):
            if (stage, key) in keep:
                continue
            freed_bytes += sum(file.stat().st_blocks * 512 for file in path.rglob("*") if file.is_file())
            # The record goes first: from then on the output does not count as complete.
            (path / RECORD).unlink()
            shutil.rmtree(path)
            count += 1
        return count, freed_bytes


def _work_prefix(owner: str) -> str:
    return f".work-{owner}-"
