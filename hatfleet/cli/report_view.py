"""How past runs look."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hatfleet.cli.run_view import STYLES, counted, print_hosts
from hatfleet.fleet.reports import ReportDifference, RunSummary, operation_times
from hatfleet.fleet.results import HostState, RunReport


def print_list(runs: Sequence[RunSummary]) -> None:
    """Print a row per run."""
    table = Table(box=None, pad_edge=False)
    table.add_column("id (time in UTC)", no_wrap=True)
    for heading in ("seconds", "exit"):
        table.add_column(heading, justify="right")
    table.add_column("hosts")
    for run in runs:
        states = ", ".join(f"{number} {state}" for state, number in run.states.items())
        table.add_row(run.id, f"{run.seconds:.1f}", str(run.exit_code), states)
    _console().print(table if runs else "no run report yet: provision apply writes one")


def print_run(run: RunReport, slowest: int) -> None:
    """Print the hosts of a run, why it stopped, and its slowest operations."""
    console = _console()
    console.print(
        f"{run.mode.value} by hatfleet {run.hatfleet}, {run.started} to {run.ended}, {run.seconds:.1f} s"
        + (f", {len(run.stages)} stages" if len(run.stages) > 1 else "")
    )
    for host in run.hosts:
        if host.error and host.state is not HostState.SKIPPED:
            console.print(Text.assemble((host.name, "bold"), "  ", (host.error, "red")))
    print_hosts(console, run, every=True)
    if len(run.hosts) > 1:
        console.print(f"{len(run.hosts)} hosts: {counted(host.state for host in run.hosts)}")
    if run.stopped:
        console.print(Text(run.stopped, "bold red"))
    _print_slowest(console, run, slowest)


def _print_slowest(console: Console, run: RunReport, number: int) -> None:
    times = operation_times(run)[:number]
    if not times:
        return
    table = Table(box=None, pad_edge=False, title=f"the {len(times)} slowest operations", title_justify="left")
    table.add_column("operation")
    for heading in ("hosts", "seconds in all", "mean", "longest"):
        table.add_column(heading, justify="right")
    table.add_column("on")
    for row in times:
        figures = (f"{row.total_s:.1f}", f"{row.total_s / row.hosts:.2f}", f"{row.longest_s:.2f}")
        table.add_row(f"{row.role}: {row.name}", str(row.hosts), *figures, row.longest_host)
    console.print()
    console.print(table)


def print_difference(difference: ReportDifference) -> None:
    """Print what differs between two runs."""
    console = _console()
    for host in difference.hosts:
        console.print(Text.assemble((host.host, "bold"), "  ", _state(host.before), " → ", _state(host.after)))
    for operation in difference.operations:
        mark, when = ("-", "before only") if operation.changed_before else ("+", "after only")
        style = "red" if operation.changed_before else "green"
        line = f"{operation.host}  {operation.role}: {operation.name} (changed {when})"
        console.print(Text.assemble((mark, style), " ", line))
    if not difference.hosts and not difference.operations:
        console.print("every host ended alike, and the same operations changed something")
    if difference.time_ratio is not None:
        console.print(f"time: {difference.time_ratio:.2f} of the time before")


def _state(state: HostState | None) -> tuple[str, str]:
    return (state.value, STYLES[state]) if state else ("not in the run", "dim")


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)
