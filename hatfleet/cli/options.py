"""Options that several commands share, so that they mean the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from hatfleet.cli.complete import complete_hosts, complete_inventories, complete_roles
from hatfleet.cli.identity import identity_options, make_vault
from hatfleet.common.errors import InputError, nearest
from hatfleet.common.site import Site
from hatfleet.common.sizes import parse_size
from hatfleet.fleet.inventory.load import Inventory, inventory_paths, load_inventory, select_hosts
from hatfleet.fleet.job import Connection, HostJob
from hatfleet.fleet.resolve import resolve_hosts
from hatfleet.fleet.roles import deploy_roles

F = TypeVar("F", bound=Callable[..., Any])

inventory_option = click.option(
    "-i",
    "--inventory",
    "inventories",
    multiple=True,
    metavar="NAME|PATH",
    shell_complete=complete_inventories,
    help="Inventory: a folder or hosts file, a name under inventory/, or 'lab' for the virtual devices. "
    "May be given several times; later ones win. Default: the only one of the site.",
)
limit_option = click.option(
    "-l",
    "--limit",
    metavar="PATTERN",
    shell_complete=complete_hosts,
    help="Only these hosts: names, groups, globs, ~regex, rack-a[0:2], edge[01:09], @FILE; a,b adds, &c keeps, "
    "!d takes away, such as 'edge-01,rack-a:!edge-07'.",
)
roles_option = click.option(
    "-r",
    "--roles",
    metavar="ROLES",
    shell_complete=complete_roles,
    help="Only these roles of the deploy, separated by commas.",
)
deploy_option = click.option(
    "--deploy", default="site", show_default=True, metavar="NAME", help="Which list of roles to run: deploys/NAME.py."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")
verbose_option = click.option("-v", "--verbose", is_flag=True, help="Show what is as declared, too.")


def read_size(_ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Read a size such as 500M or 20G into bytes; the callback of options that take one."""
    return None if value is None else parse_size(value, param.opts[0])


def target_options(command: F) -> F:
    """Add the options that choose hosts and roles, and how their secrets are decrypted."""
    command = identity_options(command)
    for option in (verbose_option, json_option, deploy_option, roles_option, limit_option, inventory_option):
        command = option(command)
    return command


@dataclass(frozen=True)
class Targets:
    """What the target options chose."""

    site: Site
    inventory_names: tuple[str, ...]
    inventory: Inventory
    roles: tuple[str, ...]
    hosts: tuple[HostJob, ...]


def choose_roles(site: Site, deploy: str, roles: str | None) -> tuple[str, ...]:
    """Return the roles of a deploy, or those of them that ``--roles`` names, in the deploy's order.

    Raises:
        InputError: a name that is not in the deploy.
    """
    known = deploy_roles(site, deploy)
    if roles is None:
        return known
    wanted = [name.strip() for name in roles.split(",") if name.strip()]
    for name in wanted:
        if name not in known:
            close = nearest(name, known)
            raise InputError(
                f"unknown role {name!r} in --roles: deploy {deploy!r} runs {', '.join(known)}",
                hint=f"did you mean {close!r}?" if close else None,
            )
    if not wanted:
        raise InputError("--roles names no role", hint=f"deploy {deploy!r} runs {', '.join(known)}")
    return tuple(name for name in known if name in wanted)


def choose_targets(inventories: tuple[str, ...], limit: str | None, roles: str | None, deploy: str) -> Targets:
    """Load the inventory, choose hosts and roles, and validate every setting.

    Raises:
        InputError: anything that is wrong with them; all wrong settings at once.
    """
    site = Site.find()
    paths = inventory_paths(site, inventories)
    inventory = load_inventory(paths)
    chosen = choose_roles(site, deploy, roles)
    hosts = select_hosts(inventory, limit)
    if not hosts:
        raise InputError("no host to work on: the inventory or the limit is empty", hint="see: provision inventory")
    jobs = resolve_hosts(site, inventory, hosts, chosen, make_vault(site))
    return Targets(site, tuple(str(path) for path in paths), inventory, chosen, jobs)


def choose_host(host: str, inventories: tuple[str, ...]) -> Connection:
    """Return how to reach one host of the inventory.

    Raises:
        InputError: it is not one host of the inventory, or has no address.
    """
    site = Site.find()
    inventory = load_inventory(inventory_paths(site, inventories))
    names = select_hosts(inventory, host)
    if names != [host]:
        raise InputError(f"{host!r} is not one host of the inventory", hint="see: provision inventory")
    connection = resolve_hosts(site, inventory, names, ())[0].connection
    if connection is None:
        raise InputError(f"host {host} has no address to connect to", hint="set ansible_host")
    return connection
