"""``provision check``."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import click

from hatfleet.cli.check_view import CheckView, print_listing, print_report
from hatfleet.cli.options import choose_roles, choose_targets, target_options
from hatfleet.common.files import write_atomic
from hatfleet.common.site import Site
from hatfleet.compliance.junit import junit_xml
from hatfleet.compliance.results import listing_json, report_json
from hatfleet.compliance.runner import check_hosts, check_jobs, list_controls
from hatfleet.fleet.job import HostJob


@click.command()
@target_options
@click.option("--list", "list_only", is_flag=True, help="List the controls with their references; needs no host.")
@click.option(
    "--junit",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write the results as JUnit XML: a suite per host, a case per control.",
)
@click.option(
    "--forks",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many hosts to check at a time.  [default: four per core]",
)
def check(
    inventories: tuple[str, ...],
    limit: str | None,
    roles: str | None,
    deploy: str,
    as_json: bool,
    verbose: bool,
    list_only: bool,
    junit: Path | None,
    forks: int | None,
) -> None:
    """Prove that every host is as its roles guarantee; change nothing.

    Runs the checks of every role on every host and judges the state in effect, not the files. A control is passed,
    failed, an error (the check broke, which counts as failed) or not applicable (with the reason; never a pass).

    \b
    provision check                          every host of the site's inventory
    provision check -i lab -r harden         one role on the virtual devices
    provision check --junit out/check.xml    for a CI system
    provision check --list                   what is checked, and which standard asks for it
    Exit code 0: all passed or not applicable; 5: a control failed; 3: a host was unreachable.
    """
    if list_only:
        if inventories or limit or junit or forks:
            raise click.UsageError("--list runs nothing: only --roles, --deploy and --json go with it")
        site = Site.find()
        listing = list_controls(site, choose_roles(site, deploy, roles))
        if as_json:
            click.echo(listing_json(listing))
        else:
            print_listing(listing)
        return
    targets = choose_targets(inventories, limit, roles, deploy)
    jobs = check_jobs(targets.site, targets.hosts)
    listing = list_controls(targets.site, _roles_of(targets.hosts))
    with CheckView([job.name for job in jobs], quiet=as_json) as view:
        report = check_hosts(
            jobs, listing, inventory=targets.inventory_names, forks=forks, on_progress=view.on_progress
        )
    if junit:
        write_atomic(junit, junit_xml(report))
    if as_json:
        click.echo(report_json(report))
    else:
        print_report(report, verbose=verbose)
    sys.exit(report.exit_code)


def _roles_of(hosts: Iterable[HostJob]) -> list[str]:
    """Return every role of any host once, in the order in which they run."""
    return list(dict.fromkeys(role.name for host in hosts for role in host.roles))
