"""Locks between processes that say who holds them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from hatfleet.common.errors import InputError


@contextlib.contextmanager
def file_lock(
    path: Path, what: str, *, wait: bool = True, on_wait: Callable[[str], None] = lambda holder: None
) -> Iterator[None]:
    """Hold an exclusive lock while the block runs; the kernel drops it when the process ends, however it ends.

    Args:
        path: The lock file; it also records who holds the lock.
        what: What is locked, for messages ("image edge-virt").
        wait: Wait for the holder; otherwise raise at once.
        on_wait: Called once, with a sentence naming the holder, when there is something to wait for.

    Raises:
        InputError: ``wait`` is false and somebody else holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(path)
            if not wait:
                raise InputError(f"{what} is in use {holder}", hint="wait until it is done, then try again") from None
            on_wait(f"waiting for {what}: in use {holder}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        handle.seek(0)
        handle.truncate()
        json.dump({"pid": os.getpid(), "since": int(time.time())}, handle)
        handle.flush()
        yield


def held_since(path: Path) -> float | None:
    """Return since when somebody holds a lock, seconds since 1970; None when it is free."""
    try:
        with path.open() as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        try:
            return float(json.loads(path.read_text())["since"])
        except (ValueError, KeyError, TypeError):
            # The holder has it, but has not written so yet: it began just now.
            return path.stat().st_mtime
    return None


def _holder(path: Path) -> str:
    try:
        record = json.loads(path.read_text())
        since = time.strftime("%H:%M:%S", time.localtime(record["since"]))
        return f"by process {record['pid']} since {since}"
    except (OSError, ValueError, KeyError):
        return "by another process"
