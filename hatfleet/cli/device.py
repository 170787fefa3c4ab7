"""``provision device``: one device as a whole."""

from __future__ import annotations

import click

from hatfleet.cli.complete import complete_hosts
from hatfleet.cli.options import choose_host, inventory_option
from hatfleet.common.progress import say
from hatfleet.fleet.wipe import wipe as wipe_device


@click.group()
def device() -> None:
    """Look after single devices."""


@device.command()
@click.argument("host", shell_complete=complete_hosts)
@inventory_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def wipe(host: str, inventories: tuple[str, ...], yes: bool) -> None:
    """Take a device back to the day it was flashed: everything it has written is given up.

    Its data, logs and name go, and so do its machine id and its SSH host key: it is a new device afterwards, to be
    trusted anew. The image it runs stays. For devices that were booted from a hatfleet image.

    \b
    provision device wipe edge-01
    provision trust edge-01 --fingerprint SHA256:…     what its console shows at the next boot
    """
    connection = choose_host(host, inventories)
    if not yes:
        click.confirm(f"Everything that {host} has written will be lost. Go on?", abort=True, err=True)
    wipe_device(host, connection)
    say(f"{host}: wiped; it starts anew, with another host key (provision trust {host} --fingerprint SHA256:…)")
