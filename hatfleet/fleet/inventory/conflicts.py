"""Settings on which two groups of equal rank disagree.

Ansible lets the group win whose name sorts last. For a role's settings that is a coin toss that nobody notices: the
device is hardened or not by the name of a rack.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hatfleet.common.errors import ErrorCollector, InputError
from hatfleet.common.yamlfile import Node
from hatfleet.fleet.inventory.model import Host, Inventory, Layer, same_value


@dataclass(frozen=True)
class _Conflict:
    path: tuple[str, ...]
    low: Layer
    high: Layer
    """The one that Ansible would let win."""


class Conflicts:
    """Finds the conflicts of hosts, the groups of each combination compared only once.

    Args:
        inventory: The inventory.
        roles: The roles whose settings count.
    """

    def __init__(self, inventory: Inventory, roles: Sequence[str]) -> None:
        self._inventory = inventory
        self._roles = roles
        self._found: dict[tuple[str, ...], tuple[_Conflict, ...]] = {}

    def refuse(self, name: str) -> None:
        """Check one host.

        Raises:
            InputErrors: settings that two groups of equal rank give it differently, and nothing above them decides.
        """
        host = self._inventory.hosts[name]
        if host.groups not in self._found:
            self._found[host.groups] = tuple(self._compare(host))
        own = [layer for layer in host.layers if layer.kind == "host"]
        errors = ErrorCollector()
        for conflict in self._found[host.groups]:
            if not any(_decides(layer, conflict.path) for layer in own):
                with errors.collect():
                    raise _error(self._inventory, conflict)
        errors.check()

    def _compare(self, host: Host) -> Iterator[_Conflict]:
        layers = [layer for layer in host.layers if layer.kind == "group"]
        for (_, low), (place, high) in itertools.combinations(enumerate(layers), 2):
            if not self._inventory.equal_rank(low, high):
                continue
            for role in self._roles:
                for path in _differences(low.variables.get(role), high.variables.get(role), (role,)):
                    if not any(_decides(above, path) for above in layers[place + 1 :]):
                        yield _Conflict(path, low, high)


def _differences(low: Node | None, high: Node | None, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the key paths that two values both give, differently; lists are compared as a whole, as they are set."""
    if low is None or high is None or (len(path) == 1 and None in (low.value, high.value)):
        return  # a role's name with nothing behind it sets nothing
    if isinstance(low.value, Mapping) and isinstance(high.value, Mapping):
        for key in (key for key in low.value if key in high.value):
            yield from _differences(low.value[key], high.value[key], (*path, key))
    elif not same_value(low, high):
        yield path


def _decides(layer: Layer, path: tuple[str, ...]) -> bool:
    """Whether a layer gives the setting a value of its own, or replaces the mapping that it stands in."""
    node = layer.variables.get(path[0])
    if node is None or node.value is None:
        return False
    for key in path[1:]:
        if not isinstance(node.value, Mapping):
            return True
        node = node.child(key)
        if node is None:
            return False
    return True


def _error(inventory: Inventory, conflict: _Conflict) -> InputError:
    (low_path, low), (high_path, high) = (_place(layer, conflict.path) for layer in (conflict.low, conflict.high))
    group = inventory.groups[conflict.high.owner]
    return InputError(
        f"group {conflict.high.owner} sets {high.shown()}, group {conflict.low.owner} sets {low.shown()} "
        f"({low.where(low_path)}), and neither ranks above the other "
        f"(depth {group.depth}, priority {group.priority})",
        where=high.where(high_path),
        hint="set it for the host or in a deeper group, or give one of the two groups an ansible_group_priority "
        "(above 1) under its vars in the hosts file",
    )


def _place(layer: Layer, path: tuple[str, ...]) -> tuple[str, Node]:
    node: Node = layer.variables[path[0]]
    for key in path[1:]:
        child = node.child(key)
        if child is None:
            break
        node = child
    return ".".join(path), node
