"""Inventories: which devices there are, in Ansible's YAML shape and with Ansible's merge order.

An existing Ansible YAML inventory can be used as it is. Two things differ, both on purpose: the settings of a role
(a mapping under the role's name) merge key by key, and what Ansible would pass over in silence is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from hatfleet.common.errors import ErrorCollector, InputError, nearest
from hatfleet.common.paths import state_dir
from hatfleet.common.site import Site
from hatfleet.fleet.inventory.group_tree import GroupTree
from hatfleet.fleet.inventory.model import Group, Host, Inventory, Layer
from hatfleet.fleet.inventory.selection import select_hosts
from hatfleet.fleet.inventory.source import Draft, variable_layers

__all__ = [
    "Group",
    "Host",
    "Inventory",
    "Layer",
    "inventory_names",
    "inventory_paths",
    "load_inventory",
    "select_hosts",
]

_HOSTS_FILES = ("hosts.yaml", "hosts.yml", "hosts.json")


def inventory_names(site: Site) -> list[str]:
    """Return the names of the site's inventories: folders in ``inventory/`` that hold a hosts file."""
    folder = site.root / "inventory"
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if _hosts_file(entry))


def inventory_paths(site: Site, names: Sequence[str]) -> list[Path]:
    """Return the hosts files that ``-i`` stands for.

    Args:
        site: Where to look.
        names: Each a path (a hosts file, or a folder with one), the name of an inventory of the site, or ``lab``. None
            given: the only inventory of the site.

    Raises:
        InputError: no such inventory, or none named where there are several.
    """
    if names:
        return [_named_inventory(site, name) for name in names]
    known = inventory_names(site)
    if len(known) == 1:
        return [_named_inventory(site, known[0])]
    if known:
        raise InputError(
            f"there are several inventories: {', '.join(known)}", hint=f"choose one, such as: -i {known[0]}"
        )
    raise InputError(
        f"no inventory found in {site.root / 'inventory'}",
        hint="go to your site's folder, name an inventory with -i, or make a site with: provision init DIR",
    )


def _named_inventory(site: Site, name: str) -> Path:
    given = Path(name).expanduser()
    candidates = [given, site.root / "inventory" / name]
    if name == "lab":
        candidates.append(state_dir() / "lab" / "inventory")
    for candidate in candidates:
        found = candidate if candidate.is_file() else _hosts_file(candidate)
        if found:
            return found.absolute()
    if name == "lab":
        raise InputError("there is no lab inventory: no lab device runs", hint="start some with: provision lab up -n 2")
    if given.is_dir():
        raise InputError(f"the folder {given} holds no hosts.yaml", hint="name the hosts file itself")
    known = inventory_names(site)
    close = nearest(name, known)
    raise InputError(
        f"no inventory {name!r}: neither a file nor one of the site's ({', '.join(known) or 'none'})",
        hint=f"did you mean {close!r}?" if close else f"looked in {site.root / 'inventory'}",
    )


def _hosts_file(folder: Path) -> Path | None:
    return next((folder / name for name in _HOSTS_FILES if (folder / name).is_file()), None)


def load_inventory(paths: Iterable[Path]) -> Inventory:
    """Read one or more hosts files into one inventory; later files win over earlier ones.

    Raises:
        InputErrors: everything that is wrong in the files.
    """
    sources = tuple(paths)
    draft = Draft()
    errors = ErrorCollector()
    for path in sources:
        with errors.collect():
            draft.read(path)
    errors.check()
    tree = GroupTree(draft)
    group_files: list[Mapping[str, list[Layer]]] = []
    host_files: list[Mapping[str, list[Layer]]] = []
    for number, path in enumerate(sources):
        if any(later.parent == path.parent for later in sources[number + 1 :]):
            continue  # the folder's variables count once, where they win
        with errors.collect():
            group_files.append(variable_layers(path.parent / "group_vars", "group", draft.groups, number))
        with errors.collect():
            host_files.append(variable_layers(path.parent / "host_vars", "host", draft.hosts, number))
    errors.check()
    groups = {
        name: Group(name, tree.children[name], tree.hosts[name], tree.depths[name], group.priority)
        for name, group in draft.groups.items()
    }
    hosts = {}
    for name, host in draft.hosts.items():
        order = tuple(
            sorted(tree.groups_of[name], key=lambda group: (tree.depths[group], groups[group].priority, group))
        )
        layers = _layers(order, draft, group_files)
        own = [*host.layers, *(layer for files in host_files for layer in files.get(name, ()))]
        hosts[name] = Host(name, host.source, host.line, order, (*layers, *own))
    return Inventory(sources, hosts, groups)


def _layers(order: Sequence[str], draft: Draft, files: Sequence[Mapping[str, list[Layer]]]) -> Iterator[Layer]:
    """Yield the variables of a host's groups, lowest precedence first.

    This is Ansible's default order: everything in the hosts files is below everything in group_vars/, even below
    group_vars/all; and each inventory's group_vars/ as a whole is below that of the next ``-i``.
    """
    for group in order:
        yield from draft.groups[group].layers
    for part in (order[:1], order[1:]):
        for of_source in files:
            for group in part:
                yield from of_source.get(group, ())
