"""Compile an environment's modules, and add the bytecode to the RECORD of the distribution that each belongs to.

usage: finish.py TREE PREFIX

TREE is where the environment lies now, PREFIX where it will lie when it runs, which is the path that bytecode names.
Run by an interpreter of the environment's own minor version: on a device by its own, for an image by one that runs
natively on the machine that builds. Bytecode is never compared with its source (PEP 552, unchecked): both lie where
nobody but root can write. What does not compile in this version of Python is left as it is.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.util
import py_compile
import sys
from pathlib import Path


def compiled(source: Path, name: str) -> Path | None:
    """Return the bytecode of a module, or None when it does not compile."""
    cache = Path(importlib.util.cache_from_source(str(source)))
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    try:
        py_compile.compile(str(source), str(cache), name, doraise=True, quiet=1, invalidation_mode=mode)
    except py_compile.PyCompileError:
        return None
    cache.parent.chmod(0o755)
    cache.chmod(0o644)
    return cache


def row(packages: Path, path: Path) -> list[str]:
    """Return a file's line of RECORD."""
    content = path.read_bytes()
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return [str(path.relative_to(packages)), f"sha256={digest}", str(len(content))]


def finish(tree: Path, prefix: str) -> None:
    """Compile everything below a tree."""
    (packages,) = tree.glob("lib/python3.*/site-packages")
    place = f"{prefix}/{packages.relative_to(tree)}"
    for record in sorted(packages.glob("*.dist-info/RECORD")):
        with record.open(newline="") as handle:
            rows = list(csv.reader(handle))
        sources = [name for name, *_ in rows if name.endswith(".py")]
        caches = [compiled(packages / name, f"{place}/{name}") for name in sources]
        own = [name for name in rows if name[1]]
        rows = sorted(own + [row(packages, cache) for cache in caches if cache]) + [
            name for name in rows if not name[1]
        ]
        with record.open("w", newline="") as handle:
            csv.writer(handle, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    finish(Path(sys.argv[1]), sys.argv[2])
