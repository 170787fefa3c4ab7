"""Starts ``provision apply`` and interrupts it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO

from bench import procfs
from bench.delay_proxy import Fault as Network
from bench.delay_proxy import Proxy
from bench.tools.base import ENVIRONMENT
from bench.tools.ours import PROVISION, environment

#: How long an apply may take to end after it was interrupted, seconds.
END_LIMIT_S = 60.0
#: How long processes may go on after the command line was killed, seconds.
ORPHAN_LIMIT_S = 5.0
#: How long the line stands still, seconds: nobody should give up for that.
STALL_S = 2.0

#: Ends everything that runs on the devices at once, as a power cut does, and has them reachable again.
Crash = Callable[[], None]


class Fault(StrEnum):
    """What happens to a run."""

    KILL = "kill -9 of the command line"
    KILL_ALL = "kill -9 of everything on the admin's machine"
    INTERRUPT = "Ctrl-C"
    DROP = "connections reset"
    TRUNCATE = "stream cut after some bytes"
    STALL = "line stands still for a while"
    CRASH = "everything killed on the devices"


@dataclass(frozen=True)
class Instant:
    """A fault and when it happens: seconds after the first connection, or for TRUNCATE after bytes to each device."""

    fault: Fault
    seconds: float
    sent_bytes: int

    @classmethod
    def choose(cls, dice: random.Random, fault: Fault, *, longest_s: float, most_bytes: int) -> Instant:
        """Choose any instant of a run that takes this long and sends this much."""
        return cls(fault, dice.uniform(0.0, longest_s), dice.randrange(most_bytes))

    def __str__(self) -> str:
        when = f"{self.sent_bytes} bytes" if self.fault is Fault.TRUNCATE else f"{self.seconds:.2f} s"
        return f"{self.fault.value} at {when}"


@dataclass(frozen=True)
class Ended:
    """How a run ended: its exit status (negative: by that signal), what it said, and who went on after it."""

    status: int
    output: str
    orphans: int = 0


def run(site: Path, *arguments: str) -> Ended:
    """Run ``provision`` in a site to its end."""
    done = subprocess.run(
        [*PROVISION, *arguments],
        cwd=site,
        env=ENVIRONMENT | environment(site),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return Ended(done.returncode, done.stdout + done.stderr)


def start(site: Path, output: IO[str]) -> subprocess.Popen[bytes]:
    """Start ``provision apply`` through the proxy, in a process group of its own."""
    return subprocess.Popen(
        [*PROVISION, "apply", "-i", "faulty"],
        cwd=site,
        env=ENVIRONMENT | environment(site),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        process_group=0,
    )


def run_and_interrupt(site: Path, proxy: Proxy, instant: Instant, crash: Crash | None) -> Ended:
    """Start ``provision apply -i faulty`` and let the fault happen; the network is mended afterwards.

    Raises:
        TimeoutError: the run does not end; it was killed.
    """
    proxy.take_counters()
    if instant.fault is Fault.TRUNCATE:
        proxy.set_fault(Network.TRUNCATE, truncate_bytes=instant.sent_bytes)
    with (site / "interrupted.txt").open("w+") as output:
        process = start(site, output)
        try:
            orphans = _strike(process, proxy, instant, crash)
            process.wait(END_LIMIT_S)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"it goes on {END_LIMIT_S:g} s after: {instant}") from None
        finally:
            _kill(_tree(process.pid))
            process.wait()
            proxy.set_fault(Network.NONE)
        output.seek(0)
        return Ended(process.returncode, output.read(), orphans)


def _strike(process: subprocess.Popen[bytes], proxy: Proxy, instant: Instant, crash: Crash | None) -> int:
    """Wait for the instant and do what happens then; return how many processes outlive the command line by far."""
    wait_for_connection(process, proxy)
    if instant.fault is not Fault.TRUNCATE:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(instant.seconds)
    if process.poll() is not None:
        return 0
    match instant.fault:
        case Fault.KILL:
            started = [pid for pid in _tree(process.pid) if pid != process.pid]
            process.kill()
            process.wait()
            return _end_orphans(started)
        case Fault.KILL_ALL:
            _kill(_tree(process.pid))
        case Fault.INTERRUPT:
            # As a terminal does it: to everything in the foreground.
            os.killpg(process.pid, signal.SIGINT)
        case Fault.DROP:
            proxy.set_fault(Network.DROP)
        case Fault.STALL:
            proxy.set_fault(Network.STALL)
            time.sleep(STALL_S)
            proxy.set_fault(Network.NONE)
        case Fault.CRASH if crash is not None:
            crash()
    return 0


def wait_for_connection(process: subprocess.Popen[bytes], proxy: Proxy) -> None:
    """Wait until a run reaches for its first device, or has ended: before, there is nothing to interrupt."""
    while process.poll() is None and not any(counted.connections for counted in proxy.take_counters()):
        time.sleep(0.01)


def _tree(pid: int) -> list[int]:
    return [process.pid for process in procfs.tree(pid, procfs.processes())]


def _kill(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _end_orphans(pids: list[int]) -> int:
    """Give processes a moment to notice that nobody listens any more; kill and count those that do not."""
    deadline = time.monotonic() + ORPHAN_LIMIT_S
    while time.monotonic() < deadline and any((procfs.PROC / str(pid)).exists() for pid in pids):
        time.sleep(0.1)
    left = [pid for pid in pids if (procfs.PROC / str(pid)).exists()]
    _kill(left)
    return len(left)
