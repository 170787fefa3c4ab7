"""``provision init``."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from hatfleet.common.newsite import create_site


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def init(folder: Path) -> None:
    """Make a new site in DIR: inventory, image recipes, and places for roles and deploys of your own.

    DIR is made if it is missing; a folder that holds anything is refused. Roles and deploys come from the installed
    hatfleet until you add or override them. Put the site under version control: it describes your whole fleet.

    \b
    provision init mysite
    """
    site = create_site(folder)
    enter = "" if site.root == Path.cwd() else f"cd {shlex.quote(str(folder))} && "
    click.echo(f"site made in {site.root}\n\nnext:")
    click.echo(f"  {enter}provision inventory")
    click.echo("  provision inventory --host edge-01    # every setting and where it comes from")
    click.echo("  provision plan -l edge-01             # once inventory/example names a device of yours")
