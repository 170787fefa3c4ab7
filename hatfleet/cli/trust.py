"""``provision trust``: record a host key after its fingerprint was compared."""

from __future__ import annotations

import click

from hatfleet.cli.complete import complete_hosts
from hatfleet.cli.options import inventory_option
from hatfleet.common.errors import InputError
from hatfleet.common.files import write_atomic
from hatfleet.common.site import Site
from hatfleet.fleet.inventory.load import inventory_paths, load_inventory, select_hosts
from hatfleet.fleet.known_hosts import keys_of
from hatfleet.fleet.resolve import resolve_hosts
from hatfleet.fleet.ssh import Jumps, fingerprint, host_id, scan_host_key


@click.command()
@click.argument("host", shell_complete=complete_hosts)
@click.option(
    "--fingerprint",
    "expected",
    required=True,
    metavar="SHA256:…",
    help="The Ed25519 host key's fingerprint, as the device itself shows it.",
)
@inventory_option
def trust(host: str, expected: str, inventories: tuple[str, ...]) -> None:
    """Record a device's host key, if it has the fingerprint you read on the device.

    Read it on the device's own console, not over the network:

    \b
    ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub
    provision trust edge-01 --fingerprint SHA256:…

    The key goes into the known_hosts file beside the inventory. A key recorded before for that host is replaced.
    """
    if not expected.startswith("SHA256:"):
        raise InputError(
            f"{expected!r} is not a SHA256 fingerprint", hint="it starts with SHA256: (ssh-keygen -lf FILE)"
        )
    site = Site.find()
    inventory = load_inventory(inventory_paths(site, inventories))
    names = select_hosts(inventory, host)
    if names != [host]:
        raise InputError(f"{host!r} is not one host of the inventory", hint="see: provision inventory")
    connection = resolve_hosts(site, inventory, names, ())[0].connection
    assert connection is not None
    with Jumps() as jumps:
        key = scan_host_key(connection, jumps)
    found = fingerprint(key)
    if found != expected.rstrip("="):
        raise InputError(
            f"{host} shows another key than the one given: found {found}, given {expected}",
            hint="do not trust it: read the fingerprint again on the device's console",
        )
    name = host_id(connection)
    known = keys_of(connection.known_hosts, name)
    lines = [
        line
        for line in (connection.known_hosts.read_text().splitlines() if connection.known_hosts.exists() else [])
        if name not in line.split(" ", 1)[0].split(",")
    ]
    lines.append(f"{name} {key.get_name()} {key.get_base64()}")
    write_atomic(connection.known_hosts, "\n".join(lines) + "\n")
    replaced = " (replaces the key known before)" if known.lookup(name) else ""
    click.echo(f"{host}: {found} recorded in {connection.known_hosts}{replaced}")
