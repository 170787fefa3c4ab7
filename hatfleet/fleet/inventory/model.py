"""What an inventory is once it is read: hosts, groups, and variables in layers that remember where they came from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hatfleet.common.yamlfile import Node


@dataclass(frozen=True)
class Layer:
    """Variables from one place, for one group or host."""

    kind: Literal["group", "host"]
    """Whether they are a group's or a host's own."""
    owner: str
    """The name of that group or host."""
    variables: Mapping[str, Node]
    source: int
    """Which of the inventory's sources they come from, in the order of ``-i``, from 0."""
    in_folder: bool
    """Whether they come from ``group_vars/`` or ``host_vars/``, not from the hosts file."""

    @property
    def origin(self) -> str:
        """Whose they are: "group edge" or "host edge01"."""
        return f"{self.kind} {self.owner}"


@dataclass(frozen=True)
class Group:
    """A group; ``all`` holds every host, ``ungrouped`` those that are in no other group."""

    name: str
    children: tuple[str, ...]
    hosts: tuple[str, ...]
    """Hosts that the group itself names, not those of its children."""
    depth: int
    """Steps down from ``all``, by the longest way; deeper groups win."""
    priority: int
    """``ansible_group_priority``: among groups of equal depth the higher one wins."""


@dataclass(frozen=True)
class Host:
    """A host and everything that is said about it."""

    name: str
    source: Path
    """The hosts file that names it first; its known_hosts lies beside that file."""
    line: int
    groups: tuple[str, ...]
    """Every group it belongs to, itself or through a child group, in merge order (``all`` first)."""
    layers: tuple[Layer, ...]
    """Its variables, lowest precedence first."""


@dataclass(frozen=True)
class Inventory:
    """Hosts and groups of one or more inventory files."""

    sources: tuple[Path, ...]
    hosts: Mapping[str, Host]
    groups: Mapping[str, Group]

    def members(self, group: str) -> list[str]:
        """Return all hosts of a group, those of its children included, in the order of the inventory."""
        return [name for name, host in self.hosts.items() if group in host.groups]

    def members_in_order(self, group: str) -> list[str]:
        """Return all hosts of a group in the order in which Ansible counts them, for ``group[0]``.

        First those that the group names itself, then those of its children, then those of their children; a child's
        in the order of the file.
        """
        level, seen = [group], {group}
        hosts: dict[str, None] = {}
        while level:
            hosts.update((host, None) for name in level for host in self.groups[name].hosts)
            children = dict.fromkeys(child for name in level for child in self.groups[name].children)
            level = [child for child in children if child not in seen]
            seen.update(level)
        return list(hosts)

    def equal_rank(self, one: Layer, other: Layer) -> bool:
        """Whether nothing but the names of two groups decides which of these layers wins."""
        if one.kind == "host" or other.kind == "host" or one.owner == other.owner:
            return False
        if one.in_folder and other.in_folder and one.source != other.source:
            return False  # the user put them into an order, with -i
        first, second = self.groups[one.owner], self.groups[other.owner]
        return (first.depth, first.priority) == (second.depth, second.priority)

    def variables(self, host: str, deep: Collection[str] = ()) -> dict[str, Node]:
        """Return a host's final variables.

        Args:
            host: Its name.
            deep: Variables that merge key by key over the layers (the settings of roles). All others are replaced
                as a whole by the layer of highest precedence, as Ansible does.
        """
        merged: dict[str, Node] = {}
        for layer in self.hosts[host].layers:
            for name, node in layer.variables.items():
                if name in deep and name in merged:
                    # A role's name with nothing behind it sets nothing; it does not wipe what others set.
                    merged[name] = merged[name] if node.value is None else merge(merged[name], node)
                else:
                    merged[name] = node
        return merged


def merge(low: Node, high: Node) -> Node:
    """Lay one value over another: mappings key by key, everything else is replaced."""
    if not (isinstance(low.value, Mapping) and isinstance(high.value, Mapping)):
        return high
    keys = dict(low.value)
    for key, node in high.value.items():
        keys[key] = merge(keys[key], node) if key in keys else node
    return Node(keys, high.file, high.line)


def same_value(one: Node, other: Node) -> bool:
    """Whether two values are alike, wherever they stand."""
    if isinstance(one.value, Mapping) and isinstance(other.value, Mapping):
        theirs = other.value
        return one.value.keys() == theirs.keys() and all(
            same_value(node, theirs[key]) for key, node in one.value.items()
        )
    if isinstance(one.value, tuple) and isinstance(other.value, tuple):
        return len(one.value) == len(other.value) and all(map(same_value, one.value, other.value))
    return one.value == other.value
