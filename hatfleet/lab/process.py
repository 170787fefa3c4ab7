"""Is this device's QEMU or supervisor running, and ending it: by process id, after proof that the process is ours.

A pid file outlives its process when the power of the *host* fails, and the kernel then gives the number to somebody
else. So a process counts as ours only if it is a QEMU or a supervisor whose command line names the device's own pid
file, and it is signalled through a pidfd, which cannot come to mean another process in between.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

#: The module that runs a device; it is named on its own command line.
SUPERVISOR = "hatfleet.lab.supervisor"

#: A killed process is gone in milliseconds, unless the host's disk makes it wait.
_KILL_WAIT_S = 10.0


def running_pid(pid_file: Path) -> int | None:
    """Return the id of the process that was started with this pid file, or None when it is not running."""
    with _open_process(pid_file) as opened:
        return opened[0] if opened else None


def kill(pid_file: Path) -> bool:
    """End the process at once; return whether it was running."""
    with _open_process(pid_file) as opened:
        if opened is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(opened[1], signal.SIGKILL)
        _ended(opened[1], _KILL_WAIT_S)
        return True


def send(pid_file: Path, number: signal.Signals) -> bool:
    """Send a signal to the process; return whether it was running."""
    with _open_process(pid_file) as opened:
        if opened is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(opened[1], number)
        return True


def wait_ended(pid_file: Path, timeout_s: float) -> bool:
    """Wait until the process has ended; return False when it still runs after ``timeout_s`` seconds."""
    with _open_process(pid_file) as opened:
        return opened is None or _ended(opened[1], timeout_s)


def _ended(pidfd: int, timeout_s: float) -> bool:
    readable, _, _ = select.select([pidfd], [], [], timeout_s)
    return bool(readable)


@contextlib.contextmanager
def _open_process(pid_file: Path) -> Iterator[tuple[int, int] | None]:
    """Yield process id and pidfd of the running process, or None."""
    try:
        pid = int(pid_file.read_text())
        pidfd = os.pidfd_open(pid)
    except (OSError, ValueError, OverflowError):
        yield None
        return
    try:
        # The pidfd is open before the look at the command line, so both are about the same process.
        yield (pid, pidfd) if _is_ours(pid, pid_file) else None
    finally:
        os.close(pidfd)


def _is_ours(pid: int, pid_file: Path) -> bool:
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    # A zombie has an empty command line: it is off, only nobody has taken note yet.
    kind = b"qemu-system" in arguments[0] or SUPERVISOR.encode() in arguments
    return kind and os.fsencode(pid_file) in arguments
