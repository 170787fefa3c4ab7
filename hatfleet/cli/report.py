"""``provision report``: past runs."""

from __future__ import annotations

import json
from collections.abc import Iterable

import click
from click.shell_completion import CompletionItem
from pydantic_core import to_jsonable_python
from rich.console import Console
from rich.text import Text

from hatfleet.cli.options import json_option
from hatfleet.cli.report_view import print_difference, print_list, print_run
from hatfleet.common.errors import HatfleetError
from hatfleet.fleet.reports import LATEST, ReportStore, RunSummary, compare, summary
from hatfleet.fleet.results import OUTPUT_LINE

_console = Console(stderr=True, highlight=False)


def _complete_ids(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the ids of the kept reports, the newest first."""
    return [CompletionItem(known) for known in (LATEST, *ReportStore().ids()) if known.startswith(incomplete)]


def _print_schema(ctx: click.Context, _param: click.Parameter, value: object) -> None:
    if value:
        click.echo(json.dumps(OUTPUT_LINE.json_schema(), indent=2))
        ctx.exit()


@click.group()
@click.option(
    "--schema",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_schema,
    help="Print the JSON schema of run reports and events, and exit.",
)
def report() -> None:
    """Look at past runs: what was done, how long it took, what differs.

    Every apply keeps its report; the newest hundred stay. A report's id is the time of the run (UTC) and its mode;
    the beginning of an id will do, and 'latest' is the newest.

    \b
    provision report list
    provision report show                        the newest: hosts, and where the time went
    provision report show --failed >failed.txt   hosts that want another run: provision apply -l @failed.txt
    provision report diff 20261121T09 latest     what ended otherwise, what was changed in one only
    """


@report.command("list")
@json_option
def list_reports(as_json: bool) -> None:
    """List the kept reports, the newest first."""
    store = ReportStore()
    runs: list[RunSummary] = []
    for identity in store.ids():
        try:
            runs.append(summary(identity, store.load(identity)))
        except HatfleetError as error:
            _console.print(Text(f"{error} ({error.hint})", "dim"))
    if as_json:
        _print_json(runs)
    else:
        print_list(runs)


@report.command()
@click.argument("report_id", metavar="[ID]", default=LATEST, shell_complete=_complete_ids)
@json_option
@click.option(
    "--slowest", type=click.IntRange(min=0), default=10, show_default=True, metavar="N", help="How many operations."
)
@click.option("--failed", is_flag=True, help="Print only the names of hosts that want another run, one per line.")
def show(report_id: str, as_json: bool, slowest: int, failed: bool) -> None:
    """Show a run: every host, and the operations that took the most time.

    \b
    provision report show                   the newest run
    provision report show --slowest 3
    provision report show --json            the whole report
    provision report show --failed          for provision apply -l @FILE
    """
    if failed and as_json:
        raise click.UsageError("--failed prints names and --json the whole report: give one of them")
    run = ReportStore().load(report_id)
    if failed:
        _print_lines(run.failed_hosts)
    elif as_json:
        click.echo(run.model_dump_json(indent=2))
    else:
        print_run(run, slowest)


@report.command()
@click.argument("before", shell_complete=_complete_ids)
@click.argument("after", default=LATEST, shell_complete=_complete_ids)
@json_option
def diff(before: str, after: str, as_json: bool) -> None:
    """Show what differs between two runs.

    Hosts that ended otherwise, operations that changed something in one run and not in the other, and the ratio of
    their times. AFTER is the newest run by default.
    """
    store = ReportStore()
    difference = compare(store.load(before), store.load(after))
    if as_json:
        _print_json(difference)
    else:
        print_difference(difference)


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


def _print_json(value: object) -> None:
    click.echo(json.dumps(to_jsonable_python(value), indent=2))
