"""An inventory as other tools know it: the JSON of ``ansible-inventory --list`` and the tree of ``--graph``."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from hatfleet.fleet.inventory.model import Inventory


def ansible_list(inventory: Inventory, hosts: Sequence[str], deep: Collection[str]) -> dict[str, Any]:
    """Return hosts, groups and variables in the shape of ``ansible-inventory --list``.

    Args:
        inventory: The inventory.
        hosts: The hosts to show.
        deep: Names of roles, whose settings merge key by key.
    """
    hostvars = {}
    for name in hosts:
        variables = {key: node.plain() for key, node in inventory.variables(name, deep).items()}
        if variables:
            hostvars[name] = variables
    shown = set(hosts)
    result: dict[str, Any] = {"_meta": {"hostvars": hostvars}}
    for name, group in inventory.groups.items():
        members = [host for host in group.hosts if host in shown and name != "all"]
        parts = {"hosts": members, "children": list(group.children)}
        filled = {key: value for key, value in parts.items() if value}
        if filled:
            result[name] = filled
    return result


def graph(inventory: Inventory, hosts: Collection[str]) -> Iterator[str]:
    """Yield the lines of an ASCII tree of groups and hosts, as ``ansible-inventory --graph`` draws it."""
    yield "@all:"
    yield from _branch(inventory, hosts, "all", 1)


def _branch(inventory: Inventory, hosts: Collection[str], group: str, depth: int) -> Iterator[str]:
    indent = "  |" * depth
    for child in inventory.groups[group].children:
        yield f"{indent}--@{child}:"
        yield from _branch(inventory, hosts, child, depth + 1)
    if group != "all":
        yield from (f"{indent}--{host}" for host in inventory.groups[group].hosts if host in hosts)
