"""How a check looks: a live table while it runs, findings and a summary when it is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hatfleet.cli.live_view import LiveView
from hatfleet.common.progress import console as progress_console
from hatfleet.compliance.results import ControlResult, HostOutcome, HostResult, Listing, Outcome, Report
from hatfleet.compliance.runner import Progress

MARKS = {
    Outcome.PASSED: ("✓", "green"),
    Outcome.FAILED: ("✗", "bold red"),
    Outcome.ERROR: ("!", "bold red"),
    Outcome.NOT_APPLICABLE: ("○", "yellow"),
}

STYLES = {
    HostOutcome.PASSED: "green",
    HostOutcome.NOT_APPLICABLE: "yellow",
    HostOutcome.FAILED: "bold red",
    HostOutcome.ERROR: "bold red",
    HostOutcome.UNREACHABLE: "red",
    HostOutcome.INTERRUPTED: "red",
}


class CheckView(LiveView):
    """Follows a check: a live table on a terminal, a line per host elsewhere, on standard error."""

    def __init__(self, hosts: Sequence[str], *, quiet: bool) -> None:
        super().__init__(quiet=quiet)
        self._rows: dict[str, Progress | None] = dict.fromkeys(hosts)

    def on_progress(self, progress: Progress) -> None:
        """Take the news of one host."""
        self._rows[progress.host] = progress
        if self.shows_lines and progress.outcome is not None:
            counts = f"{progress.done} of {progress.total} controls, {progress.failed} failed"
            progress_console.print(f"  {progress.host}: {progress.outcome.value} ({counts})", markup=False)

    def table(self) -> Table:
        """Return a row for every host."""
        table = Table(box=None, pad_edge=False)
        for heading in ("host", "state", "done", "failed"):
            table.add_column(heading, overflow="ellipsis", no_wrap=True)
        for host, progress in self._rows.items():
            if progress is None:
                table.add_row(host, Text("waiting", "dim"))
                continue
            ended = progress.outcome
            state = Text(ended.value, STYLES[ended]) if ended else Text("checking", "cyan")
            failed = Text(str(progress.failed), "red") if progress.failed else ""
            table.add_row(host, state, f"{progress.done}/{progress.total}", failed)
        return table


def print_report(report: Report, *, verbose: bool) -> None:
    """Print what failed or did not apply, the passes counted by role (in full when verbose), and a summary."""
    console = Console(highlight=False, soft_wrap=True)
    for host in report.hosts:
        print_host(console, host, verbose=verbose)
    console.print(_summary(report))
    failed = any(host.count(Outcome.FAILED) for host in report.hosts)
    if failed:
        console.print(Text("what would mend it: provision plan; then: provision apply", "dim"))


def print_host(console: Console, host: HostResult, *, verbose: bool) -> None:
    """Print what failed or did not apply on one host, and the passes counted by role (in full when verbose)."""
    console.print(Text.assemble((host.name, "bold"), "  ", (host.outcome.value, STYLES[host.outcome])))
    if host.reason:
        console.print(Text(f"  {host.reason}", "red"))
    if host.hint:
        console.print(Text.assemble("  ", ("hint: ", "bold"), host.hint))
    for result in host.controls:
        if verbose or result.outcome is not Outcome.PASSED:
            _print_control(console, result)
    _print_roles(console, host)


def _print_control(console: Console, result: ControlResult) -> None:
    mark, style = MARKS[result.outcome]
    word = "" if result.outcome is Outcome.PASSED else f" [{result.outcome.value}]"
    console.print(
        Text.assemble("  ", (mark, style), " ", (result.id, "bold"), f" {result.role}: {result.title}", (word, style))
    )
    for line in result.message.splitlines():
        console.print(Text(f"      {line}"))
    if result.refs:
        console.print(Text(f"      {' · '.join(result.refs)}", "dim"))


def _print_roles(console: Console, host: HostResult) -> None:
    total = Counter(result.role for result in host.controls)
    passed = Counter(result.role for result in host.controls if result.outcome is Outcome.PASSED)
    parts = [f"{role} {passed[role]} of {total[role]} passed" for role in total]
    parts += [f"{role}: no checks.py, nothing proven" for role in host.unchecked_roles]
    if parts:
        console.print(Text(f"  {' · '.join(parts)}", "dim"))


def _summary(report: Report) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("host", "outcome"):
        table.add_column(heading)
    for heading in ("passed", "failed", "error", "n/a", "not run", "seconds"):
        table.add_column(heading, justify="right")
    table.add_column("image")
    columns = (Outcome.PASSED, Outcome.FAILED, Outcome.ERROR, Outcome.NOT_APPLICABLE)
    for host in report.hosts:
        counts = [str(host.count(outcome)) for outcome in columns]
        not_run = str(host.planned - len(host.controls))
        outcome = Text(host.outcome.value, STYLES[host.outcome])
        table.add_row(host.name, outcome, *counts, not_run, f"{host.seconds:.1f}", host.image or "")
    return table


def print_listing(listing: Listing) -> None:
    """Print the controls as an auditor reads them: id, title, references, by role."""
    console = Console(highlight=False, soft_wrap=True)
    role = ""
    for control in listing.controls:
        if control.role != role:
            role = control.role
            console.print(Text(role, "bold"))
        console.print(Text.assemble("  ", (control.id, "bold"), f"  {control.title}"))
        if control.refs:
            console.print(Text(f"      {' · '.join(control.refs)}", "dim"))
    for name in listing.unchecked_roles:
        console.print(Text.assemble((name, "bold"), "  ", ("no checks.py, nothing is proven", "yellow")))
    console.print(f"{len(listing.controls)} controls")
