"""``provision plan`` and ``provision apply``."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from hatfleet.cli.options import choose_targets, target_options
from hatfleet.cli.run_view import RunView, print_plan, print_report
from hatfleet.common.files import write_atomic
from hatfleet.common.paths import state_dir
from hatfleet.fleet.job import Job, Mode
from hatfleet.fleet.results import RunReport
from hatfleet.fleet.runner import run_job


@click.command()
@target_options
def plan(
    inventories: tuple[str, ...], limit: str | None, roles: str | None, deploy: str, as_json: bool, verbose: bool
) -> None:
    """Show what apply would change, as diffs; change nothing.

    Reads the state of every host and compares it with what its roles declare.

    \b
    provision plan                      every host of the site's inventory
    provision plan -i lab -l edge-01    one virtual device
    provision plan -r harden --json     one role, for a machine to read
    """
    report = _run(Mode.PLAN, inventories, limit, roles, deploy, quiet=as_json)
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
def apply(
    inventories: tuple[str, ...],
    limit: str | None,
    roles: str | None,
    deploy: str,
    as_json: bool,
    verbose: bool,
    report_file: Path | None,
) -> None:
    """Bring every host to its declared state.

    A host that fails or cannot be reached stops for itself, not for the others; it is in the table, in the report
    and in the exit code. Run it again: what is done already is left alone.

    \b
    provision apply                     every host of the site's inventory
    provision apply -i lab              the virtual devices
    provision apply -l 'rack-a:!edge-07' -r base,harden
    """
    report = _run(Mode.APPLY, inventories, limit, roles, deploy, quiet=as_json)
    path = _keep(report, report_file)
    if as_json:
        click.echo(report.model_dump_json(indent=2))
    else:
        print_report(report, path, verbose=verbose)
    sys.exit(report.exit_code)


def _run(
    mode: Mode, inventories: tuple[str, ...], limit: str | None, roles: str | None, deploy: str, *, quiet: bool
) -> RunReport:
    targets = choose_targets(inventories, limit, roles, deploy)
    job = Job(mode=mode, site=targets.site.root, hosts=targets.hosts)
    with RunView([host.name for host in job.hosts], quiet=quiet) as view:
        return run_job(job, view.on_event, inventory=targets.inventory_names)


def _keep(report: RunReport, extra: Path | None) -> Path:
    """Write the run report where reports are kept, and where the user asked."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    path = state_dir() / "runs" / f"{stamp}-{report.mode.value}.json"
    for target in (path, extra):
        if target is not None:
            write_atomic(target, report.model_dump_json(indent=2) + "\n", mode=0o600)
    return path
