"""hatserve as it travels with hatfleet: what it requires, and the wheel made of it."""

from __future__ import annotations

import hashlib
import os
import sys
import tomllib
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from hatfleet.common.errors import InputError, Where
from hatfleet.common.run import run
from hatfleet.common.site import package_content

NAME = "hatserve"

#: Time of every file of the wheel and the environment, seconds since 1970: 2020-02-02, hatchling's default.
EPOCH_S = 1580601600


def source() -> Path:
    """Return the folder with hatserve's pyproject.toml."""
    return package_content() / NAME


def requirements(folder: Path) -> tuple[Requirement, ...]:
    """Return what a project requires, sorted, from its pyproject.toml.

    Raises:
        InputError: the file cannot be read, or one of them is no requirement.
    """
    file = folder / "pyproject.toml"
    try:
        written = tomllib.loads(file.read_text())["project"]["dependencies"]
        return tuple(sorted((Requirement(line) for line in written), key=str))
    except (OSError, tomllib.TOMLDecodeError, KeyError, InvalidRequirement) as error:
        raise InputError(f"its requirements cannot be read: {error}", where=Where(file)) from error


def digest(folder: Path) -> str:
    """Return a hash over everything that goes into a project's wheel."""
    total = hashlib.sha256()
    paths = [folder / "pyproject.toml", folder / "README.md", *(folder / "src").rglob("*")]
    for path in sorted(path for path in paths if path.is_file() and "__pycache__" not in path.parts):
        content = path.read_bytes()
        total.update(f"{path.relative_to(folder)}\0{len(content)}\0".encode() + content)
    return total.hexdigest()


def build_wheel(folder: Path, out: Path) -> Path:
    """Build a project's wheel; the same sources give the same bytes.

    Args:
        folder: The project.
        out: Receives the wheel.

    Raises:
        CommandError: the sources do not make a wheel.
    """
    command: list[str | Path] = [
        sys.executable,
        "-P",
        "-m",
        "hatchling",
        "build",
        "--target",
        "wheel",
        "--directory",
        out,
    ]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH_S)}
    before = set(out.glob("*.whl"))
    run(command, cwd=folder, env=environment)
    (wheel,) = set(out.glob("*.whl")) - before
    return wheel
