"""The machine that is looked at: its files below a folder, and the programs on it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

#: How long a program that was killed may take to go, seconds: one that hangs in a driver never does.
_LAST_MOMENT_S = 2.0


@dataclass(frozen=True)
class System:
    """A file system to look at.

    Attributes:
        root: Where its files are; a simulated tree in tests. Programs are always those of the running system.
        proc: Where its processes are; ``proc`` below the root when None.
    """

    root: Path = Path("/")
    proc: Path | None = None

    def path(self, name: str) -> Path:
        """Return where an absolute path of that system is."""
        return self.root / name.lstrip("/")

    @property
    def processes(self) -> Path:
        """The folder with a folder for each process."""
        return self.proc or self.path("/proc")

    def text(self, name: str) -> str | None:
        """Return what a small file says, without blanks and NULs at its ends; None when it cannot be read."""
        return read_text(self.path(name))

    def entries(self, name: str) -> list[Path]:
        """Return what is in a folder, sorted by name; nothing when it cannot be read."""
        try:
            return sorted(self.path(name).iterdir())
        except OSError:
            return []


def read_text(path: Path) -> str | None:
    """Return what a small file says, without blanks and NULs at its ends; None when it cannot be read."""
    try:
        return path.read_bytes().decode(errors="replace").strip("\0 \t\n")
    except OSError:
        return None


def read_number(path: Path) -> float | None:
    """Return the number that a file starts with; None when there is none."""
    words = (read_text(path) or "").split()
    try:
        return float(words[0])
    except (IndexError, ValueError):
        return None


@dataclass(frozen=True)
class Ended:
    """How a program ended."""

    status: int | None
    """Its exit status; None when it is not installed or did not end in time."""
    output: str = ""
    errors: str = ""
    why: str = ""
    """Why there is no exit status."""
    timed_out: bool = False

    @property
    def said(self) -> str:
        """Everything it printed."""
        return f"{self.output}\n{self.errors}".strip()


def run(argv: Sequence[str], timeout_s: float, env: Mapping[str, str] | None = None) -> Ended:
    """Run a program, for a bounded time even when it hangs in a driver and cannot be killed.

    Args:
        argv: The program and its arguments.
        timeout_s: How long it may take, in seconds.
        env: Variables to set besides our own.
    """
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(env or {})},
            process_group=0,
        )
    except OSError as error:
        why = "is not installed" if isinstance(error, FileNotFoundError) else f"does not start: {error.strerror}"
        return Ended(None, why=f"{argv[0]} {why}")
    try:
        output, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=_LAST_MOMENT_S)
        return Ended(None, why=f"{argv[0]} did not answer within {timeout_s:g} s", timed_out=True)
    return Ended(process.returncode, output.decode(errors="replace"), errors.decode(errors="replace"))
