"""``provision image accept``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hatfleet.cli.accept_view import print_acceptance
from hatfleet.cli.options import json_option, verbose_option
from hatfleet.common.progress import say
from hatfleet.common.site import Site


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    del ctx, param
    return [name for name in Site.find().names("images", ".yaml") if name.startswith(incomplete)]


@click.command()
@click.argument("image", metavar="RECIPE|FILE", shell_complete=_complete)
@click.option(
    "-o",
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Where images of recipes are. Default: out/ in the site.",
)
@click.option("--no-boot", is_flag=True, help="Judge the files only.")
@json_option
@verbose_option
def accept(image: str, out: Path | None, *, no_boot: bool, as_json: bool, verbose: bool) -> None:
    """Judge a built image, of RECIPE or in FILE: is it fit for devices?

    First its files, as the build found them: no secret, no account, unit or set-id program that is not allowed, and
    every control of the roles that files can answer. Then, if it is for virtual devices, it is booted as a throw-away
    device of the lab: every control, the sockets that wait for the network, failed units, the kernel's taint flags.

    \b
    provision image accept edge-virt               the image that was built last
    provision image accept out/edge-virt/*.img     by its file
    provision image accept edge-pi5 --no-boot      the files only
    Exit code 0: fit; 5: not. An image that is not fit is moved away, to out/RECIPE.rejected.
    """
    from hatfleet.acceptance.accept import accept as judge
    from hatfleet.acceptance.accept import find_candidate, refuse
    from hatfleet.acceptance.report import acceptance_json

    site = Site.find()
    candidate = find_candidate(site, image, out or site.root / "out")
    found = judge(candidate, site, boot=not no_boot)
    if as_json:
        click.echo(acceptance_json(found))
    else:
        print_acceptance(found, verbose=verbose)
    if not found.passed:
        say(f"the image is refused; it is kept in {refuse(candidate, found)}")
    sys.exit(found.exit_code)
