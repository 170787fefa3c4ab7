"""``provision image verify``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from hatfleet.cli.options import json_option
from hatfleet.common.site import Site
from hatfleet.image.release.report import Check, Outcome, Report

_MARKS = {
    Outcome.PASSED: ("✓", "green"),
    Outcome.FAILED: ("✗", "bold red"),
    Outcome.NOT_CHECKED: ("○", "yellow"),
}


@click.command()
@click.argument("release", metavar="FILE|DIR", type=click.Path(path_type=Path))
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PUB",
    help="Public key or certificate (PEM) that must have signed it. Default: keys/image-signing.pub in the site.",
)
@json_option
def verify(release: Path, key: Path | None, *, as_json: bool) -> None:
    """Prove, without a network, that a release is what was built: signatures, digests, and the inside of the image.

    DIR is the folder that a build wrote. Of a FILE, only it and the manifest.json beside it are looked at.

    \b
    provision image verify out/edge-virt                       everything in the folder
    provision image verify edge-pi5-1.4.0.img.zst              a download, with manifest.json (and .sig) beside it
    provision image verify out/edge-pi5 --key image-signing.pub
    Every failed check is listed. Exit code 0: all that was checked holds; 5: a check failed, or a signature is missing
    though there is a key; 2: there is no release.
    """
    from hatfleet.image.release.signing import load_public_key, site_public_key
    from hatfleet.image.release.verify import verify_release

    file = key or site_public_key(Site.find())
    report = verify_release(release, load_public_key(file) if file else None)
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=2))
    else:
        _print(report)
    sys.exit(report.exit_code)


def _print(report: Report) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for check in report.checks:
        _print_check(console, check)
    counts = {outcome: sum(check.outcome is outcome for check in report.checks) for outcome in Outcome}
    text = ", ".join(f"{count} {outcome.value}" for outcome, count in counts.items() if count)
    signer = f", key {report.key}" if report.key else ", no key"
    console.print(Text(f"{report.release}: {text}{signer}", "bold red" if counts[Outcome.FAILED] else "bold"))


def _print_check(console: Console, check: Check) -> None:
    mark, style = _MARKS[check.outcome]
    console.print(Text.assemble((mark, style), " ", (check.subject, "bold"), f" {check.guarantee}"))
    if check.message:
        console.print(Text(f"    {check.outcome.value}: {check.message}", style))
    if check.hint:
        console.print(Text.assemble("    ", ("hint: ", "bold"), check.hint))
