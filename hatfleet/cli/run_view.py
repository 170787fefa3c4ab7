"""How a run looks: a live table while it works, a plan or a summary when it is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from hatfleet.cli.live_view import LiveView
from hatfleet.common.progress import console as progress_console
from hatfleet.fleet.results import (
    Connected,
    Event,
    HostFinished,
    HostReport,
    HostStarted,
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
    HostState.SKIPPED: "yellow",
    HostState.LOCKED: "red",
}

#: With more hosts than this, only those that are at work or want attention get a row; the others are counted.
FEW_HOSTS = 20


@dataclass
class _Row:
    doing: str = "waiting"
    running: bool = False
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
        """Take one event of the run."""
        row = self._rows[event.host]
        match event:
            case HostStarted():
                row.running = True
                row.doing = "connecting"
            case Connected():
                # It may be the second worker's, after the first one's end: count from the start.
                row.done = row.changed = 0
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
                row.running = False
                row.state = state
                row.doing = error.splitlines()[0] if error else ""
                if self.shows_lines:
                    progress_console.print(f"  {event.host}: {state.value} {row.doing}".rstrip(), markup=False)

    def table(self) -> RenderableType:
        """Return a row for every host, or with many hosts their counts and the rows that matter now."""
        few = len(self._rows) <= FEW_HOSTS
        shown = {host: row for host, row in self._rows.items() if few or _matters(row)}
        table = Table(box=None, pad_edge=False)
        for heading in ("host", "state", "done", "changed", ""):
            table.add_column(heading, overflow="ellipsis", no_wrap=True)
        for host, row in list(shown.items())[:FEW_HOSTS]:
            state = Text(row.state.value, STYLES[row.state]) if row.state else Text("…", "cyan")
            progress = f"{min(row.done, row.total)}/{row.total}" if row.total else str(row.done or "")
            table.add_row(host, state, progress, str(row.changed or ""), Text(row.doing, "dim"))
        if len(shown) > FEW_HOSTS:
            table.add_row("…", "", "", "", Text(f"and {len(shown) - FEW_HOSTS} more", "dim"))
        return table if few else Group(self._counts(), table)

    def _counts(self) -> Text:
        rows = self._rows.values()
        running = sum(row.running for row in rows)
        done = sum(row.state is not None for row in rows)
        ended = counted(row.state for row in rows if row.state)
        return Text(f"{done} of {len(rows)} hosts done, {running} running" + (f": {ended}" if ended else ""))


def _matters(row: _Row) -> bool:
    return row.running or (row.state is not None and row.state not in (HostState.OK, HostState.CHANGED))


def counted(states: Iterable[HostState]) -> str:
    """Return how often each state occurs, in words: "3 ok, 1 failed"."""
    counts = Counter(states)
    return ", ".join(f"{counts[state]} {state.value}" for state in HostState if counts[state])


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


def print_report(report: RunReport, *, verbose: bool) -> None:
    """Print the summary of an apply: a table, and everything that was changed or went wrong."""
    console = Console(highlight=False, soft_wrap=True)
    for host in report.hosts:
        shown = [op for op in host.operations if verbose or op.status in (Status.FAILED, Status.NEEDS_IMAGE)]
        # What is true of every host that was skipped is said once, below.
        if shown or (host.error and host.state is not HostState.SKIPPED):
            console.print(Text.assemble((host.name, "bold"), "  ", (host.error, "red")))
        for operation in shown:
            _print_operation(console, operation, with_diff=verbose)
    print_hosts(console, report, every=verbose)
    if report.stopped:
        console.print(Text(report.stopped, "bold red"))


def print_hosts(console: Console, report: RunReport, *, every: bool) -> None:
    """Print a row per host; with many hosts only those that want attention, unless ``every`` is to be shown."""
    few = every or len(report.hosts) <= FEW_HOSTS
    table = Table(box=None, pad_edge=False)
    for heading in ("host", "state"):
        table.add_column(heading)
    for heading in ("ok", "changed", "failed", "seconds"):
        table.add_column(heading, justify="right")
    for host in report.hosts:
        if not few and host.state in (HostState.OK, HostState.CHANGED, HostState.SKIPPED):
            continue
        counts = [str(host.count(status)) for status in (Status.OK, Status.CHANGED, Status.FAILED)]
        table.add_row(host.name, Text(host.state.value, STYLES[host.state]), *counts, f"{host.seconds:.1f}")
    if table.row_count:
        console.print(table)
    if not few:
        console.print(f"{len(report.hosts)} hosts: {counted(host.state for host in report.hosts)}")
