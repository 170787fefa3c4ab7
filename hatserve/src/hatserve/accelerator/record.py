"""The record of recoveries: what was tried and when, kept across restarts, and how much of it counts for today.

A device without a battery starts with a clock that is wrong, and may jump in both directions. So a line is forgotten
only when it is surely a day old: by the time since the device started, or by two clocks that were both synchronised.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from hatserve.errors import HatserveError
from hatserve.system import System, read_number, read_text

#: Where it is.
FILE = "/var/lib/hatserve/recovery.jsonl"

#: systemd-timesyncd makes this file when the clock is right (systemd-timesyncd.service(8)).
_SYNCHRONIZED = "/run/systemd/timesync/synchronized"

_DAY_S = 24 * 3600.0

#: A record that is longer loses its older half, bytes: some thousand lines, far more than a day can have.
_MAX_BYTES = 256 * 1024

#: The result of a line that was written before its step was done, so that a step which kills the device counts too.
STARTED = "started"


@dataclass(frozen=True)
class Moment:
    """Now, as this device can tell it."""

    time: datetime
    boot_id: str
    """Which start of the device it is (/proc/sys/kernel/random/boot_id)."""
    uptime_s: float
    """Seconds since that start."""
    synchronized: bool
    """Whether the clock is known to be right."""


@dataclass(frozen=True)
class Entry:
    """A line of the record."""

    time: str
    boot_id: str
    uptime_s: float
    synchronized: bool
    step: str
    result: str


def moment(system: System) -> Moment:
    """Return the present moment.

    Raises:
        HatserveError: the kernel does not tell which start of the device this is.
    """
    boot_id = read_text(system.processes / "sys/kernel/random/boot_id")
    uptime_s = read_number(system.processes / "uptime")
    if not boot_id or uptime_s is None:
        raise HatserveError(f"{system.processes} tells no boot id or no uptime: reboots could not be counted")
    return Moment(datetime.now(UTC), boot_id, uptime_s, system.path(_SYNCHRONIZED).exists())


def count_today(entries: Iterable[Entry | None], step: str, now: Moment) -> int:
    """Return how often a step was started in the last day; what cannot be dated or read counts."""
    return sum(
        not _is_a_day_old(entry, now)
        for entry in entries
        if entry is None or (entry.step == step and entry.result == STARTED)
    )


def _is_a_day_old(entry: Entry | None, now: Moment) -> bool:
    if entry is not None and entry.boot_id == now.boot_id:
        return now.uptime_s - entry.uptime_s >= _DAY_S
    if now.uptime_s >= _DAY_S:
        return True
    if entry is None or not (entry.synchronized and now.synchronized):
        return False
    return (now.time - datetime.fromisoformat(entry.time)).total_seconds() >= _DAY_S


class Record:
    """The file; every line is on the disk before the step that it announces."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[Entry | None]:
        """Return every line; None for one that cannot be read, such as the last one before a power cut.

        Raises:
            HatserveError: the file is there and cannot be read.
        """
        try:
            lines = self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._error("read", error) from error
        return [_parse(line) for line in lines if line.strip()]

    def add(self, now: Moment, step: str, result: str) -> None:
        """Append a line, and wait until it is on the disk.

        Raises:
            HatserveError: it cannot be written.
        """
        entry = Entry(now.time.isoformat(timespec="seconds"), now.boot_id, now.uptime_s, now.synchronized, step, result)
        try:
            self._shorten()
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            with os.fdopen(descriptor, "r+b") as file:
                # A line that a power cut left unfinished must not swallow this one.
                size = file.seek(0, os.SEEK_END)
                torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
                file.write(b"\n" * torn + json.dumps(asdict(entry)).encode() + b"\n")
                file.flush()
                os.fsync(descriptor)
            _sync_folder(self.path.parent)
        except OSError as error:
            raise self._error("written", error) from error

    def _shorten(self) -> None:
        if not self.path.exists() or self.path.stat().st_size <= _MAX_BYTES:
            return
        lines = self.path.read_bytes().splitlines(keepends=True)
        newer = self.path.with_suffix(".new")
        with newer.open("wb") as file:
            file.writelines(lines[len(lines) // 2 :])
            file.flush()
            os.fsync(file.fileno())
        newer.replace(self.path)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep other recoveries out while the block runs; its folder is made if missing.

        Raises:
            HatserveError: one is running, or the folder cannot be written to.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = self.path.with_suffix(".lock").open("wb")
        except OSError as error:
            raise self._error("written", error) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise HatserveError("another recovery is running", hint="wait for its end") from error
            yield

    def _error(self, doing: str, error: OSError) -> HatserveError:
        return HatserveError(
            f"the record {self.path} cannot be {doing}: {error.strerror}; without it nothing is reset or rebooted",
            hint="run it as root, and see that /var has room",
        )


def _parse(line: bytes) -> Entry | None:
    try:
        data = json.loads(line)
        entry = Entry(**data)
        datetime.fromisoformat(entry.time)
        numbers = isinstance(entry.uptime_s, int | float) and isinstance(entry.synchronized, bool)
    except (ValueError, TypeError):
        return None
    return entry if numbers and entry.time.endswith("+00:00") else None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
