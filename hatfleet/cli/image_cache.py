"""``provision image cache``: what builds have kept, and cleaning it."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

import click

from hatfleet.cli.columns import echo_columns
from hatfleet.cli.identity import own_command
from hatfleet.cli.options import json_option, read_size
from hatfleet.common.errors import ExitCode
from hatfleet.common.progress import say
from hatfleet.common.sizes import format_size


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def cache(ctx: click.Context, *, as_json: bool) -> None:
    """List what builds have kept for the next build, the least recently used first.

    \b
    provision image cache                       stage outputs, their size, who uses them
    provision image cache prune                 remove what the newest build of no recipe used
    provision image cache prune --max-size 20G  remove the least recently used until 20 GiB are left
    provision image cache verify                read everything and compare checksums

    HATFLEET_CACHE_LIMIT=20G in the environment keeps the cache below that after every build.
    """
    from hatfleet.image import cache as api
    from hatfleet.image.build import store

    if ctx.invoked_subcommand is not None:
        return
    found = api.entries(store())
    if as_json:
        click.echo(json.dumps([asdict(entry) for entry in found], indent=2))
        return
    rows: list[tuple[str, ...]] = [("stage", "size", "made", "used", "recipes")]
    for entry in found:
        ago = [f"{_age(moment_s)} ago" for moment_s in (entry.made_s, entry.used_s)]
        rows.append((entry.stage, format_size(entry.size_bytes), *ago, ", ".join(entry.recipes) or "none"))
    if found:
        echo_columns(rows)
    say(f"{len(found)} stage outputs, {format_size(sum(entry.size_bytes for entry in found))}")


@cache.command()
@click.option(
    "--max-size",
    callback=read_size,
    metavar="SIZE",
    help="Remove the least recently used until the cache takes no more than this, such as 20G.",
)
@click.option("--all", "everything", is_flag=True, help="Remove everything; the next build starts from nothing.")
@json_option
def prune(max_size: int | None, *, everything: bool, as_json: bool) -> None:
    """Remove what the newest build of no recipe used; what a build in progress uses always stays."""
    from hatfleet.image import cache as api
    from hatfleet.image.build import store
    from hatfleet.image.userns import become_root

    if everything and max_size is not None:
        raise click.UsageError("give either --all or --max-size")
    # Some of what a build made without root belongs to ids that only a user namespace can touch.
    become_root(own_command())
    removed = api.prune(store(), limit_bytes=max_size, everything=everything)
    if as_json:
        click.echo(json.dumps(asdict(removed), indent=2))
    else:
        left = format_size(removed.left_bytes)
        say(f"removed {removed.count} stage outputs, {format_size(removed.freed_bytes)}; {left} left")


@cache.command()
@click.option("--remove", is_flag=True, help="Remove what is damaged; the next build makes it again.")
@json_option
@click.pass_context
def verify(ctx: click.Context, *, remove: bool, as_json: bool) -> None:
    """Read everything in the cache and compare it with what was made.

    Ends with exit code 5 when something is damaged and stays.
    """
    from hatfleet.image import cache as api
    from hatfleet.image.build import store
    from hatfleet.image.userns import become_root

    become_root(own_command())

    damaged = api.verify(store(), remove=remove)
    if as_json:
        rows = [{"stage": entry.stage, "key": entry.key, "problem": problem} for entry, problem in damaged]
        click.echo(json.dumps(rows, indent=2))
    else:
        for entry, problem in damaged:
            click.echo(f"{entry.stage} {entry.key}: {problem}")
        say(f"{len(damaged)} stage outputs are damaged" if damaged else "everything is as it was made")
    if damaged and not remove:
        ctx.exit(ExitCode.CHECK_FAILED)


def _age(since_s: float) -> str:
    """Return how long ago a moment (seconds since 1970) was, in the largest unit that fits."""
    seconds = max(0.0, time.time() - since_s)
    for unit, length_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length_s:
            return f"{seconds // length_s:.0f} {unit}"
    return f"{seconds:.0f} s"
