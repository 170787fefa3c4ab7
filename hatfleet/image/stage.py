"""What a stage of a build is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hatfleet.image.store import digest_tree, stage_key


@dataclass(frozen=True)
class Workplace:
    """What a running stage has: a folder for its output, a log file, and somebody to tell what it is doing."""

    folder: Path
    log: Path
    progress: Callable[[str], None]


@dataclass(frozen=True)
class Stage:
    """A step of a build."""

    name: str
    inputs: Mapping[str, str]
    """Everything its output depends on, each under the name that an explanation gives it."""
    make: Callable[[Workplace], None]
    """Makes the output."""

    @property
    def key(self) -> str:
        """Key of the output."""
        return stage_key(self.name, self.inputs)

    @property
    def label(self) -> str:
        """How an explanation names it when its output goes into another stage."""
        return f"stage {self.name}"


@contextmanager
def plain_umask() -> Iterator[None]:
    """Make folders and files readable by everybody, whatever the builder prefers: modes are part of an image."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


def role_code(folder: Path) -> str:
    """Return a hash over what a role does to an image: its checks only look, and may change without a new image."""
    return digest_tree(
        *(path for path in sorted(folder.iterdir()) if not path.name.startswith(("checks", "__pycache__")))
    )


def code(*names: str) -> str:
    """Return a hash over modules and files of this package, so that a change in how an output is made counts.

    Args:
        names: Modules without ``.py`` (``disk/mbr``), folders, or other files.
    """
    folder = Path(__file__).parent
    paths = [folder / name if (folder / name).exists() else folder / f"{name}.py" for name in names]
    if missing := [path for path in paths if not path.exists()]:
        raise FileNotFoundError(f"no such module or file: {missing[0]}")
    return digest_tree(*paths)
