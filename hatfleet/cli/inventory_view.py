"""How an inventory looks: a table of hosts; one host's variables and settings with the line each comes from."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hatfleet.common.yamlfile import Node
from hatfleet.fleet.inventory.explain import Explained
from hatfleet.fleet.inventory.load import Host, Inventory
from hatfleet.fleet.job import HostJob
from hatfleet.fleet.resolve import DEFAULT_USER

#: Columns when the output is not a terminal: nothing is cut or wrapped for grep.
_UNBOUNDED = 10_000


def print_hosts(inventory: Inventory, hosts: Sequence[str], roles: Collection[str]) -> None:
    """Print hosts with address, user, groups, and the roles that have settings of their own in the inventory."""
    table = Table(box=None, pad_edge=False)
    for heading in ("host", "address", "user", "groups", "settings for"):
        table.add_column(heading, overflow="fold")
    for name in hosts:
        variables = inventory.variables(name)
        groups = [group for group in inventory.hosts[name].groups if group != "all"]
        given = [role for role in roles if role in variables]
        table.add_row(
            Text(name, "bold"),
            Text(_address(name, variables)),
            Text(str(_value(variables, "ansible_user", DEFAULT_USER))),
            Text(", ".join(groups)),
            Text(", ".join(given) or "-"),
        )
    print_table(wide_console(), table)


def _address(name: str, variables: Mapping[str, Node]) -> str:
    port = _value(variables, "ansible_port", 22)
    return str(_value(variables, "ansible_host", name)) + (f":{port}" if port != 22 else "")


def _value(variables: Mapping[str, Node], name: str, default: object) -> object:
    return variables[name].plain() if name in variables else default


def print_host(host: Host, job: HostJob, variables: Mapping[str, Node]) -> None:
    """Print one host: how it is reached, its variables, and every setting of every role, each with its origin."""
    console = wide_console()
    console.print(Text.assemble((host.name, "bold"), f"  {', '.join(host.groups)}"))
    if job.connection:
        link = job.connection
        become = ", then sudo" if link.become else ""
        key = f", key {short(link.key_file)}" if link.key_file else ""
        console.print(Text(f"ssh {link.user}@{link.address} port {link.port}{become}{key}"))
        console.print(Text(f"host keys in {short(link.known_hosts)}"))
    roles = {role.name for role in job.roles}
    rows = [(name, node.plain(), node) for name, node in variables.items() if name not in roles]
    _print_values(console, "variables", rows)
    for role in job.roles:
        _print_values(console, role.name, list(_settings(role.settings, variables.get(role.name), "")))


def _print_values(console: Console, title: str, rows: Sequence[tuple[str, Any, Node | None]]) -> None:
    console.print(Text(f"\n{title}", "bold"))
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    # The value last: it may be long, and nothing has to line up behind it.
    for column in ("name", "origin", "value"):
        table.add_column(column, overflow="fold")
    for name, value, node in rows:
        origin = Text(f"{short(node.file)}:{node.line}", "cyan") if node else Text("default", "dim")
        table.add_row(Text(name), origin, Text(value if isinstance(value, str) else json.dumps(value)))
    print_table(console, table)


def host_json(host: Host, job: HostJob, variables: Mapping[str, Node]) -> dict[str, Any]:
    """Return one host as data: the same as print_host, each value with its file and line (null: a default)."""
    roles = {role.name for role in job.roles}
    return {
        "name": host.name,
        "groups": list(host.groups),
        "connection": job.connection.model_dump(mode="json") if job.connection else None,
        "variables": {name: _located(node.plain(), node) for name, node in variables.items() if name not in roles},
        "settings": {
            role.name: {
                name: _located(value, node)
                for name, value, node in _settings(role.settings, variables.get(role.name), "")
            }
            for role in job.roles
        },
    }


def _located(value: Any, node: Node | None) -> dict[str, Any]:
    return {"value": value, "file": str(node.file) if node else None, "line": node.line if node else None}


def _settings(values: Mapping[str, Any], node: Node | None, prefix: str) -> Iterator[tuple[str, Any, Node | None]]:
    """Yield every setting with its dotted name, its value, and the place that set it (None: a default)."""
    for key, value in values.items():
        child = node.child(key) if node else None
        if isinstance(value, dict) and value:
            yield from _settings(value, child, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value, child


def print_explained(host: Host, explained: Sequence[Explained]) -> None:
    """Print every place that gives a variable, the one that wins first."""
    console = wide_console()
    for one in explained:
        console.print(Text.assemble((one.name, "bold"), f" on {host.name}"))
        if one.description:
            console.print(Text(f"  {' '.join(one.description.split())}", "dim"))
        table = Table(box=None, pad_edge=False)
        for heading in ("", "value", "from", "place", "why"):
            table.add_column(heading, overflow="fold")
        for given in one.given:
            place = f"{short(given.file)}:{given.line}" if given.file else "-"
            value = given.value if isinstance(given.value, str) else json.dumps(given.value, ensure_ascii=False)
            style = "bold" if given.wins else "dim"
            cells = ("→" if given.wins else " ", value, given.origin, place, given.why)
            table.add_row(*(Text(cell, style) for cell in cells))
        if one.given:
            print_table(console, table)
        else:
            console.print(Text("  nothing gives it a value, and it has no default", "bold"))


def explained_json(host: Host, explained: Sequence[Explained]) -> dict[str, Any]:
    """Return the same as print_explained as data."""
    return {
        "host": host.name,
        "variables": [
            {
                "name": one.name,
                "description": one.description,
                "given": [{**asdict(given), "file": str(given.file) if given.file else None} for given in one.given],
            }
            for one in explained
        ],
    }


def short(path: Path) -> str:
    """Return a path as one would type it here: relative when it lies below the working directory."""
    here = Path(os.path.abspath(path))  # noqa: PTH100  # symbolic links stay as the user wrote them
    return str(here.relative_to(Path.cwd())) if here.is_relative_to(Path.cwd()) else str(here)


def wide_console() -> Console:
    """Return a console on standard output; where that is no terminal it neither cuts nor wraps."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_UNBOUNDED)


def print_table(console: Console, table: Table) -> None:
    """Print a table without the blanks that rich fills the last column with: in a pipe they would run very long."""
    with console.capture() as capture:
        console.print(table)
    for line in capture.get().splitlines():
        click.echo(line.rstrip())
