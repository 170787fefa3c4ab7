"""``provision runtimes``: the wheels that devices run models with."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from hatfleet.cli.columns import echo_columns
from hatfleet.cli.options import json_option
from hatfleet.common.progress import say, step
from hatfleet.common.site import Site
from hatfleet.common.sizes import format_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from hatfleet.runtimes.resolve import Change


def target_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say what the wheels have to fit."""
    from hatfleet.runtimes.target import ARCHES, PYTHONS

    arch = click.option(
        "--arch", type=click.Choice(ARCHES), default="arm64", show_default=True, help="Processor, as Debian names it."
    )
    python = click.option(
        "--python", type=click.Choice(PYTHONS), default="3.13", show_default=True, help="Minor version of Python."
    )
    return arch(python(command))


@click.group()
def runtimes() -> None:
    """Wheels of /opt/hatserve: onnxruntime, LiteRT and what they need.

    They are chosen and downloaded here, for the processor and the Python of the devices; a device needs neither pip,
    nor a compiler, nor a way to a package index. The role runtimes lays them down.

    \b
    provision runtimes lock             choose wheels, and write them down with their hashes
    provision runtimes lock --upgrade   choose the newest
    provision runtimes show             what is locked: versions, licences, sizes
    provision runtimes fetch            download now what builds and devices will need
    """


@runtimes.command()
@target_options
@click.option("--upgrade", is_flag=True, help="Take the newest versions, not those of the lock there is.")
@json_option
def lock(arch: str, python: str, *, upgrade: bool, as_json: bool) -> None:
    """Choose the wheels, and write runtimes/ARCH-pyPYTHON.lock in the site.

    It is a requirements file with the hash of each wheel, and wins over the lock that came with hatfleet. Without
    --upgrade versions stay where they can. pip does the choosing, with its own configuration.
    """
    from hatfleet.runtimes import manage
    from hatfleet.runtimes.target import Target

    with step(f"choosing wheels for {Target(arch, python)}") as current:
        made = manage.make_lock(Site.find(), Target(arch, python), upgrade=upgrade)
        current.note = f"{len(made.lock.wheels)} wheels"
    if as_json:
        click.echo(
            json.dumps({"file": str(made.file), "changes": [asdict(change) for change in made.changes]}, indent=2)
        )
        return
    for change in made.changes:
        say(f"  {_described(change)}")
    say(f"{len(made.changes)} changes" if made.changes else "nothing has changed")
    click.echo(made.file)


@runtimes.command()
@target_options
@json_option
def show(arch: str, python: str, *, as_json: bool) -> None:
    """Show what is locked: versions, licences, sizes, and who needs it.

    Sizes are those of the whole wheels; what a device does not need of them is left out (docs/reference/runtimes.md).
    """
    from hatfleet.runtimes import manage
    from hatfleet.runtimes.target import Target

    with step("reading wheels"):
        shown = manage.show(Site.find(), Target(arch, python))
    if as_json:
        click.echo(json.dumps(asdict(shown) | {"file": str(shown.file)}, indent=2))
        return
    rows = [("package", "version", "size", "licence", "needed by")]
    rows += [
        (one.name, one.version, format_size(one.unpacked_bytes), one.licence or "not said", ", ".join(one.via))
        for one in shown.packages
    ]
    echo_columns(rows)
    whole, kept = sum(one.unpacked_bytes for one in shown.packages), shown.environment_bytes
    say(f"{format_size(whole)} unpacked, of which {format_size(kept)} go onto a device; {shown.file}")
    if kept > shown.budget_bytes:
        say(f"that is more than the budget of {format_size(shown.budget_bytes)}: see what has grown")


@runtimes.command()
@target_options
def fetch(arch: str, python: str) -> None:
    """Download the locked wheels, so that builds and devices need no package index afterwards.

    They are kept in the cache under their hashes, which are verified again whenever one is used.
    """
    from hatfleet.runtimes import manage
    from hatfleet.runtimes.target import Target

    with step("fetching wheels") as current:
        fetched = manage.fetch(Site.find(), Target(arch, python))
        current.note = f"{fetched.downloaded} downloaded, {fetched.kept} were there"
    click.echo(fetched.folder)


def _described(change: Change) -> str:
    if change.before == change.after:
        return f"{change.name} {change.after}: another file, or needed by others"
    return f"{change.name} {change.before or 'not there'} → {change.after or 'gone'}"
