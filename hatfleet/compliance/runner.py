"""Starts the workers, one per host, and makes one report of what they say."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from hatfleet import __version__
from hatfleet.common.errors import ExitCode, HatfleetError, InputError, InputErrors
from hatfleet.common.redact import Redactor
from hatfleet.common.run import end_process_group
from hatfleet.common.site import Site
from hatfleet.compliance.job import (
    EVENT,
    AnyJob,
    Checked,
    CheckJob,
    Connected,
    Done,
    Listed,
    ListJob,
    Stopped,
)
from hatfleet.compliance.results import (
    ControlResult,
    HostOutcome,
    HostResult,
    Listing,
    Outcome,
    Report,
    outcome_of,
    printable,
)
from hatfleet.fleet.job import HostJob, Message

#: Workers at a time and core: they wait for their devices most of the time.
FORKS_PER_CORE = 4

#: How long a worker may take to end after its last event, seconds.
END_GRACE_S = 5.0


@dataclass(frozen=True)
class Progress:
    """How far a host is."""

    host: str
    done: int
    total: int
    failed: int
    outcome: HostOutcome | None
    """None while its checks run."""


def list_controls(site: Site, roles: Sequence[str]) -> Listing:
    """Return the controls that ``roles`` declare, in order.

    Raises:
        InputErrors: a checks.py does not load, has a test without control id, or an id twice.
        HatfleetError: the worker process died.
    """
    worker = _Worker(ListJob(site=site.root, roles=tuple(roles)))
    try:
        while worker.read():
            pass
        worker.end(grace_s=END_GRACE_S)
    finally:
        worker.end()
    if worker.stopped and worker.stopped.exit_code is ExitCode.BAD_INPUT:
        raise InputErrors(error.input_error() for error in worker.stopped.errors)
    if worker.stopped:
        raise HatfleetError("; ".join(error.message for error in worker.stopped.errors))
    if worker.listing is None:
        raise HatfleetError(f"the checks could not be collected: {worker.how_it_ended()}")
    return worker.listing


def check_jobs(site: Site, hosts: Sequence[HostJob]) -> tuple[CheckJob, ...]:
    """Turn the resolved hosts of an inventory into jobs.

    Raises:
        InputError: a host has no connection.
    """
    for host in hosts:
        if host.connection is None:
            raise InputError(f"host {host.name} has no address to connect to", hint="set ansible_host")
    return tuple(
        CheckJob(name=host.name, site=site.root, roles=host.roles, connection=host.connection) for host in hosts
    )


def check_hosts(
    jobs: Sequence[CheckJob],
    listing: Listing,
    *,
    inventory: Sequence[str] = (),
    forks: int | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Report:
    """Run the checks on all hosts.

    Args:
        jobs: One per host.
        listing: The controls of (at least) the jobs' roles: what must have a result in the end.
        inventory: Where the hosts come from, for the report.
        forks: How many hosts are checked at a time; by default four per core.
        on_progress: Called when a host starts, after each of its controls, and when it ends.

    Ctrl-C ends all workers; the report then holds what was known, and its exit code is 130.
    """
    started = datetime.now(UTC)
    waiting = deque(jobs)
    running: list[_HostRun] = []
    results: dict[str, HostResult] = {}
    limit = forks or FORKS_PER_CORE * (os.cpu_count() or 1)

    def finish(run: _HostRun, *, interrupted: bool = False) -> None:
        results[run.job.name] = result = run.result(interrupted=interrupted)
        on_progress(run.progress(result.outcome))

    try:
        with selectors.DefaultSelector() as selector:
            while waiting or running:
                while waiting and len(running) < limit:
                    job = waiting.popleft()
                    running.append(run := _HostRun(job, _part(listing, job)))
                    selector.register(run.worker.output, selectors.EVENT_READ, run)
                    on_progress(run.progress())
                for key, _ in selector.select():
                    run = key.data
                    if run.worker.read():
                        on_progress(run.progress())
                        continue
                    selector.unregister(run.worker.output)
                    run.worker.end(grace_s=END_GRACE_S)
                    finish(run)
                    running.remove(run)
    except KeyboardInterrupt:
        for run in running:
            run.worker.end()
            finish(run, interrupted=True)
    finally:
        for run in running:
            run.worker.end()
    hosts = tuple(results.get(job.name) or _not_started(job, _part(listing, job)) for job in jobs)
    return Report(started, datetime.now(UTC), tuple(inventory), __version__, hosts)


def _part(listing: Listing, job: CheckJob) -> Listing:
    part = listing.of_roles(role.name for role in job.roles)
    return part.offline() if job.rootfs else part


def _not_started(job: CheckJob, listing: Listing) -> HostResult:
    return HostResult(
        name=job.name,
        outcome=HostOutcome.INTERRUPTED,
        reason="stopped by Ctrl-C before its first control",
        hint="",
        image=None,
        planned=len(listing.controls),
        controls=(),
        unchecked_roles=listing.unchecked_roles,
        seconds=0.0,
    )


class _HostRun:
    """The check of one host while it runs."""

    def __init__(self, job: CheckJob, listing: Listing) -> None:
        self.job = job
        self._listing = listing
        self._started_s = time.monotonic()
        self.worker = _Worker(job)

    def progress(self, outcome: HostOutcome | None = None) -> Progress:
        """Say how far it is."""
        results = self.worker.results
        failed = sum(1 for result in results if result.outcome in (Outcome.FAILED, Outcome.ERROR))
        return Progress(self.job.name, len(results), len(self._listing.controls), failed, outcome)

    def result(self, *, interrupted: bool) -> HostResult:
        """Say how it ended, once the worker has."""
        outcome, reason, hint = self._verdict(interrupted=interrupted)
        return HostResult(
            name=self.job.name,
            outcome=outcome,
            reason=reason,
            hint=hint,
            image=self.worker.image,
            planned=len(self._listing.controls),
            controls=tuple(self.worker.results),
            unchecked_roles=self._listing.unchecked_roles,
            seconds=time.monotonic() - self._started_s,
        )

    def _verdict(self, *, interrupted: bool) -> tuple[HostOutcome, str, str]:
        """Return outcome, reason and hint. Only a worker that did its whole job may give a pass."""
        worker, planned = self.worker, self._listing.controls
        progress = f"after {len(worker.results)} of {len(planned)} controls"
        if worker.stopped:
            unreachable = worker.stopped.exit_code is ExitCode.UNREACHABLE
            errors = [error.input_error() for error in worker.stopped.errors]
            reason = "; ".join(str(error) for error in errors) + (f" ({progress})" if worker.results else "")
            hint = next((error.hint for error in errors if error.hint), "")
            return HostOutcome.UNREACHABLE if unreachable else HostOutcome.ERROR, reason, hint
        if not worker.done and interrupted:
            return HostOutcome.INTERRUPTED, f"stopped by Ctrl-C {progress}", ""
        if not worker.done:
            return HostOutcome.ERROR, f"{worker.how_it_ended()}, {progress}", ""
        if not planned:
            return HostOutcome.ERROR, "nothing was checked: none of its roles has a checks.py", ""
        missing = {control.id for control in planned} - {result.id for result in worker.results}
        if missing:
            return HostOutcome.ERROR, f"no result for {', '.join(sorted(missing))}", ""
        return outcome_of(worker.results), "", ""


class _Worker:
    """A worker process and what it has said so far."""

    def __init__(self, job: AnyJob) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker
        # -P: the working directory is the user's; no module is to come from there by accident.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "hatfleet.compliance.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=_environment(),
            process_group=0,
        )
        assert self._process.stdin and self._process.stdout
        self.output = self._process.stdout
        self._redact = Redactor(job.secrets if isinstance(job, CheckJob) else ()).text
        self._partial = b""
        self.listing: Listing | None = None
        self.image: str | None = None
        self.results: list[ControlResult] = []
        self.stopped: Stopped | None = None
        self.done = False
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(job.model_dump_json().encode())
            self._process.stdin.close()

    def read(self) -> bool:
        """Take in what has come; false at the end of the output."""
        chunk = os.read(self.output.fileno(), 65536)
        *lines, self._partial = (self._partial + chunk).split(b"\n")
        for line in lines:
            self._take(EVENT.validate_json(line))
        return bool(chunk)

    def _take(self, event: Message) -> None:
        match event:
            case Listed():
                self.listing = event.listing
            case Connected():
                self.image = event.image
            case Checked():
                self.results.append(event.result)
            case Stopped():
                self.stopped = event
            case Done():
                self.done = True

    def end(self, grace_s: float = 0.0) -> None:
        """End the process and everything it started, after giving it ``grace_s`` seconds to end by itself.

        What it said until then is taken in.
        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(grace_s)
        if self._process.returncode is None:
            end_process_group(self._process)
        if not self.output.closed:
            os.set_blocking(self.output.fileno(), False)
            # Something that left the group may hold the other end open: then there is no end of the output.
            with contextlib.suppress(BlockingIOError):
                while self.read():
                    pass
            self.output.close()

    def how_it_ended(self) -> str:
        """Say how the process ended, with the last line it printed for people."""
        code = self._process.wait()
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit status {code}"
        self._stderr.seek(0)
        said = self._redact(self._stderr.read().decode(errors="replace")).strip().splitlines()
        return f"the worker process ended {how}" + (f" ({printable(said[-1])})" if said else "")


def _environment() -> dict[str, str]:
    """Return the worker's environment: nothing in the user's may change what a check means."""
    # PYTHONOPTIMIZE drops assert statements, testinfra's own among them; PYTEST_* adds options and plugins.
    return {
        name: value for name, value in os.environ.items() if name != "PYTHONOPTIMIZE" and not name.startswith("PYTEST_")
    }
