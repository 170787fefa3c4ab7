"""What happened: the events a worker sends while it works, and the report made of them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from hatfleet.common.errors import ExitCode, worst
from hatfleet.fleet.job import Message, Mode


class Change(Message):
    """One thing that an operation changes."""

    target: str
    """A path, unit, package, account or other name."""
    what: str
    """What differs, for people: "content, mode 0644 → 0600"."""
    diff: str = ""
    """A unified diff, for files whose content may be shown."""


class Status(StrEnum):
    """How an operation ended, or in a plan would end."""

    OK = "ok"
    CHANGED = "changed"
    FAILED = "failed"
    NEEDS_IMAGE = "needs-image"
    """It differs, and belongs to the read-only image of a sealed device."""


class OpResult(Message):
    """An operation on a host: done, or in a plan predicted."""

    role: str
    half: str
    name: str
    status: Status
    changes: tuple[Change, ...] = ()
    error: str = ""
    seconds: float = 0.0


class HostState(StrEnum):
    """How a host ended."""

    OK = "ok"
    CHANGED = "changed"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    NEEDS_IMAGE = "needs-image"
    INTERRUPTED = "interrupted"
    SKIPPED = "skipped"
    """Not started, because too many other hosts had failed (``--max-fail``)."""
    LOCKED = "locked"
    """Not touched, because another operator holds the lease on the host."""


#: The states of a host that another run would not bring any further.
SETTLED = frozenset({HostState.OK, HostState.CHANGED, HostState.NEEDS_IMAGE})

_HOST_EXIT = {
    HostState.OK: ExitCode.OK,
    HostState.CHANGED: ExitCode.OK,
    HostState.FAILED: ExitCode.FAILED,
    HostState.UNREACHABLE: ExitCode.UNREACHABLE,
    HostState.NEEDS_IMAGE: ExitCode.NEEDS_IMAGE,
    HostState.INTERRUPTED: ExitCode.INTERRUPTED,
    HostState.SKIPPED: ExitCode.FAILED,
    HostState.LOCKED: ExitCode.FAILED,
}


def host_exit_code(state: HostState) -> ExitCode:
    """Return the exit code that a host in this state asks for."""
    return _HOST_EXIT[state]


class HostStarted(Message):
    """A host was handed to a worker, which will connect to it."""

    event: Literal["host-started"] = "host-started"
    host: str


class Connected(Message):
    """A host answered and let us in."""

    event: Literal["connected"] = "connected"
    host: str


class Prepared(Message):
    """A host's state was read; ``operations`` of them will run (0 when all is as declared)."""

    event: Literal["prepared"] = "prepared"
    host: str
    operations: int


class OpStarted(Message):
    """An operation starts."""

    event: Literal["op-started"] = "op-started"
    host: str
    role: str
    name: str


class OpFinished(Message):
    """An operation ended; in a plan: is predicted."""

    event: Literal["op-finished"] = "op-finished"
    host: str
    result: OpResult


class HostFinished(Message):
    """A host is done; nothing more comes for it."""

    event: Literal["host-finished"] = "host-finished"
    host: str
    state: HostState
    error: str = ""
    seconds: float


class JobFinished(Message):
    """A worker is done with a job and waits for the next; with ``error`` when the job could not be run at all."""

    event: Literal["job-finished"] = "job-finished"
    error: str = ""
    hint: str | None = None
    exit_code: ExitCode = ExitCode.OK


Event = Annotated[
    HostStarted | Connected | Prepared | OpStarted | OpFinished | HostFinished, Field(discriminator="event")
]

#: A line of a worker's output.
WORKER_LINE: TypeAdapter[Event | JobFinished] = TypeAdapter(
    Annotated[
        HostStarted | Connected | Prepared | OpStarted | OpFinished | HostFinished | JobFinished,
        Field(discriminator="event"),
    ]
)


class HostReport(Message):
    """All that happened on one host."""

    name: str
    state: HostState
    error: str = ""
    seconds: float = 0.0
    operations: tuple[OpResult, ...] = ()

    def count(self, status: Status) -> int:
        """Return how many operations ended so."""
        return sum(1 for operation in self.operations if operation.status is status)


class StageReport(Message):
    """One stage of a rollout: the hosts that were started together. ``started`` is UTC, ISO 8601."""

    started: str
    seconds: float
    hosts: tuple[str, ...]


class RunReport(Message):
    """A whole run. ``started`` and ``ended`` are UTC, ISO 8601."""

    event: Literal["report"] = "report"
    mode: Mode
    hatfleet: str
    started: str
    ended: str
    seconds: float
    inventory: tuple[str, ...] = ()
    stopped: str = ""
    """Why hosts were skipped; empty when none were."""
    stages: tuple[StageReport, ...] = ()
    hosts: tuple[HostReport, ...]

    @property
    def exit_code(self) -> ExitCode:
        """The exit code that this run ends with."""
        return worst(host_exit_code(host.state) for host in self.hosts)

    @property
    def failed_hosts(self) -> tuple[str, ...]:
        """Names of the hosts that want another run, in the order of this one."""
        return tuple(host.name for host in self.hosts if host.state not in SETTLED)


#: A line of ``provision apply --json``: an event, and at the end the report.
OUTPUT_LINE: TypeAdapter[Event | RunReport] = TypeAdapter(Event | RunReport)
