"""Reads one inventory source: a hosts file in Ansible's YAML shape, and group_vars/ and host_vars/ beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hatfleet.common.errors import ErrorCollector, InputError, Where, nearest
from hatfleet.common.yamlfile import Node
from hatfleet.fleet.inventory.foreign import read_hosts_file, read_variables_file
from hatfleet.fleet.inventory.model import Layer
from hatfleet.fleet.inventory.patterns import check_name, expand_hosts, split_port

_GROUP_KEYS = ("hosts", "children", "vars")
PRIORITY = "ansible_group_priority"

#: The order in which Ansible tries the names of a variables file; the first that exists is the one.
SUFFIXES = ("", ".yml", ".yaml", ".json")


@dataclass
class GroupDraft:
    """What the sources read so far say about a group. The dictionaries keep the order of the files."""

    children: dict[str, Where] = field(default_factory=dict)
    hosts: dict[str, None] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    priority: int = 1


@dataclass
class HostDraft:
    """What the sources read so far say about a host."""

    source: Path
    line: int
    layers: list[Layer] = field(default_factory=list)


class Draft:
    """Hosts and groups while hosts files are being read, one after the other."""

    def __init__(self) -> None:
        self.groups = {"all": GroupDraft(children={"ungrouped": Where()}), "ungrouped": GroupDraft()}
        self.hosts: dict[str, HostDraft] = {}
        self._source = -1

    def read(self, path: Path) -> None:
        """Add a hosts file.

        Raises:
            InputError: it is not valid YAML or not an inventory.
        """
        self._source += 1
        for name, node in read_hosts_file(path).items():
            self._group(name, node, name)

    def _group(self, name: str, node: Node, key: str) -> None:
        check_name(name, "group", node.where(key))
        group = self.groups.setdefault(name, GroupDraft())
        for part, content in node.mapping("a group", key).items():
            inner = f"{key}.{part}"
            if part == "vars":
                variables = dict(content.mapping("a group's vars", inner))
                if PRIORITY in variables:
                    group.priority = _priority(variables.pop(PRIORITY), f"{inner}.{PRIORITY}")
                group.layers.append(self._layer("group", name, variables))
            elif part == "children":
                for child, child_node in _names(content, "a group's children", inner):
                    group.children[child] = child_node.where(f"{inner}.{child}")
                    self._group(child, child_node, f"{inner}.{child}")
            elif part == "hosts":
                for pattern, host_node in _names(content, "a group's hosts", inner):
                    self._hosts(group, pattern, host_node, f"{inner}.{pattern}")
            else:
                close = nearest(part, _GROUP_KEYS)
                raise InputError(
                    f"unknown key {part!r} in group {name}; a group has {', '.join(_GROUP_KEYS)}",
                    where=content.where(inner),
                    hint=f"did you mean {close!r}?" if close else "a child group stands under 'children:'",
                )

    def _hosts(self, group: GroupDraft, pattern: str, node: Node, key: str) -> None:
        variables = node.mapping("a host's variables", key)
        names, port = split_port(pattern)
        for name in expand_hosts(names, node.where(key)):
            group.hosts[name] = None
            if name not in self.hosts:
                self.hosts[name] = HostDraft(node.file, node.line)
                if port is not None:
                    # As in Ansible, a port behind the name counts where the host is named first, and nowhere else.
                    own_port = {"ansible_port": Node(port, node.file, node.line, str(port))}
                    self.hosts[name].layers.append(self._layer("host", name, own_port))
            if variables:
                self.hosts[name].layers.append(self._layer("host", name, variables))

    def _layer(self, kind: Literal["group", "host"], owner: str, variables: Mapping[str, Node]) -> Layer:
        return Layer(kind, owner, variables, self._source, in_folder=False)


def _names(node: Node, what: str, key: str) -> Iterator[tuple[str, Node]]:
    """Yield the entries of ``hosts`` or ``children``; one plain name is allowed for a single entry, as in Ansible."""
    if isinstance(node.value, str):
        yield node.value, Node(None, node.file, node.line)
    elif isinstance(node.value, tuple):
        raise InputError(
            f"{what} must be a mapping, found a list",
            where=node.where(key),
            hint="write each name as a key: 'edge01:' instead of '- edge01'",
        )
    else:
        yield from node.mapping(what, key).items()


def _priority(node: Node, key: str) -> int:
    if isinstance(node.value, int) and not isinstance(node.value, bool):
        return node.value
    if isinstance(node.value, str) and re.fullmatch(r"-?[0-9]+", node.value):
        return int(node.value)
    raise InputError(f"found {node.shown()}, allowed is an integer", where=node.where(key))


def variable_layers(
    folder: Path, kind: Literal["group", "host"], names: Iterable[str], source: int
) -> dict[str, list[Layer]]:
    """Read the variables files of groups or hosts.

    Args:
        folder: ``group_vars`` or ``host_vars``; it may be missing.
        kind: "group" or "host".
        names: Whose files to read; files of other names are left alone, as Ansible does.
        source: Which of the inventory's sources the folder belongs to, from 0.

    Raises:
        InputErrors: all files that cannot be read, are not valid YAML or are not mappings.
    """
    layers: dict[str, list[Layer]] = {}
    errors = ErrorCollector()
    present = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    for name in names:
        with errors.collect():
            for file in _files_of(folder, name, present):
                layer = Layer(kind, name, read_variables_file(file), source, in_folder=True)
                layers.setdefault(name, []).append(layer)
    errors.check()
    return layers


def _files_of(folder: Path, name: str, present: set[str]) -> list[Path]:
    found = [folder / f"{name}{suffix}" for suffix in SUFFIXES if f"{name}{suffix}" in present]
    if len(found) > 1:
        # Ansible reads the first and drops the others without a word; settings that seem to be there but are not
        # are how a fleet drifts open.
        places = " and ".join(f"{path.name}/" if path.is_dir() else path.name for path in found)
        raise InputError(
            f"the variables of {name} are in {places}; only one can be read",
            where=Where(found[1]),
            hint=f"keep one of them, or make {name}/ a folder and put the files into it",
        )
    if not found:
        return []
    return list(_folder_files(found[0])) if found[0].is_dir() else found


def _folder_files(folder: Path) -> Iterator[Path]:
    """Yield the files of a variables folder, by name, folders inside it included; hidden and backup files are not."""
    for entry in sorted(folder.iterdir(), key=lambda path: path.name):
        if entry.name.startswith(".") or entry.name.endswith("~"):
            continue
        if entry.is_dir() and not entry.suffix:
            yield from _folder_files(entry)
        elif entry.is_file() and entry.suffix in SUFFIXES:
            yield entry
