"""``provision image``: build disk images from recipes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from hatfleet.cli.identity import ask_passphrase, own_command, passphrase_option
from hatfleet.cli.image_accept import accept
from hatfleet.cli.image_cache import cache
from hatfleet.cli.image_flash import flash
from hatfleet.cli.image_inspect import diff, inspect
from hatfleet.cli.image_verify import verify
from hatfleet.cli.options import json_option
from hatfleet.common.errors import HatfleetError
from hatfleet.common.progress import say
from hatfleet.common.site import Site


def complete_recipes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Complete a recipe's name."""
    del ctx, param
    return [name for name in Site.find().names("images", ".yaml") if name.startswith(incomplete)]


recipe_argument = click.argument("recipe", metavar="RECIPE", shell_complete=complete_recipes)


@click.group()
def image() -> None:
    """Build disk images for devices from recipes in images/.

    \b
    provision image list                   the recipes there are
    provision image stages edge-virt       what a build would do, and why
    provision image build edge-virt        build it: out/edge-virt/
    provision image lock edge-virt         write down the exact packages, for the same image everywhere
    provision image accept edge-virt       judge what was built, and boot it
    provision image verify out/edge-virt   prove that it is what was built
    provision image flash IMAGE DEVICE     write it to a card
    provision image inspect out/edge-virt  what is in it
    provision image diff OLD NEW           what differs between two
    """


@image.command()
@recipe_argument
@click.option(
    "-o",
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Where the image goes, in a folder of its name. Default: out/ in the site.",
)
@click.option("--explain", is_flag=True, help="Only say which stages would run, and why.")
@click.option(
    "--sign-key",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Sign the manifest and the provenance with this ECDSA P-256 key: PEM, or PEM in an age file (*.age).",
)
@click.option(
    "--url",
    "base_url",
    default="",
    metavar="URL",
    help="Where the files will be offered, for Raspberry Pi Imager's repository file os-list.json.",
)
@passphrase_option
@json_option
@click.pass_context
def build(
    ctx: click.Context,
    recipe: str,
    out: Path | None,
    sign_key: Path | None,
    base_url: str,
    *,
    explain: bool,
    as_json: bool,
) -> None:
    """Build the image of RECIPE (a name, or the path of a recipe file).

    Stages whose inputs have not changed are taken from the cache. Prints the path of the image.
    Works as root, and as an ordinary user with a range of subordinate ids (/etc/subuid).
    A build that was cut off goes on where it was: complete stages are kept.

    \b
    provision image build edge-pi5 --sign-key keys/image-signing.pem.age
    Exit code 5: something is in the image that must not be; it is kept in out/RECIPE.rejected.
    """
    from hatfleet.image import build as builder
    from hatfleet.image.recipe import find_recipe, load_recipe
    from hatfleet.image.release.signing import load_signing_key
    from hatfleet.image.userns import become_root

    if explain:
        ctx.invoke(stages, recipe=recipe, as_json=as_json)
        return
    become_root(own_command())
    site = Site.find()
    loaded = load_recipe(site, find_recipe(site, recipe))
    key = load_signing_key(sign_key, ask=lambda: ask_passphrase(f"Passphrase of {sign_key}")) if sign_key else None
    built = builder.build(loaded, site, out or site.root / "out", key=key, base_url=base_url)
    if as_json:
        click.echo(built.manifest.read_text(), nl=False)
    else:
        click.echo(built.image)


@image.command()
@recipe_argument
@json_option
def lock(recipe: str, *, as_json: bool) -> None:
    """Write down exactly which packages RECIPE is made from, beside it: images/RECIPE.lock.json.

    A build with a lock takes these packages and no others, so that the same image comes out wherever and whenever it is
    built. Run this again to take what the archive has now; the changes are listed. Keep the file in version control.
    """
    from hatfleet.image import build as builder
    from hatfleet.image.locking import make_lock
    from hatfleet.image.recipe import find_recipe, load_recipe
    from hatfleet.image.userns import become_root

    become_root(own_command())
    site = Site.find()
    made = make_lock(load_recipe(site, find_recipe(site, recipe)), site, builder.store())
    if as_json:
        changes = [asdict(change) for change in made.changes]
        click.echo(json.dumps({"file": str(made.file), "digest": made.lock.digest, "changes": changes}, indent=2))
        return
    for change in made.changes:
        click.echo(f"{change.name:32} {change.before or '-':32} {change.after or '-'}")
    say(f"{len(made.lock.packages)} packages locked in {made.file}")


@image.command(name="list")
@json_option
def list_recipes(*, as_json: bool) -> None:
    """List the recipes of the site, and of the package where the site has none of that name."""
    from hatfleet.image.recipe import SUFFIX, load_recipe

    site = Site.find()
    rows: list[dict[str, str]] = []
    for name in site.names("images", SUFFIX):
        file = site.require("images", name, SUFFIX)
        row = {"name": name, "file": str(file), "version": "", "platform": "", "suite": "", "error": ""}
        try:
            recipe = load_recipe(site, file)
        except HatfleetError as error:
            row["error"] = str(error)
        else:
            row |= {"version": recipe.version, "platform": recipe.platform.name, "suite": recipe.suite.name}
        rows.append(row)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        about = row["error"] or f"{row['version']:10} {row['platform']:12} {row['suite']:10} {row['file']}"
        click.echo(f"{row['name']:16} {about}")
    if not rows:
        say("no recipes: write one in images/")


@image.command()
@recipe_argument
@json_option
def stages(recipe: str, *, as_json: bool) -> None:
    """Say for each stage of RECIPE whether a build would run or reuse it, and why. Builds nothing."""
    from hatfleet.image import build as builder
    from hatfleet.image.recipe import find_recipe, load_recipe

    site = Site.find()
    statuses = builder.explain(load_recipe(site, find_recipe(site, recipe)), site)
    if as_json:
        click.echo(json.dumps([asdict(status) for status in statuses], indent=2))
        return
    width = max(len(status.name) for status in statuses)
    for status in statuses:
        click.echo(f"{status.name:{width}} {'reuse' if status.cached else 'run':6} {status.reason}")


for command in (accept, verify, inspect, diff, flash, cache):
    image.add_command(command)
