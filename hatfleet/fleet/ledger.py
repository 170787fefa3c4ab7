"""The books of a run: what happened on each host, and how many have failed. No failure is lost here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hatfleet.common.errors import HatfleetError, InputError
from hatfleet.fleet.job import HostJob, Job
from hatfleet.fleet.results import (
    SETTLED,
    Connected,
    Event,
    HostFinished,
    HostReport,
    HostStarted,
    HostState,
    OpFinished,
    OpResult,
    OpStarted,
    Status,
)

#: The states that count for ``--max-fail``.
_FAILURES = (HostState.FAILED, HostState.UNREACHABLE)


@dataclass
class _Record:
    """What is known of one host."""

    started: bool = False
    connected: bool = False
    doing: str = ""
    operations: list[OpResult] = field(default_factory=list)
    done_before: dict[tuple[str, str, str], OpResult] = field(default_factory=dict)
    """What an earlier worker changed, when another one took the host over."""
    end: HostFinished | None = None

    def connect(self) -> None:
        """Begin with the host, or begin again."""
        if self.connected:
            changed = (result for result in self.operations if result.status is Status.CHANGED)
            self.done_before |= {(result.role, result.half, result.name): result for result in changed}
            self.operations = []
        self.connected = True

    def finish_operation(self, result: OpResult) -> None:
        """Add a result; what was changed in this run stays changed, though it is found as declared later."""
        before = self.done_before.pop((result.role, result.half, result.name), None)
        self.operations.append(before if before is not None and result.status is Status.OK else result)
        self.doing = ""

    def finish(self, end: HostFinished) -> None:
        """Note how the host ended; of two ends the worse one stands."""
        if self.end is not None and self.end.state not in SETTLED:
            return
        if end.state is HostState.OK and any(result.status is Status.CHANGED for result in self.operations):
            end = end.model_copy(update={"state": HostState.CHANGED})
        self.end = end

    def how_far(self) -> str:
        """Say where the host was left."""
        if not self.started:
            return "before it was started"
        if not self.connected:
            return "before it was reached"
        after = f"after {len(self.operations)} operations"
        return f"during {self.doing}, {after}" if self.doing else after


class Ledger:
    """Listens to an executor.

    Args:
        hosts: All hosts of the run.
        on_event: Told everything, in turn.
        allowed: How many hosts may fail; None for any number.
    """

    def __init__(self, hosts: Sequence[HostJob], on_event: Callable[[Event], None], allowed: int | None) -> None:
        self._records = {host.name: _Record() for host in hosts}
        self._on_event = on_event
        self._allowed = allowed
        self._failed: set[str] = set()
        # With nothing to change, a thousand hosts have the same few results: they are kept once.
        self._same: dict[OpResult, OpResult] = {}
        self.interrupted = False

    @property
    def stopped(self) -> str:
        """Why no further host may be started; empty when they may."""
        if self._allowed is None or len(self._failed) <= self._allowed:
            return ""
        return (
            f"{len(self._failed)} of {len(self._records)} hosts failed, "
            f"--max-fail allows {self._allowed}: no further host was started"
        )

    def event(self, event: Event) -> None:
        """Enter an event, and pass it on."""
        record = self._records[event.host]
        match event:
            case HostStarted():
                record.started = True
            case Connected():
                record.connect()
            case OpStarted(role=role, name=name):
                record.doing = f"{role}: {name}"
            case OpFinished(result=result):
                record.finish_operation(self._same.setdefault(result, result) if result.seconds == 0 else result)
            case HostFinished(state=state):
                record.finish(event)
                if state in _FAILURES:
                    self._failed.add(event.host)
        self._on_event(event)

    def lost(self, batch: Job, error: HatfleetError) -> None:
        """Enter that a batch's worker is gone: those of its hosts that were not done have failed.

        Raises:
            InputError: the job cannot be run, and no host has been touched.
        """
        if isinstance(error, InputError) and not any(
            record.connected or record.end for record in self._records.values()
        ):
            raise error
        for host in batch.hosts:
            record = self._records[host.name]
            if record.end is None:
                reason = f"{error}, {record.how_far()}"
                self.event(HostFinished(host=host.name, state=HostState.FAILED, error=reason, seconds=0.0))

    def hosts(self) -> tuple[HostReport, ...]:
        """Return a report for every host."""
        return tuple(self._report(name, record) for name, record in self._records.items())

    def _report(self, name: str, record: _Record) -> HostReport:
        end = record.end or self._not_done(name, record)
        return HostReport(
            name=name, state=end.state, error=end.error, seconds=end.seconds, operations=tuple(record.operations)
        )

    def _not_done(self, name: str, record: _Record) -> HostFinished:
        if self.interrupted:
            error = f"interrupted {record.how_far()}; run the same command again to go on"
            return HostFinished(host=name, state=HostState.INTERRUPTED, error=error, seconds=0.0)
        if self.stopped and not record.started:
            return HostFinished(host=name, state=HostState.SKIPPED, error="not started: too many failed", seconds=0.0)
        return HostFinished(host=name, state=HostState.FAILED, error="no worker said how it ended", seconds=0.0)
