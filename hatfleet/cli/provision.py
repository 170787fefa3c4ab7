"""``provision plan`` and ``provision apply``."""

from __future__ import annotations

import getpass
import socket
import sys
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel
from rich.text import Text

from hatfleet.cli.executor_options import executor_options, make_executor
from hatfleet.cli.options import choose_targets, target_options
from hatfleet.cli.run_view import RunView, print_plan, print_report
from hatfleet.common.progress import console
from hatfleet.fleet.executors.base import Executor
from hatfleet.fleet.job import Job, Mode
from hatfleet.fleet.reports import ReportStore, write_report
from hatfleet.fleet.results import RunReport
from hatfleet.fleet.rollout import Rollout, parse_max_fail, parse_serial
from hatfleet.fleet.runner import run_job


@click.command()
@target_options
@executor_options
def plan(
    inventories: tuple[str, ...],
    limit: str | None,
    roles: str | None,
    deploy: str,
    as_json: bool,
    verbose: bool,
    **execution: Any,
) -> None:
    """Show what apply would change, as diffs; change nothing.

    Reads the state of every host and compares it with what its roles declare.

    \b
    provision plan                      every host of the site's inventory
    provision plan -i lab -l edge-01    one virtual device
    provision plan -r harden --json     one role, for a machine to read: one run report
    """
    job, names = _job(Mode.PLAN, inventories, limit, roles, deploy)
    report = _run(job, names, Rollout(), make_executor(job.site, **execution), quiet=as_json)
    if as_json:
        click.echo(report.model_dump_json(indent=2))
    else:
        print_plan(report, verbose=verbose)
    sys.exit(report.exit_code)


@click.command()
@target_options
@click.option(
    "--report", "report_file", type=click.Path(path_type=Path), help="Also write the JSON run report to this file."
)
@click.option(
    "--serial",
    metavar="N|N%|LIST",
    help="Go in stages of so many hosts: 5, 10% or 1,10%,100%. A stage starts when the one before is done; the last "
    "size repeats. Percentages are of all chosen hosts, rounded up.  [default: one stage]",
)
@click.option(
    "--max-fail",
    metavar="N|N%",
    help="How many hosts may fail or be unreachable, in all stages together. With one more no further host is "
    "started; those at work are finished, the rest is skipped.  [default: any number]",
)
@executor_options
def apply(
    inventories: tuple[str, ...],
    limit: str | None,
    roles: str | None,
    deploy: str,
    as_json: bool,
    verbose: bool,
    report_file: Path | None,
    serial: str | None,
    max_fail: str | None,
    **execution: Any,
) -> None:
    """Bring every host to its declared state.

    A host that fails or cannot be reached stops for itself, not for the others; it is in the table, in the report
    and in the exit code. Run it again: what is done already is left alone.

    \b
    provision apply                     every host of the site's inventory
    provision apply -i lab              the virtual devices
    provision apply -l 'rack-a:!edge-07' -r base,harden
    provision apply --serial 1,10%,100% --max-fail 2    one host, then a tenth of them, then all
    provision apply --json              events as JSON lines while they happen, the run report last

    Ctrl-C ends the run in order and says how far each host was; a second Ctrl-C ends it at once. Reports of past
    runs: provision report.
    """
    rollout = Rollout(
        serial=parse_serial(serial) if serial is not None else (),
        max_fail=parse_max_fail(max_fail) if max_fail is not None else None,
    )
    job, names = _job(Mode.APPLY, inventories, limit, roles, deploy)
    report = _run(job, names, rollout, make_executor(job.site, **execution), quiet=as_json, lines=as_json)
    store = ReportStore()
    identity = store.keep(report)
    if report_file is not None:
        write_report(report_file, report)
    if as_json:
        _print_line(report)
    else:
        print_report(report, verbose=verbose)
        console.print(Text(f"report: {store.path(identity)}", "dim"))
        if report.failed_hosts:
            console.print(
                "try those that are not done again: "
                "provision report show --failed >failed.txt; provision apply -l @failed.txt"
            )
    sys.exit(report.exit_code)


def _job(
    mode: Mode, inventories: tuple[str, ...], limit: str | None, roles: str | None, deploy: str
) -> tuple[Job, tuple[str, ...]]:
    """Return what to do, and the names of the inventories it comes from."""
    targets = choose_targets(inventories, limit, roles, deploy)
    operator = f"{getpass.getuser()}@{socket.gethostname()}"
    return Job(mode=mode, site=targets.site.root, hosts=targets.hosts, operator=operator), targets.inventory_names


def _run(
    job: Job, names: tuple[str, ...], rollout: Rollout, executor: Executor, *, quiet: bool, lines: bool = False
) -> RunReport:
    with RunView([host.name for host in job.hosts], quiet=quiet) as view:
        on_event = _print_line if lines else view.on_event
        return run_job(job, on_event, inventory=names, rollout=rollout, executor=executor)


def _print_line(message: BaseModel) -> None:
    click.echo(message.model_dump_json())
