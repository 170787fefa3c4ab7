"""The report of a hardware test: data first, and the same as text."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from hatfleet import __version__
from hatfleet.acceptance.hardware.evidence import Evidence
from hatfleet.acceptance.hardware.points import PointResult
from hatfleet.common.errors import ExitCode
from hatfleet.common.files import write_atomic
from hatfleet.compliance.results import Outcome, printable

_MARKS = {Outcome.PASSED: "✓", Outcome.FAILED: "✗", Outcome.NOT_APPLICABLE: "○"}


@dataclass(frozen=True)
class HardwareReport:
    """What was proved on a device, and by what."""

    host: str
    started: datetime
    finished: datetime
    points: tuple[PointResult, ...]
    evidence: Evidence

    def count(self, outcome: Outcome) -> int:
        """Return how many points ended so."""
        return sum(point.outcome is outcome for point in self.points)

    @property
    def exit_code(self) -> ExitCode:
        """Failed when a point failed; inconclusive when none applied, as on a virtual device."""
        if self.count(Outcome.FAILED):
            return ExitCode.CHECK_FAILED
        return ExitCode.OK if self.count(Outcome.PASSED) else ExitCode.INCONCLUSIVE


def report_data(report: HardwareReport) -> dict[str, Any]:
    """Return the report as plain data."""
    data: dict[str, Any] = TypeAdapter(HardwareReport).dump_python(report, mode="json")
    return {"exit_code": int(report.exit_code), "hatfleet": __version__, **data}


def report_json(report: HardwareReport) -> str:
    """Return the report as JSON."""
    return json.dumps(report_data(report), indent=2, ensure_ascii=False)


def report_text(report: HardwareReport) -> str:
    """Return the report for people: a line a point, and what was seen below it."""
    lines = [f"hardware test of {report.host}, {report.started:%Y-%m-%d %H:%M} UTC, hatfleet {__version__}"]
    for point in report.points:
        lines.append(f"  {_MARKS[point.outcome]} {point.id} {point.title} [{point.outcome.value}]")
        lines.append(f"      {printable(point.seen)}")
    counts = (f"{report.count(outcome)} {outcome.value}" for outcome in _MARKS)
    lines.append(", ".join(counts))
    if report.exit_code is ExitCode.INCONCLUSIVE:
        lines.append("nothing was proved: no point applies to this device")
    return "\n".join(lines) + "\n"


def save(report: HardwareReport, file: Path) -> Path:
    """Write the report as JSON, and beside it as text; return the text's path."""
    text = file.with_suffix(".txt")
    write_atomic(file, report_json(report) + "\n")
    write_atomic(text, report_text(report))
    return text
