"""Takes a job over the fleet, stage by stage and batch by batch, and makes the report of what happened."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from hatfleet import __version__
from hatfleet.fleet.executors.base import Executor
from hatfleet.fleet.executors.local import LocalExecutor
from hatfleet.fleet.job import HostJob, Job
from hatfleet.fleet.ledger import Ledger
from hatfleet.fleet.results import Event, HostStarted, RunReport, StageReport
from hatfleet.fleet.rollout import Rollout


def run_job(
    job: Job,
    on_event: Callable[[Event], None] = lambda event: None,
    *,
    inventory: Sequence[str] = (),
    rollout: Rollout | None = None,
    executor: Executor | None = None,
) -> RunReport:
    """Run a job and return its report; every host is in it, whatever became of it.

    Ctrl-C lets the workers give up their hosts, a second one ends them at once; the report then says how far each
    host was.

    Args:
        job: What to do, on all hosts.
        on_event: Called with everything that happens, as it happens.
        inventory: Where the hosts come from, for the report.
        rollout: Stages, and how many hosts may fail; by default all hosts at once.
        executor: What runs the batches; by default processes of this machine.

    Raises:
        InputError: the job cannot be run at all (a role does not load); nothing was touched.
    """
    rollout = rollout or Rollout()
    allowed = rollout.max_fail.of(len(job.hosts)) if rollout.max_fail else None
    ledger = Ledger(job.hosts, on_event, allowed)
    started, clock = _now(), time.monotonic()
    stages: list[StageReport] = []
    try:
        with executor or LocalExecutor() as running:
            for hosts in rollout.stages(job.hosts):
                if ledger.stopped:
                    break
                stage_started, stage_clock = _now(), time.monotonic()
                try:
                    running.run(_batches(job, hosts, running.batch_size(len(hosts)), ledger), ledger)
                finally:
                    seconds = time.monotonic() - stage_clock
                    names = tuple(host.name for host in hosts)
                    stages.append(StageReport(started=stage_started, seconds=seconds, hosts=names))
    except KeyboardInterrupt:
        ledger.interrupted = True
    return RunReport(
        mode=job.mode,
        hatfleet=__version__,
        started=started,
        ended=_now(),
        seconds=time.monotonic() - clock,
        inventory=tuple(inventory),
        stopped=ledger.stopped,
        stages=tuple(stages),
        hosts=ledger.hosts(),
    )


def _batches(job: Job, hosts: Sequence[HostJob], size: int, ledger: Ledger) -> Iterator[Job]:
    """Yield the job over one slice of the hosts after the other, until too many hosts have failed."""
    for start in range(0, len(hosts), size):
        if ledger.stopped:
            return
        batch = tuple(hosts[start : start + size])
        for host in batch:
            ledger.event(HostStarted(host=host.name))
        yield job.model_copy(update={"hosts": batch})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
