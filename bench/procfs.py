"""What the kernel says about processes: their processor time and memory, summed over trees."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Process:
    """A process that runs now."""

    pid: int
    parent: int
    cpu_s: float
    """Processor time of its own and of all its children that have ended and were waited for, seconds."""


def processes() -> dict[int, Process]:
    """Return every process of the machine, by pid."""
    found = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            # A process may end while it is looked at.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found[int(entry.name)] = _read(int(entry.name))
    return found


def _read(pid: int) -> Process:
    # proc_pid_stat(5): the name, in brackets, may hold blanks; fields 4 and 14 to 17 count from after it.
    fields = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    return Process(pid, int(fields[1]), sum(int(ticks) for ticks in fields[11:15]) / _TICKS_PER_S)


def tree(root: int, running: Mapping[int, Process]) -> list[Process]:
    """Return a process and everything that it started, directly or not; nothing when it is gone."""
    children: dict[int, list[int]] = {}
    for process in running.values():
        children.setdefault(process.parent, []).append(process.pid)
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        if pid in running:
            found.append(running[pid])
            waiting += children.get(pid, [])
    return found


def machine_cpu_s() -> float:
    """Return the processor time that everything on this machine has used since it started, seconds."""
    # proc_stat(5): user, nice, system; then idle and iowait, which are no work; irq, softirq.
    user, nice, system, _, _, irq, softirq = (PROC / "stat").read_text().split("\n", 1)[0].split()[1:8]
    return sum(int(ticks) for ticks in (user, nice, system, irq, softirq)) / _TICKS_PER_S


def pss_bytes(pids: Iterable[int]) -> int:
    """Return the proportional set size of some processes: memory that they share counts once, bytes."""
    total = 0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total
