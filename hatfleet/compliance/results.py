"""What the checks found: data first, rendered elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydantic import TypeAdapter

from hatfleet.common.errors import ExitCode, worst
from hatfleet.compliance.marks import Needs


class Outcome(StrEnum):
    """How one control ended on one host."""

    PASSED = "passed"
    FAILED = "failed"
    """The device is not as it must be."""
    NOT_APPLICABLE = "not-applicable"
    """The guarantee has no meaning on this device; never counted as a pass."""
    ERROR = "error"
    """The check itself broke: nothing is proven, which counts as a failure."""


class HostOutcome(StrEnum):
    """How a host ended."""

    PASSED = "passed"
    NOT_APPLICABLE = "not-applicable"
    """Not one control applied to this device."""
    FAILED = "failed"
    """At least one control failed or broke."""
    ERROR = "error"
    """The controls could not all be run."""
    UNREACHABLE = "unreachable"
    INTERRUPTED = "interrupted"
    """Ctrl-C came before all controls were run."""


_EXIT = {
    HostOutcome.PASSED: ExitCode.OK,
    HostOutcome.NOT_APPLICABLE: ExitCode.OK,
    HostOutcome.FAILED: ExitCode.CHECK_FAILED,
    HostOutcome.ERROR: ExitCode.CHECK_FAILED,
    HostOutcome.UNREACHABLE: ExitCode.UNREACHABLE,
    HostOutcome.INTERRUPTED: ExitCode.INTERRUPTED,
}


@dataclass(frozen=True)
class Control:
    """A guarantee of a role that a check proves."""

    id: str
    title: str
    refs: tuple[str, ...]
    role: str
    needs: Needs | None
    """``boot``: it can be judged on a running system only."""


@dataclass(frozen=True)
class ControlResult(Control):
    """A control as found on one host."""

    outcome: Outcome
    message: str
    """What was found and what is wanted, or why it is not applicable; empty for a pass."""
    seconds: float


@dataclass(frozen=True)
class Listing:
    """The controls that some roles declare, in the order in which they run."""

    controls: tuple[Control, ...]
    unchecked_roles: tuple[str, ...]
    """Roles that have no checks.py: nothing of theirs is proven."""

    def of_roles(self, roles: Iterable[str]) -> Listing:
        """Return the part of the listing that belongs to ``roles``."""
        wanted = set(roles)
        return Listing(
            tuple(control for control in self.controls if control.role in wanted),
            tuple(role for role in self.unchecked_roles if role in wanted),
        )

    def offline(self) -> Listing:
        """Return the part that can be judged on a root file system which is not booted."""
        return Listing(tuple(control for control in self.controls if control.needs is None), self.unchecked_roles)


@dataclass(frozen=True)
class HostResult:
    """All that was found on one host."""

    name: str
    outcome: HostOutcome
    reason: str
    """Why not all controls were run; empty when they were."""
    hint: str
    """What to do about the reason."""
    image: str | None
    """The image the device was booted from, when it says so."""
    planned: int
    """How many controls were to be run."""
    controls: tuple[ControlResult, ...]
    unchecked_roles: tuple[str, ...]
    seconds: float

    def count(self, *outcomes: Outcome) -> int:
        """Return how many controls ended in one of ``outcomes``."""
        return sum(1 for result in self.controls if result.outcome in outcomes)


@dataclass(frozen=True)
class Report:
    """A whole check run. Times are UTC."""

    started: datetime
    finished: datetime
    inventory: tuple[str, ...]
    hatfleet: str
    """The version of hatfleet that ran the checks."""
    hosts: tuple[HostResult, ...]

    @property
    def exit_code(self) -> ExitCode:
        """The exit code that the run ends with; a run without hosts proves nothing and fails."""
        if not self.hosts:
            return ExitCode.CHECK_FAILED
        return worst(_EXIT[host.outcome] for host in self.hosts)


def outcome_of(results: Iterable[ControlResult]) -> HostOutcome:
    """Return the outcome of a host on which all planned controls were run."""
    seen = {result.outcome for result in results}
    if not seen:
        return HostOutcome.ERROR
    if seen & {Outcome.FAILED, Outcome.ERROR}:
        return HostOutcome.FAILED
    return HostOutcome.PASSED if Outcome.PASSED in seen else HostOutcome.NOT_APPLICABLE


def report_json(report: Report) -> str:
    """Return the report as JSON, with the exit code it stands for."""
    data = TypeAdapter(Report).dump_python(report, mode="json")
    return json.dumps({"exit_code": int(report.exit_code), **data}, indent=2, ensure_ascii=False)


def listing_json(listing: Listing) -> str:
    """Return a listing as JSON."""
    return json.dumps(TypeAdapter(Listing).dump_python(listing, mode="json"), indent=2, ensure_ascii=False)


def printable(text: str) -> str:
    """Replace what a terminal would obey or XML forbids: a device's output is shown, never executed."""
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode() for char in text
    )
