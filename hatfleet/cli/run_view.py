"""How a run looks: a live table while it works, a plan or a summary when it is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hatfleet.cli.live_view import LiveView
from hatfleet.common.progress import console as progress_console
from hatfleet.fleet.results import (
    Connected,
    Event,
    HostFinished,
    HostReport,
    HostState,
    OpFinished,
    OpResult,
    OpStarted,
    Prepared,
    RunReport,
    Status,
)

STYLES = {
    HostState.OK: "green",
    HostState.CHANGED: "yellow",
    HostState.FAILED: "bold red",
    HostState.UNREACHABLE: "red",
    HostState.NEEDS_IMAGE: "magenta",
    HostState.INTERRUPTED: "red",
}


@dataclass
class _Row:
    doing: str = "connecting"
    state: HostState | None = None
    total: int = 0
    done: int = 0
    changed: int = 0


class RunView(LiveView):
    """Follows the events of a run: a live table on a terminal, a line per host elsewhere, on standard error."""

    def __init__(self, hosts: Sequence[str], *, quiet: bool) -> None:
        super().__init__(quiet=quiet)
        self._rows = {host: _Row() for host in hosts}

    def on_event(self, event: Event) -> None:
        """Take one event of the worker."""
        row = self._rows[event.host]
        match event:
            case Connected():
                row.doing = "reading state"
            case Prepared(operations=operations):
                row.total = operations
                row.doing = "nothing to do" if operations == 0 else "applying"
            case OpStarted(role=role, name=name):
                row.doing = f"{role}: {name}"
            case OpFinished(result=result):
                row.done += 1
                row.changed += result.status is Status.CHANGED
            case HostFinished(state=state, error=error):
                row.state = state
                row.doing = error.splitlines()[0] if error else ""
                if self.shows_lines:
                    progress_console.print(f"  {event.host}: {state.value} {row.doing}".rstrip(), markup=False)
        self.refresh()

    def table(self) -> Table:
        """Return a row for every host."""
        table = Table(box=None, pad_edge=False)
        for heading in ("host", "state", "done", "changed", ""):
            table.add_column(heading, overflow="ellipsis", no_wrap=True)
        for host, row in self._rows.items():
            state = Text(row.state.value, STYLES[row.state]) if row.state else Text("…", "cyan")
            progress = f"{min(row.done, row.total)}/{row.total}" if row.total else str(row.done or "")
            table.add_row(host, state, progress, str(row.changed or ""), Text(row.doing, "dim"))
        return table


def print_plan(report: RunReport, *, verbose: bool) -> None:
    """Print what would change, host by host, with diffs."""
    console = Console(highlight=False, soft_wrap=True)
    for host in report.hosts:
        console.print(Text.assemble((host.name, "bold"), "  ", (_plan_word(host), STYLES[host.state])))
        if host.error:
            console.print(Text(f"  {host.error}", "red"))
        for operation in host.operations:
            if verbose or operation.status is not Status.OK:
                _print_operation(console, operation, with_diff=True)
    pending = sum(host.count(Status.CHANGED) for host in report.hosts)
    sealed = sum(host.count(Status.NEEDS_IMAGE) for host in report.hosts)
    tail = f", {sealed} need a new image" if sealed else ""
    console.print(f"{len(report.hosts)} hosts, {pending} operations would change something{tail}; nothing was changed")


def _plan_word(host: HostReport) -> str:
    if host.state is HostState.CHANGED:
        return f"{host.count(Status.CHANGED)} to change"
    return "as declared" if host.state is HostState.OK else host.state.value


def _print_operation(console: Console, operation: OpResult, *, with_diff: bool) -> None:
    marks = {Status.OK: ("=", "green"), Status.CHANGED: ("~", "yellow"), Status.FAILED: ("✗", "bold red")}
    mark, style = marks.get(operation.status, ("!", "magenta"))
    console.print(Text.assemble("  ", (mark, style), f" {operation.role}: {operation.name}"))
    for change in operation.changes:
        console.print(Text(f"      {change.target}: {change.what}", "dim"))
        if with_diff and change.diff:
            for line in change.diff.splitlines():
                colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
                console.print(Text(f"        {line}", colour))
    if operation.error:
        console.print(Text(f"      {operation.error}", "red"))
    if operation.status is Status.NEEDS_IMAGE:
        console.print(Text("      belongs to the read-only image: build and flash a new image", "magenta"))


def print_report(report: RunReport, path: Path, *, verbose: bool) -> None:
    """Print the summary of an apply: a table, and everything that was changed or went wrong."""
    console = Console(highlight=False, soft_wrap=True)
    for host in report.hosts:
        shown = [op for op in host.operations if verbose or op.status in (Status.FAILED, Status.NEEDS_IMAGE)]
        if shown or host.error:
            console.print(Text.assemble((host.name, "bold"), "  ", (host.error, "red")))
        for operation in shown:
            _print_operation(console, operation, with_diff=verbose)
    table = Table(box=None, pad_edge=False)
    for heading in ("host", "state"):
        table.add_column(heading)
    for heading in ("ok", "changed", "failed", "seconds"):
        table.add_column(heading, justify="right")
    for host in report.hosts:
        counts = [str(host.count(status)) for status in (Status.OK, Status.CHANGED, Status.FAILED)]
        table.add_row(host.name, Text(host.state.value, STYLES[host.state]), *counts, f"{host.seconds:.1f}")
    console.print(table)
    console.print(Text(f"report: {path}", "dim"))
