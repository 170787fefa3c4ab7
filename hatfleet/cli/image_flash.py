"""``provision image flash``: write an image to a card or disk."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hatfleet.cli.complete import complete_hosts
from hatfleet.cli.options import inventory_option, json_option, read_size
from hatfleet.common.errors import HatfleetError, InputError
from hatfleet.common.progress import say
from hatfleet.common.site import Site
from hatfleet.common.sizes import format_size

if TYPE_CHECKING:
    from hatfleet.image.flash import Device, Seed, Source


def complete_disks(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Complete disks that look like a card and are not in use."""
    from hatfleet.image.flash import Machine

    del ctx, param
    try:
        return [disk for name in Machine().likely() if (disk := f"/dev/{name}").startswith(incomplete)]
    except (HatfleetError, OSError):
        return []


@click.command()
@click.argument("image", type=click.Path(path_type=Path), metavar="IMAGE")
@click.argument("device", type=click.Path(path_type=Path), metavar="DEVICE", shell_complete=complete_disks)
@click.option(
    "--host",
    metavar="NAME",
    shell_complete=complete_hosts,
    help="Give the card to this host of the inventory: its name, network and a token for its first contact are "
    "written into the partition bootcfg.",
)
@inventory_option
@click.option(
    "--token-days",
    type=click.IntRange(1, 365),
    default=14,
    show_default=True,
    metavar="DAYS",
    help="How long the host's token can be used.",
)
@click.option(
    "--max-size",
    callback=read_size,
    default="256G",
    show_default=True,
    metavar="SIZE",
    help="A larger disk is not taken for a card.",
)
@click.option(
    "--force-device",
    metavar="NAME",
    help="Repeat the disk's name, such as sdb, to flash one that is not removable or larger than --max-size. A disk in "
    "use is never flashed.",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask. For scripts.")
@json_option
def flash(
    image: Path,
    device: Path,
    host: str | None,
    inventories: tuple[str, ...],
    token_days: int,
    max_size: int,
    force_device: str | None,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """Write IMAGE (.img or .img.zst) to the disk DEVICE, and read it back.

    Everything on the disk is lost. Refused are disks in use, not removable, read-only, too small or too large. With
    the block map (.bmap) beside the image only the blocks that matter are written. A flash that is interrupted leaves
    a disk that does not boot.

    \b
    provision image flash out/edge-pi5/edge-pi5-1.0.img.zst /dev/sdb
    provision image flash out/edge-pi5/edge-pi5-1.0.img.zst /dev/sdb --host edge-01
    """
    from hatfleet.image import flash as api

    source = api.open_source(image)
    found = api.Machine().find(device)
    api.refuse(found, source.image_bytes, max_size, force_device)
    seed = _make_seed(source, host, inventories, token_days) if host else None
    for line in (*_about_image(source), *_about_device(found), *_about_seed(seed)):
        say(line)
    _confirm(found, yes=yes)
    if api.Machine().find(device) != found:
        raise InputError(f"{found.name} is not the same any more", hint="look again which disk it is")
    flashed = api.flash(source, found, seed)
    if as_json:
        click.echo(json.dumps(asdict(flashed), indent=2))
    else:
        click.echo(f"{flashed.device}: {flashed.image}{f' for {flashed.host}' if flashed.host else ''}, verified")


def _make_seed(source: Source, host: str, inventories: tuple[str, ...], token_days: int) -> Seed:
    from hatfleet.fleet.inventory.load import inventory_paths, load_inventory
    from hatfleet.image import flash as api

    if source.declared is None:
        raise InputError(
            f"--host needs the image's manifest.json beside {source.file.name}: the seed names image and version",
            hint="flash from the folder that provision image build made",
        )
    site = Site.find()
    inventory = load_inventory(inventory_paths(site, inventories))
    return api.make_seed(site, inventory, host, (source.declared.name, source.declared.version), token_days)


def _about_image(source: Source) -> list[str]:
    lines = [f"image      {source.file.name}, {format_size(source.image_bytes)}"]
    if source.declared:
        lines.append(f"           {source.declared.name} {source.declared.version}, SHA-256 {source.declared.sha256}")
        signature = "signed (not verified here: provision image verify)" if source.signed else "not signed"
        lines.append(f"           checked against its manifest while it is written; the manifest is {signature}")
    else:
        lines.append("           no manifest of it beside it: nothing says what its checksum should be")
    if source.bmap:
        lines.append(f"           {format_size(source.bmap.mapped_blocks * 4096)} to write by its block map")
    else:
        lines.append("           no block map beside it: everything is written")
    return lines


def _about_device(device: Device) -> list[str]:
    words = [device.model, device.transport, format_size(device.size_bytes)]
    serial = f"serial {device.serial}" if device.serial else ""
    kind = "file" if device.is_file else ""
    lines = [f"onto       {device.name}: {', '.join(word for word in (kind, *words, serial) if word)}"]
    lines += [f"           {part.name}, {format_size(part.size_bytes)}, will be lost" for part in device.partitions]
    return lines


def _about_seed(seed: Seed | None) -> list[str]:
    return [f"for        {seed.host}; the token's digest goes to {seed.record_file}"] if seed else []


def _confirm(device: Device, *, yes: bool) -> None:
    if yes:
        return
    if not _is_terminal():
        raise InputError("nobody can be asked: standard input is no terminal", hint="to flash from a script: --yes")
    click.confirm(f"Erase {device.name} and write the image?", abort=True, err=True)


def _is_terminal() -> bool:
    return sys.stdin.isatty()
