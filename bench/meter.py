"""What a command costs the machine that runs it: time, processor time and memory of everything it starts.

The command runs under a process of its own (``python -m bench.meter``) that adopts what the command leaves behind,
such as the SSH masters of Ansible, ends it when the command has ended, and so counts it too.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import procfs

#: Time between two looks at the memory, seconds. A look costs about as much as one of the measured ``fork``s.
SAMPLE_S = 0.2
#: From <linux/prctl.h>.
PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Usage:
    """What a command used."""

    exit_code: int
    wall_s: float
    """From its start to its end; what it leaves behind is not waited for."""
    cpu_s: float
    """User and system time of it and all its descendants, those it leaves behind included."""
    peak_pss_bytes: int
    """The most that it and its descendants held at one of the samples."""


def measure(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], output: Path) -> Usage:
    """Run a command, its output into a file, and return what it used.

    Raises:
        CalledProcessError: the command could not be started.
    """
    root = Path(__file__).resolve().parents[1]
    job = json.dumps({"argv": list(argv), "cwd": str(cwd), "env": dict(env), "output": str(output)})
    done = subprocess.run(
        [sys.executable, "-m", "bench.meter"], input=job, capture_output=True, text=True, cwd=root, check=False
    )
    if done.returncode != 0:
        raise subprocess.CalledProcessError(done.returncode, argv, done.stdout, done.stderr)
    return Usage(**json.loads(done.stdout))


def _run(job: Mapping[str, object], argv: list[str], env: dict[str, str]) -> Usage:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    peak = 0
    started = time.monotonic()
    with Path(str(job["output"])).open("wb") as output:
        process = subprocess.Popen(
            argv, cwd=str(job["cwd"]), env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    while True:
        peak = max(peak, procfs.pss_bytes(_descendants()))
        try:
            exit_code = process.wait(SAMPLE_S)
            break
        except subprocess.TimeoutExpired:
            continue
    wall = time.monotonic() - started
    _end_leftovers()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Usage(exit_code, wall, used.ru_utime + used.ru_stime, peak)


def _descendants() -> list[int]:
    return [process.pid for process in procfs.tree(os.getpid(), procfs.processes()) if process.pid != os.getpid()]


def _end_leftovers() -> None:
    """End and reap everything that the command left; what ignores SIGTERM for two seconds is killed."""
    deadline = time.monotonic() + 2
    told: set[int] = set()
    while left := _descendants():
        late = time.monotonic() > deadline
        for pid in left:
            if late or pid not in told:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
                told.add(pid)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.01)


def main() -> None:
    """Run the job on standard input and print what it used as JSON."""
    job = json.load(sys.stdin)
    print(json.dumps(asdict(_run(job, job["argv"], job["env"]))))


if __name__ == "__main__":
    main()
