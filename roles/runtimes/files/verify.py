"""Say what of an environment's files is not as its RECORD files have it.

usage: verify.py TREE, by the system's own interpreter: nothing of the environment is run. Prints JSON: versions of the
distributions, and problems as lines for people.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

#: In no RECORD: what makes the folder an environment, and the mark of what was laid down.
OWN = {"pyvenv.cfg", "bin/python3", ".hatfleet-tree"}


def recorded(packages: Path) -> Iterator[tuple[Path, str]]:
    """Yield every file that a RECORD names, and its digest."""
    for record in sorted(packages.glob("*.dist-info/RECORD")):
        with record.open(newline="") as handle:
            for name, digest, _ in csv.reader(handle):
                yield Path(os.path.normpath(packages / name)), digest


def wrong(path: Path, digest: str) -> str:
    """Return what is wrong with a file, or nothing."""
    if not path.is_file() or path.is_symlink():
        return "missing"
    if not digest:
        return "" if path.name == "RECORD" else "without a digest in RECORD"
    found = base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).rstrip(b"=").decode()
    return "" if digest == f"sha256={found}" else "altered"


def verify(tree: Path) -> dict[str, object]:
    """Return versions and problems of an environment."""
    found = sorted(tree.glob("lib/python3.*/site-packages"))
    if len(found) != 1:
        return {"versions": {}, "problems": [f"{tree} has {len(found)} folders of packages, wanted one"]}
    known = {tree / name for name in OWN}
    problems = []
    for path, digest in recorded(found[0]):
        known.add(path)
        if what := wrong(path, digest):
            problems.append(f"{path}: {what}")
    there = [Path(folder) / name for folder, folders, names in os.walk(tree) for name in (*folders, *names)]
    strays = (path for path in sorted(there) if path not in known and (path.is_symlink() or not path.is_dir()))
    problems += [f"{path}: in no RECORD" for path in strays]
    interpreter = tree / "bin" / "python3"
    if not interpreter.is_symlink() or os.readlink(interpreter) != "/usr/bin/python3":  # noqa: PTH115
        problems.append(f"{interpreter}: not a link to /usr/bin/python3")
    folders = (path.name.removesuffix(".dist-info") for path in found[0].glob("*.dist-info"))
    names = (name.partition("-") for name in folders)
    return {"versions": {re.sub(r"[-_.]+", "-", a).lower(): b for a, _, b in names}, "problems": problems}


if __name__ == "__main__":
    json.dump(verify(Path(sys.argv[1])), sys.stdout)
