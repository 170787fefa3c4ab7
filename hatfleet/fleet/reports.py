"""Run reports as they are kept: a file per run, the newest hundred; what two of them differ in."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from hatfleet.common.errors import InputError, Where, nearest
from hatfleet.common.files import write_atomic
from hatfleet.common.paths import state_dir
from hatfleet.fleet.job import Mode
from hatfleet.fleet.results import HostReport, HostState, OpResult, RunReport, Status

#: How many reports are kept.
KEPT_REPORTS = 100

#: Stands for the id of the newest report.
LATEST = "latest"


class ReportStore:
    """The folder of run reports. A report's id is its file's name: time (UTC) and mode, so that ids sort by time."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or state_dir() / "runs"

    def keep(self, report: RunReport) -> str:
        """Write a report, drop the oldest ones beyond the newest hundred, and return its id."""
        identity = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{report.mode.value}"
        write_report(self.path(identity), report)
        for old in self.ids()[KEPT_REPORTS:]:
            self.path(old).unlink(missing_ok=True)
        return identity

    def path(self, identity: str) -> Path:
        """Return the file of a report."""
        return self._folder / f"{identity}.json"

    def ids(self) -> list[str]:
        """Return the ids of all reports, the newest first."""
        return sorted((path.stem for path in self._folder.glob("*.json")), reverse=True)

    def load(self, identity: str) -> RunReport:
        """Read a report, by its id or the beginning of one, or as ``latest``.

        Raises:
            InputError: there is no such report, or this version cannot read it.
        """
        path = self.path(self._full(identity))
        try:
            return RunReport.model_validate_json(path.read_bytes())
        except (ValidationError, OSError) as error:
            raise InputError(
                "this is not a run report that this version can read",
                where=Where(path),
                hint="remove the file if another version of hatfleet wrote it",
            ) from error

    def _full(self, identity: str) -> str:
        ids = self.ids()
        if not ids:
            raise InputError("there is no run report yet", hint="provision apply writes one")
        if identity == LATEST:
            return ids[0]
        found = [known for known in ids if known.startswith(identity)] if identity else []
        if identity in found or len(found) == 1:
            return identity if identity in found else found[0]
        if found:
            raise InputError(f"{identity!r} is the beginning of {len(found)} run reports", hint="see: report list")
        close = nearest(identity, ids)
        raise InputError(
            f"there is no run report {identity!r}",
            hint=f"did you mean {close}?" if close else f"it is {LATEST!r}, or one of: provision report list",
        )


def write_report(path: Path, report: RunReport) -> None:
    """Write a report as JSON, for the user's eyes only."""
    write_atomic(path, report.model_dump_json(indent=2) + "\n", mode=0o600)


@dataclass(frozen=True)
class RunSummary:
    """A run in one line. ``states`` counts its hosts by how they ended."""

    id: str
    mode: Mode
    started: str
    seconds: float
    exit_code: int
    states: dict[HostState, int]


def summary(identity: str, report: RunReport) -> RunSummary:
    """Return a report in one line."""
    states = Counter(host.state for host in report.hosts)
    return RunSummary(identity, report.mode, report.started, report.seconds, report.exit_code.value, dict(states))


@dataclass(frozen=True)
class OperationTime:
    """What one operation took over all hosts that executed it, seconds."""

    role: str
    name: str
    hosts: int
    total_s: float
    longest_s: float
    longest_host: str


def operation_times(report: RunReport) -> list[OperationTime]:
    """Return the operations that took any time, those first that took the most in all."""
    times: dict[tuple[str, str], list[tuple[float, str]]] = defaultdict(list)
    for host in report.hosts:
        for operation in host.operations:
            if operation.seconds > 0:
                times[operation.role, operation.name].append((operation.seconds, host.name))
    rows = [
        OperationTime(role, name, len(spent), sum(seconds for seconds, _ in spent), *max(spent))
        for (role, name), spent in times.items()
    ]
    return sorted(rows, key=lambda row: -row.total_s)


@dataclass(frozen=True)
class HostDifference:
    """How a host ended in each of two runs; None where it took no part."""

    host: str
    before: HostState | None
    after: HostState | None


@dataclass(frozen=True)
class OperationDifference:
    """An operation that changed something on a host in one of two runs only."""

    host: str
    role: str
    name: str
    changed_before: bool


@dataclass(frozen=True)
class ReportDifference:
    """What differs between two runs. ``time_ratio`` is the seconds of the second through those of the first."""

    hosts: tuple[HostDifference, ...]
    operations: tuple[OperationDifference, ...]
    time_ratio: float | None


def compare(before: RunReport, after: RunReport) -> ReportDifference:
    """Return what differs between two runs."""
    first, second = ({host.name: host for host in report.hosts} for report in (before, after))
    hosts, operations = [], []
    for name in dict.fromkeys((*first, *second)):
        old, new = first.get(name), second.get(name)
        if old is None or new is None or old.state is not new.state:
            hosts.append(HostDifference(name, old.state if old else None, new.state if new else None))
        changed_before, changed_after = _changed(old), _changed(new)
        operations += [
            OperationDifference(name, role, operation, (role, operation) in changed_before)
            for role, operation in dict.fromkeys((*changed_before, *changed_after))
            if (role, operation) not in changed_before or (role, operation) not in changed_after
        ]
    ratio = after.seconds / before.seconds if before.seconds > 0 else None
    return ReportDifference(tuple(hosts), tuple(operations), ratio)


def _changed(host: HostReport | None) -> dict[tuple[str, str], OpResult]:
    operations: Iterable[OpResult] = host.operations if host else ()
    return {(op.role, op.name): op for op in operations if op.status is Status.CHANGED}
