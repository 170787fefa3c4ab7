"""How ``provision test`` looks: a line per check, and below what was found."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hatfleet.cli.inventory_view import print_table, short, wide_console
from hatfleet.common.errors import Where
from hatfleet.fleet.sitetest.model import Finding, SiteTest, Verdict

_MARKS = {
    Verdict.PASSED: ("✓", "green"),
    Verdict.WARNING: ("!", "yellow"),
    Verdict.FAILED: ("✗", "red"),
    Verdict.NOT_RUN: ("-", "dim"),
}


def print_outcomes(test: SiteTest) -> None:
    """Print the table of checks, then everything found, broken things last."""
    console = wide_console()
    table = Table(box=None, pad_edge=False)
    for heading in ("", "check", "inventory", "result"):
        table.add_column(heading)
    table.add_column("count", justify="right")
    table.add_column("")
    table.add_column("seconds", justify="right")
    for outcome in test.outcomes:
        mark, style = _MARKS[outcome.verdict]
        counted = str(outcome.count) if outcome.unit else ""
        verdict = Text(outcome.verdict.value, style)
        table.add_row(
            Text(mark, style),
            outcome.check,
            Text(outcome.inventory or ""),
            verdict,
            counted,
            outcome.unit or next((finding.message for finding in outcome.findings if finding.warning), ""),
            f"{outcome.seconds:.1f}",
        )
    print_table(console, table)
    found = [
        (outcome.check, finding)
        for outcome in test.outcomes
        if outcome.verdict is not Verdict.NOT_RUN
        for finding in outcome.findings
    ]
    for check, finding in sorted(found, key=lambda entry: not entry[1].warning):
        _print_finding(console, check, finding)
    errors = sum(not finding.warning for _, finding in found)
    console.print(_summary(errors, len(found) - errors))


def _print_finding(console: Console, check: str, finding: Finding) -> None:
    kind, style = ("warning", "bold yellow") if finding.warning else ("error", "bold red")
    place = f"{_place(finding.where)}: " if finding.where else ""
    console.print(Text.assemble((f"{kind}: ", style), f"{check}: {place}{finding.message}"))
    if finding.hint:
        console.print(Text.assemble(("  hint: ", "bold"), finding.hint))


def _place(where: Where) -> str:
    if where.file is None:
        return str(where)
    return short(where.file) + str(where).removeprefix(str(where.file))


def _summary(errors: int, warnings: int) -> Text:
    if errors:
        return Text(f"{errors} wrong, {warnings} to look at; no host was contacted", "bold red")
    return Text(f"nothing is wrong, {warnings} to look at; no host was contacted", "bold green")


def outcomes_json(test: SiteTest) -> dict[str, Any]:
    """Return the same as data."""
    return {
        "exit_code": int(test.exit_code),
        "checks": [
            {
                "check": outcome.check,
                "inventory": outcome.inventory,
                "verdict": outcome.verdict.value,
                "count": outcome.count,
                "unit": outcome.unit,
                "seconds": round(outcome.seconds, 3),
                "findings": [_finding_json(finding) for finding in outcome.findings],
            }
            for outcome in test.outcomes
        ],
    }


def _finding_json(finding: Finding) -> dict[str, Any]:
    where = finding.where or Where()
    return {
        "warning": finding.warning,
        "message": finding.message,
        "hint": finding.hint,
        "file": str(where.file) if where.file else None,
        "line": where.line,
        "key": where.key,
    }
