"""Where a variable's value comes from: every place that gives it, which one won, and why the others lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hatfleet.common.errors import InputError, nearest
from hatfleet.common.site import Site
from hatfleet.common.yamlfile import Node
from hatfleet.fleet.inventory.defaults import declared, setting_paths
from hatfleet.fleet.inventory.model import Host, Inventory, Layer, same_value
from hatfleet.fleet.resolve import ConnectionVariables
from hatfleet.fleet.roles import load_role_info

_CONFLICT = "CONFLICT"


@dataclass(frozen=True)
class Given:
    """A value that one place gives."""

    value: Any
    origin: str
    """Whose variables they are: "group edge", "host edge01", or "default"."""
    file: Path | None
    """Where it stands; None for a default."""
    line: int | None
    wins: bool
    why: str
    """Why it lost, or that it is the one that counts."""


@dataclass(frozen=True)
class Explained:
    """One variable or setting of a host."""

    name: str
    description: str | None
    given: tuple[Given, ...]
    """The one that wins first, then the others, highest precedence first; empty: nothing gives it a value."""


def explain(site: Site, inventory: Inventory, host: str, name: str) -> tuple[Explained, ...]:
    """Explain a variable of a host.

    Args:
        site: Where the roles are.
        inventory: The inventory.
        host: A host of it.
        name: A variable (``ansible_host``), a setting (``base.admin.name``), or a role or group of settings
            (``base``, ``base.admin``), which gives one answer a setting.

    Raises:
        InputError: no place gives it and nothing declares it.
    """
    path = tuple(name.split("."))
    model, prefix = _model(site, path[0])
    explainer = _Explainer(inventory, inventory.hosts[host], model, prefix)
    found = tuple(explainer.one(leaf) for leaf in (explainer.leaves(path) if prefix else (path,)))
    if not any(one.given for one in found) and path != prefix and declared(model, path[len(prefix) :]) is None:
        raise _unknown(site, inventory.hosts[host], model, name)
    return found


def variable_names(site: Site, inventory: Inventory) -> list[str]:
    """Return what there is to explain: variables of the inventory, connection variables, and settings of roles."""
    names = {name for host in inventory.hosts.values() for layer in host.layers for name in layer.variables}
    names |= set(ConnectionVariables.model_fields)
    for role in site.names("roles"):
        names |= {role} | {".".join((role, *path)) for path in setting_paths(load_role_info(site, role).settings)}
    return sorted(names)


def _model(site: Site, head: str) -> tuple[type[BaseModel], tuple[str, ...]]:
    """Return the model that declares a variable, and the part of its name that leads to the model."""
    if head in site.names("roles"):
        return load_role_info(site, head).settings, (head,)
    return ConnectionVariables, ()


class _Explainer:
    def __init__(self, inventory: Inventory, host: Host, model: type[BaseModel], prefix: tuple[str, ...]) -> None:
        self._inventory = inventory
        self._host = host
        self._model = model
        self._prefix = prefix

    def leaves(self, path: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Return the settings at or below a path, as declared and then as given."""
        known = [(*self._prefix, *leaf) for leaf in setting_paths(self._model)]
        below = [leaf for leaf in known if leaf[: len(path)] == path]
        for layer in self._host.layers:
            node = _at(layer, path)
            below += [leaf for leaf in _leaves(node, path) if leaf not in below] if node else []
        # Of a free mapping (labels) its keys are explained, where there are any.
        inner = {leaf[:length] for leaf in below for length in range(1, len(leaf))}
        return [leaf for leaf in below if leaf not in inner] or [path]

    def one(self, path: tuple[str, ...]) -> Explained:
        """Explain one variable, or one setting of a role."""
        layers = [(layer, node) for layer in reversed(self._host.layers) if (node := _at(layer, path))]
        if not self._prefix:
            # An ordinary variable is replaced as a whole: a part of it can only come from the last that gives it.
            layers = [
                (layer, layer.variables[path[0]].find(path[1:]) or Node(None, node.file, node.line))
                for layer, node in layers
            ]
        reasons = ["wins" if len(layers) > 1 else "the only place that gives it"]
        for layer, node in layers[1:]:
            winner, winning = layers[0]
            reasons.append(self._why_it_lost(layer, winner, same=same_value(node, winning)))
        if any(reason.startswith(_CONFLICT) for reason in reasons):
            reasons[0] = f"{_CONFLICT}: nothing but its name lets it win"
        given = [
            Given(_value(node), layer.origin, node.file, node.line, layer is layers[0][0], why)
            for (layer, node), why in zip(layers, reasons, strict=False)
        ]
        known = declared(self._model, path[len(self._prefix) :])
        if known and known.has_default:
            whose = f"role {self._prefix[0]}" if self._prefix else "hatfleet"
            why = "the inventory gives it" if given else "nothing else gives it"
            given.append(Given(known.default, f"default of {whose}", None, None, not given, why))
        return Explained(".".join(path), known.description if known else None, tuple(given))

    def _why_it_lost(self, lost: Layer, won: Layer, *, same: bool) -> str:
        if won.kind != lost.kind:
            return "a host's own variables win over its groups'"
        if self._prefix and not same and self._inventory.equal_rank(lost, won):
            return f"{_CONFLICT}: {won.owner} and {lost.owner} have the same depth and priority"
        if won.in_folder != lost.in_folder:
            return f"{won.kind}_vars/ wins over the hosts file"
        if won.kind == "group" and won.owner != lost.owner:
            return self._why_the_group_lost(lost, won)
        if won.source != lost.source:
            return "a later -i wins"
        return "a later file of the folder wins" if won.in_folder else "a later place in the hosts file wins"

    def _why_the_group_lost(self, lost: Layer, won: Layer) -> str:
        if lost.owner == "all":
            return "every other group wins over all"
        if lost.in_folder and won.source != lost.source:
            return "a later -i wins"
        low, high = self._inventory.groups[lost.owner], self._inventory.groups[won.owner]
        if high.depth != low.depth:
            return f"{won.owner} is deeper: {high.depth} steps below all, against {low.depth}"
        if high.priority != low.priority:
            return f"{won.owner} has ansible_group_priority {high.priority}, against {low.priority}"
        return "same depth and priority: the name that sorts last wins"


def _at(layer: Layer, path: tuple[str, ...]) -> Node | None:
    """Return what a layer says at a key path: the value there, or one that stands in the way of it."""
    node = layer.variables.get(path[0])
    if node is None or (node.value is None and len(path) > 1):
        return None
    for key in path[1:]:
        child = node.child(key)
        if child is None:
            return None if isinstance(node.value, Mapping) else node
        node = child
    return node


def _leaves(node: Node, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(node.value, Mapping):
        for key, child in node.value.items():
            yield from _leaves(child, (*path, key))
    elif len(path) > 1:
        yield path


def _value(node: Node) -> Any:
    """Return a value for people and machines; what is not plain data as its node shows it."""
    if node.value is None or isinstance(node.value, str | int | float | tuple | Mapping):
        return node.plain()
    return node.shown()


def _unknown(site: Site, host: Host, model: type[BaseModel], name: str) -> InputError:
    given = [variable for layer in host.layers for variable in layer.variables]
    settings = [f"{name.partition('.')[0]}.{'.'.join(path)}" for path in setting_paths(model)]
    known: Sequence[str] = [*given, *ConnectionVariables.model_fields, *site.names("roles"), *settings]
    close = nearest(name, known)
    return InputError(
        f"nothing gives {host.name} a variable {name!r}, and no role has such a setting",
        hint=f"did you mean {close!r}?" if close else f"see its variables with: provision inventory --host {host.name}",
    )
