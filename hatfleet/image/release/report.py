"""What a verification found: one check a guarantee, and all of them, not only the first that failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from hatfleet.common.errors import ExitCode, HatfleetError, MissingToolError


class Outcome(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True)
class Check:
    """A guarantee, and whether it holds."""

    subject: str
    """The file, or the partition, that it is about."""
    guarantee: str
    outcome: Outcome
    message: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Report:
    """A verified release."""

    release: str
    """Name and version; the folder when the manifest could not be read."""
    folder: Path
    key: Path | None
    """The public key that signatures were held against."""
    checks: tuple[Check, ...]

    @property
    def exit_code(self) -> ExitCode:
        """CHECK_FAILED when any check failed."""
        failed = any(check.outcome is Outcome.FAILED for check in self.checks)
        return ExitCode.CHECK_FAILED if failed else ExitCode.OK

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "release": self.release,
            "folder": str(self.folder),
            "key": str(self.key) if self.key else None,
            "ok": self.exit_code is ExitCode.OK,
            "checks": [
                {
                    "subject": check.subject,
                    "guarantee": check.guarantee,
                    "outcome": check.outcome.value,
                    "message": check.message,
                    "hint": check.hint,
                }
                for check in self.checks
            ],
        }


@dataclass
class Checks:
    """Gathers checks."""

    found: list[Check] = field(default_factory=list)

    @contextmanager
    def check(self, subject: str, guarantee: str) -> Iterator[None]:
        """Run a block that raises when the guarantee does not hold; the error is kept, and the next block runs."""
        try:
            yield
        except MissingToolError:
            raise
        except HatfleetError as error:
            self.add(subject, guarantee, Outcome.FAILED, error.message, error.hint or "")
        except OSError as error:
            self.add(subject, guarantee, Outcome.FAILED, f"cannot be read: {(error.strerror or str(error)).lower()}")
        else:
            self.add(subject, guarantee, Outcome.PASSED)

    def add(self, subject: str, guarantee: str, outcome: Outcome, message: str = "", hint: str = "") -> None:
        """Keep a check."""
        self.found.append(Check(subject, guarantee, outcome, message, hint))

    def passed(self, subject: str, guarantee: str) -> bool:
        """Whether a check was made and passed."""
        return any(
            (one.subject, one.guarantee, one.outcome) == (subject, guarantee, Outcome.PASSED) for one in self.found
        )
