"""Starts the worker process for a job, follows its events, and makes the report.

The worker is a process of its own because gevent patches everything in it, and so that a crash in it, or a Ctrl-C,
loses neither the report nor the count of hosts.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from hatfleet import __version__
from hatfleet.common.errors import InputError
from hatfleet.common.redact import Redactor
from hatfleet.common.run import end_process_group
from hatfleet.fleet.job import Job
from hatfleet.fleet.results import EVENT, Event, HostFinished, HostReport, HostState, OpFinished, OpResult, RunReport


class _Collector:
    """Collects events into one report per host."""

    def __init__(self, job: Job) -> None:
        self.operations: dict[str, list[OpResult]] = {host.name: [] for host in job.hosts}
        self.finished: dict[str, HostFinished] = {}

    def take(self, event: Event) -> None:
        """Remember what belongs into the report."""
        if isinstance(event, OpFinished):
            self.operations[event.host].append(event.result)
        elif isinstance(event, HostFinished):
            self.finished[event.host] = event

    def hosts(self, otherwise: HostState, error: str) -> tuple[HostReport, ...]:
        """Return the reports; a host that never finished gets the state ``otherwise``."""
        reports = []
        for name, operations in self.operations.items():
            end = self.finished.get(name) or HostFinished(host=name, state=otherwise, error=error, seconds=0.0)
            reports.append(
                HostReport(
                    name=name, state=end.state, error=end.error, seconds=end.seconds, operations=tuple(operations)
                )
            )
        return tuple(reports)


def run_job(
    job: Job, on_event: Callable[[Event], None] = lambda event: None, *, inventory: Sequence[str] = ()
) -> RunReport:
    """Run a job in a worker process and return its report.

    Ctrl-C ends the worker; the report then says which hosts were interrupted.

    Raises:
        InputError: the job cannot be run at all (a role does not load); nothing was touched.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    collector = _Collector(job)
    otherwise, error = HostState.FAILED, "the worker process ended before this host was done"
    with tempfile.TemporaryFile() as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "hatfleet.fleet.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            process_group=0,
        )
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            worker.stdin.write(job.model_dump_json().encode())
            worker.stdin.close()
            for line in worker.stdout:
                event = EVENT.validate_json(line)
                collector.take(event)
                on_event(event)
            worker.wait()
        except KeyboardInterrupt:
            end_process_group(worker)
            otherwise, error = HostState.INTERRUPTED, "interrupted; run the same command again to go on"
        except BaseException:
            end_process_group(worker)
            raise
        log.seek(0)
        # The worker covers secrets itself; what a library of it in C printed, it could not.
        said = Redactor(job.secrets).text(log.read().decode(errors="replace").strip())
    if worker.returncode == InputError.exit_code and not collector.finished:
        message, _, hint = said.partition("\n")
        raise InputError(message, hint=hint or None)
    if worker.returncode != 0 and otherwise is HostState.FAILED:
        error = f"{error} (exit status {worker.returncode}): {said[-1000:]}"
    return RunReport(
        mode=job.mode,
        hatfleet=__version__,
        started=started.isoformat(timespec="seconds"),
        seconds=time.monotonic() - clock,
        inventory=tuple(inventory),
        hosts=collector.hosts(otherwise, error),
    )
