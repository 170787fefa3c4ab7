"""The one way to run an external program.

Commands are argument lists, never shell strings. A child runs in its own process group, so that Ctrl-C or an
error in the parent ends the child *and* what the child started.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NoReturn

from hatfleet.common.errors import CommandError, MissingToolError

#: How long a child may take to end after SIGTERM before it gets SIGKILL, seconds.
TERMINATE_GRACE_S = 5.0


def require_tool(tool: str, package: str) -> str:
    """Return the path of a program, looking in the sbin directories too.

    Raises:
        MissingToolError: it is not installed; the message names the Debian package.
    """
    search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
    found = shutil.which(tool, path=search)
    if not found:
        raise MissingToolError(tool, package)
    return found


def end_process_group(process: subprocess.Popen[bytes], grace_s: float = TERMINATE_GRACE_S) -> None:
    """End a child started with ``process_group=0`` and everything in its group: SIGTERM, then SIGKILL."""
    for sig, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, grace_s)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, sig)
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            continue
        # The leader is gone; the rest of its group may still be on its way out.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        return


def run(
    argv: Sequence[str | Path],
    *,
    stdin: bytes | IO[bytes] | None = None,
    stdout: IO[bytes] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_s: float | None = None,
    check: bool = True,
    log: Path | None = None,
    hint: str | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end.

    Args:
        argv: Program and arguments.
        stdin: Bytes to feed, or an open file; nothing by default.
        stdout: Where its standard output goes; captured by default.
        env: The whole environment of the child; the parent's when None.
        cwd: Working directory.
        timeout_s: Seconds after which the child is ended and CommandError raised.
        check: Raise on a non-zero exit status.
        log: A file that receives standard error as it comes (it is still part of the error).
        hint: What to tell the user when it fails.

    Raises:
        MissingToolError: the program is not on PATH (its package is unknown here; use require_tool first).
        CommandError: non-zero exit status or timeout.
    """
    command = [str(part) for part in argv]
    feed = stdin if isinstance(stdin, bytes) else None
    with contextlib.ExitStack() as stack:
        stderr: IO[bytes] | int = subprocess.PIPE
        source: IO[bytes] | int = subprocess.DEVNULL
        if feed is not None:
            source = subprocess.PIPE
        elif stdin is not None and not isinstance(stdin, bytes):
            source = stdin
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            stderr = stack.enter_context(log.open("ab"))
        try:
            process = subprocess.Popen(
                command,
                stdin=source,
                stdout=stdout or subprocess.PIPE,
                stderr=stderr,
                env=dict(env) if env is not None else None,
                cwd=cwd,
                process_group=0,
            )
        except FileNotFoundError as error:
            raise MissingToolError(command[0], command[0]) from error
        try:
            out, err = process.communicate(feed, timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            end_process_group(process)
            raise CommandError(command, -signal.SIGTERM, f"no result after {timeout_s:g} s", hint=hint) from error
        except BaseException:
            end_process_group(process)
            raise
    if log is not None:
        err = log.read_bytes()[-4000:]
    if check and process.returncode != 0:
        raise CommandError(command, process.returncode, (err or b"").decode(errors="replace"), hint=hint)
    return subprocess.CompletedProcess(command, process.returncode, out or b"", err or b"")


def replace_process(argv: Sequence[str | Path]) -> NoReturn:
    """Become another program: it has our terminal, gets our signals, and its exit status is ours."""
    sys.stdout.flush()
    sys.stderr.flush()
    command = [str(part) for part in argv]
    os.execvp(command[0], command)  # noqa: S606
