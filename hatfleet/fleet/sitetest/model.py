"""What ``provision test`` is made of: checks of a site that need no host, and what they find.

A check is a function that returns how much it looked at and what is wrong. It may also raise input errors: those are
findings, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum

from hatfleet.common.errors import ErrorCollector, ExitCode, HatfleetError, InputErrors, Where


class Verdict(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    WARNING = "warning"
    """Nothing is broken, but something is likely not as it was meant."""
    FAILED = "failed"
    NOT_RUN = "not run"
    """What it needs has failed."""


@dataclass(frozen=True)
class Finding:
    """One thing that a check found."""

    message: str
    hint: str | None = None
    where: Where | None = None
    warning: bool = False


@dataclass(frozen=True)
class Result:
    """What a check looked at, and what it found."""

    count: int
    unit: str
    """What was counted: "recipes"."""
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """A check that has been run."""

    check: str
    inventory: str | None
    """The inventory it was run on; None: the site as a whole."""
    verdict: Verdict
    count: int
    unit: str
    seconds: float
    findings: tuple[Finding, ...]


Check = Callable[[], Result]
Around = Callable[[str], AbstractContextManager[object]]


class SiteTest:
    """Runs checks one after the other and keeps what they found.

    Args:
        around: Called with the name of each check; what it returns is open while the check runs, to show progress.
    """

    def __init__(self, around: Around) -> None:
        self._around = around
        self.outcomes: list[Outcome] = []

    def run(self, name: str, check: Check, inventory: str | None = None) -> bool:
        """Run a check.

        Returns:
            Whether it found nothing that is broken.
        """
        started = time.monotonic()
        with self._around(f"{name} ({inventory})" if inventory else name):
            try:
                result = check()
            except HatfleetError as error:
                result = Result(0, "", findings_of(error))
        seconds = time.monotonic() - started
        verdict = _verdict(result.findings)
        self.outcomes.append(Outcome(name, inventory, verdict, result.count, result.unit, seconds, result.findings))
        return verdict is not Verdict.FAILED

    def skip(self, names: Iterable[str], inventory: str | None, reason: str) -> None:
        """Record checks that cannot be run."""
        found = (Finding(reason, warning=True),)
        self.outcomes += [Outcome(name, inventory, Verdict.NOT_RUN, 0, "", 0.0, found) for name in names]

    @property
    def exit_code(self) -> ExitCode:
        """OK, or BAD_INPUT when a check failed; warnings do not count."""
        failed = any(outcome.verdict is Verdict.FAILED for outcome in self.outcomes)
        return ExitCode.BAD_INPUT if failed else ExitCode.OK


def findings_of(error: HatfleetError) -> tuple[Finding, ...]:
    """Return an error, or each of several, as findings."""
    parts = error.errors if isinstance(error, InputErrors) else (error,)
    return tuple(Finding(part.message, part.hint, part.where) for part in parts)


def each(unit: str, names: Iterable[str], look: Callable[[str], object]) -> Result:
    """Look at every one of some things; the input errors that ``look`` raises are the findings."""
    errors = ErrorCollector()
    count = 0
    for count, name in enumerate(names, 1):  # noqa: B007  # the count is what is wanted
        with errors.collect():
            look(name)
    try:
        errors.check()
    except InputErrors as found:
        return Result(count, unit, findings_of(found))
    return Result(count, unit)


def _verdict(findings: Iterable[Finding]) -> Verdict:
    kinds = {finding.warning for finding in findings}
    if False in kinds:
        return Verdict.FAILED
    return Verdict.WARNING if kinds else Verdict.PASSED
