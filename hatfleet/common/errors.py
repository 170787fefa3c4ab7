"""The one exception family and the exit codes that go with it.

An error says what is wrong (``message``), where (``where``), and what to do next (``hint``). The command line
prints exactly these three and exits with ``exit_code``; a traceback that reaches a user is a bug.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path


class ExitCode(IntEnum):
    """Exit codes of ``provision``, the same for every command."""

    OK = 0
    FAILED = 1
    """An operation failed."""
    BAD_INPUT = 2
    """Something the user gave is wrong; nothing was touched."""
    UNREACHABLE = 3
    """At least one host could not be reached."""
    NEEDS_IMAGE = 4
    """A sealed device differs from its image declaration: it needs a new image."""
    CHECK_FAILED = 5
    """At least one compliance check failed."""
    INCONCLUSIVE = 6
    """The evidence is not enough for a verdict."""
    INTERRUPTED = 130
    """Stopped by Ctrl-C (128 + SIGINT, as shells report it)."""


#: When hosts end differently, the run ends with the first of these that occurred.
PRECEDENCE = (
    ExitCode.INTERRUPTED,
    ExitCode.FAILED,
    ExitCode.UNREACHABLE,
    ExitCode.CHECK_FAILED,
    ExitCode.NEEDS_IMAGE,
    ExitCode.INCONCLUSIVE,
)


def worst(codes: Iterable[ExitCode]) -> ExitCode:
    """Return the exit code of a run whose parts ended with ``codes`` (OK when there are none)."""
    seen = set(codes)
    return next((code for code in PRECEDENCE if code in seen), ExitCode.OK)


@dataclass(frozen=True)
class Where:
    """A place in the user's input: a file, optionally a 1-based line, optionally a dotted key path."""

    file: Path | None = None
    line: int | None = None
    key: str | None = None

    def __str__(self) -> str:
        place = str(self.file) if self.file else ""
        if self.line is not None:
            place += f":{self.line}"
        if self.key:
            place += f" at {self.key}" if place else self.key
        return place


class HatfleetError(Exception):
    """Base of all errors that are shown to a user.

    Args:
        message: What is wrong, one sentence, naming the value found and what is allowed.
        hint: What to do next.
        where: The place in the user's input, when there is one.
    """

    exit_code = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str | None = None, where: Where | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.where = where

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class InputError(HatfleetError):
    """The user's input is wrong; nothing was touched (exit code 2)."""

    exit_code = ExitCode.BAD_INPUT


class InputErrors(InputError):
    """Several input errors found in one pass, so that they can be mended in one go."""

    def __init__(self, errors: Iterable[InputError]) -> None:
        self.errors = tuple(errors)
        super().__init__(f"{len(self.errors)} errors in the input")


class ErrorCollector:
    """Gathers the input errors of several steps, so that the user sees all of them at once."""

    def __init__(self) -> None:
        self.errors: list[InputError] = []

    @contextlib.contextmanager
    def collect(self) -> Iterator[None]:
        """Run a block; an input error ends the block and is kept."""
        try:
            yield
        except InputErrors as error:
            self.errors += error.errors
        except InputError as error:
            self.errors.append(error)

    def check(self) -> None:
        """End the gathering.

        Raises:
            InputErrors: there are any; each place and message once, in the order of files and lines.
        """
        if not self.errors:
            return
        once = {(str(error.where), error.message): error for error in self.errors}
        raise InputErrors(sorted(once.values(), key=_place))


def _place(error: InputError) -> tuple[str, int]:
    where = error.where or Where()
    return str(where.file or ""), where.line or 0


class MissingToolError(InputError):
    """A program that must be on PATH is not there."""

    def __init__(self, tool: str, package: str) -> None:
        super().__init__(
            f"{tool} is not installed",
            hint=f"install the Debian package {package}: sudo apt-get install {package} (or run: make setup)",
        )
        self.tool = tool
        self.package = package


class UnreachableError(HatfleetError):
    """A host could not be reached or refused to let us in (exit code 3)."""

    exit_code = ExitCode.UNREACHABLE


class CommandError(HatfleetError):
    """An external command ended with a non-zero status.

    Args:
        argv: The command as it was run.
        returncode: Its exit status (negative: ended by that signal).
        stderr: What it printed on standard error; the last lines go into the message.
    """

    def __init__(self, argv: list[str], returncode: int, stderr: str, *, hint: str | None = None) -> None:
        tail = "\n".join(f"    {line}" for line in stderr.strip().splitlines()[-8:])
        super().__init__(f"{argv[0]} failed with exit status {returncode}" + (f":\n{tail}" if tail else ""), hint=hint)
        self.argv = argv
        self.returncode = returncode
        self.stderr = stderr


def nearest(word: str, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """Return the known word closest to ``word``, or None when nothing is close (for "did you mean").

    ``likeness`` is the least that counts as close, from 0 (anything) to 1 (equal).
    """
    import difflib

    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=likeness)
    return matches[0] if matches else None
