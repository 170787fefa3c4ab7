"""Programs that make file systems and check them: from the pinned tools tree, not from the host.

The host's own erofs-utils may be too old, its mtools may write other bytes than another host's. A *tools tree* is a
root file system of one Debian release for the host's processor with exactly the packages named here. A program from
it runs in a sandbox (bubblewrap) that shows it the tools tree, read-only, and the paths it is given, under their own
names.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from hatfleet.common.run import require_tool, run

#: What is in the tools tree beside Debian's essential packages.
PACKAGES = (
    "cryptsetup-bin",
    "device-tree-compiler",
    "dosfstools",
    "e2fsprogs",
    "erofs-utils",
    "fdisk",
    "mtools",
    "openssl",
    "python3",
    "rauc",
    "squashfs-tools",
    "xz-utils",
    "zstd",
)

#: Folder of the tree in the stage's output.
TREE = "tree"

#: Debian packages of the programs, for errors.
_HOST_PACKAGES = {
    "fsck.erofs": "erofs-utils",
    "mcopy": "mtools",
    "mkfs.erofs": "erofs-utils",
    "mkfs.vfat": "dosfstools",
    "mmd": "mtools",
    "veritysetup": "cryptsetup-bin",
}

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class Tools(Protocol):
    """A way to run such programs."""

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        reads: Sequence[Path] = (),
        writes: Sequence[Path] = (),
        env: Mapping[str, str] | None = None,
        stdin: bytes | IO[bytes] | None = None,
        log: Path | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program to its end.

        Args:
            argv: Name of the program, and its arguments; paths are absolute.
            reads: Existing files and folders that it may read.
            writes: Existing folders (or files) that it may write in.
            env: Variables beside PATH, TZ and LC_ALL.
            stdin: What it reads on standard input.
            log: Receives its standard error.

        Raises:
            CommandError: it failed.
        """
        ...


@dataclass(frozen=True)
class TreeTools:
    """The programs of a tools tree."""

    tree: Path

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        reads: Sequence[Path] = (),
        writes: Sequence[Path] = (),
        env: Mapping[str, str] | None = None,
        stdin: bytes | IO[bytes] | None = None,
        log: Path | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program of the tree; see :meth:`Tools.run`."""
        command: list[str | Path] = [require_tool("bwrap", "bubblewrap")]
        command += ["--die-with-parent", "--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
        for folder in ("usr", "etc", "var"):
            command += ["--ro-bind", self.tree / folder, f"/{folder}"]
        for link in ("bin", "lib", "lib64", "sbin"):
            command += ["--symlink", f"usr/{link}", f"/{link}"]
        command += ["--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"]  # noqa: S108  # the sandbox's own
        for path in reads:
            command += ["--ro-bind", path, path]
        for path in writes:
            command += ["--bind", path, path]
        return run([*command, "--", *argv], env=_environment(env), stdin=stdin, log=log)


@dataclass(frozen=True)
class HostTools:
    """The programs that are installed on this machine: for tests, and for looking at an image made elsewhere."""

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        reads: Sequence[Path] = (),  # noqa: ARG002  # it sees the whole machine
        writes: Sequence[Path] = (),  # noqa: ARG002
        env: Mapping[str, str] | None = None,
        stdin: bytes | IO[bytes] | None = None,
        log: Path | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program of the host; see :meth:`Tools.run`."""
        name = str(argv[0])
        package = _HOST_PACKAGES.get(name, name)
        return run([require_tool(name, package), *argv[1:]], env=_environment(env), stdin=stdin, log=log)


def _environment(more: Mapping[str, str] | None) -> dict[str, str]:
    """Return all variables that a program gets: nothing of the builder's reaches what it writes."""
    return {"PATH": _PATH, "TZ": "UTC", "LC_ALL": "C.UTF-8", "MTOOLSRC": os.devnull, **(more or {})}
