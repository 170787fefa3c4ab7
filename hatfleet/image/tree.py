"""Changing files in a root file system from outside, and turning it into a tar archive and back.

What lies in a root file system came from packages and roles: a symbolic link in it may be absolute, and would then
lead to the builder's own files. Every function here refuses to work behind such a link.
"""

from __future__ import annotations

import fnmatch
import os
import shutil
from pathlib import Path

from hatfleet.common.errors import HatfleetError
from hatfleet.common.run import require_tool, run

#: GNU tar: the same tree gives the same bytes. Access and change times are the builder's, not the content's.
_NORMAL = (
    "--format=posix",
    "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
    "--sort=name",
    "--numeric-owner",
    "--xattrs",
    "--xattrs-include=*",
    "--clamp-mtime",
)


def inside(root: Path, path: str) -> Path:
    """Return where ``path`` of a root file system lies, its last part not followed if it is a link.

    Raises:
        HatfleetError: a folder on the way is a symbolic link that leads out of the root file system.
    """
    root = root.resolve()
    target = root / path.lstrip("/")
    parent = target.parent.resolve()
    if parent != root and root not in parent.parents:
        raise HatfleetError(f"/{path.lstrip('/')} leads out of the root file system, to {parent}")
    return parent / target.name


def put(root: Path, path: str, content: str, mode: int = 0o644) -> None:
    """Write a file anew, in place of whatever was there (a link is replaced, not followed)."""
    target = inside(root, path)
    target.parent.mkdir(parents=True, exist_ok=True)
    remove(root, path)
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode), "w") as handle:
        os.fchmod(handle.fileno(), mode)
        handle.write(content)


def put_link(root: Path, path: str, to: str) -> None:
    """Make a symbolic link, in place of whatever was there."""
    target = inside(root, path)
    target.parent.mkdir(parents=True, exist_ok=True)
    remove(root, path)
    target.symlink_to(to)


def remove(root: Path, pattern: str) -> None:
    """Remove everything that matches a glob pattern: files, links (not what they lead to) and folders."""
    folder, _, last = pattern.lstrip("/").rpartition("/")
    # Not Path.glob: it does not find links that lead nowhere, and most absolute links do so here.
    base = inside(root, folder).resolve() if folder else root.resolve()
    names = sorted(fnmatch.filter((path.name for path in base.iterdir()), last)) if base.is_dir() else []
    for name in names:
        target = inside(root, f"{folder}/{name}")
        if target.is_symlink() or not target.is_dir():
            target.unlink()
        else:
            shutil.rmtree(target)


def pack(root: Path, archive: Path, epoch_s: int, log: Path) -> None:
    """Write a tree as a tar archive whose bytes depend on nothing but the tree; times end at ``epoch_s``."""
    tar = require_tool("tar", "tar")
    run([tar, "-C", root, *_NORMAL, f"--mtime=@{epoch_s}", "-cf", archive, "."], env=_env(), log=log)


def unpack(archive: Path, root: Path, log: Path, *, only: str | None = None, without: str | None = None) -> None:
    """Unpack a tar archive with owners, modes, times and extended attributes into a new folder.

    Args:
        archive: The archive; its names begin with ``./``.
        root: The folder to make.
        log: Receives what tar prints.
        only: Name of the one folder wanted.
        without: Pattern of what is not wanted.
    """
    tar = require_tool("tar", "tar")
    root.mkdir()
    options = ["--numeric-owner", "--same-owner", "--preserve-permissions", "--xattrs", "--xattrs-include=*"]
    if without:
        options.append(f"--exclude={without}")
    run([tar, "-C", root, *options, "-xf", archive, *([only] if only else [])], env=_env(), log=log)


def _env() -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"}
