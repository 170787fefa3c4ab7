"""Reads the files of an inventory, and says of those that only Ansible can read what they are and what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from hatfleet.common.errors import InputError, Where
from hatfleet.common.yamlfile import Node, load_yaml

_CONVERT = "convert it once with: ansible-inventory -i {name} --list --yaml --export > new.yaml"
_INI_SECTION = re.compile(r"\[[^\[\]\s]+\]\s*([#;].*)?")
_INI_HOST = re.compile(r"[^\s:=\[]+(\[[^\]]*\])?(\s+\w+=\S+)+\s*([#;].*)?")
_VAULT = "$ANSIBLE_VAULT;"


def read_hosts_file(path: Path) -> Mapping[str, Node]:
    """Return the top level of a hosts file: groups by name.

    Raises:
        InputError: it is not valid YAML, or something else that Ansible takes for an inventory: INI, a program, the
            configuration of a plugin.
    """
    try:
        root = load_yaml(path)
    except InputError as error:
        raise _explained(path) or error from error
    if not isinstance(root.value, Mapping | None):
        found = f"not an inventory: a mapping of groups is expected, found {root.shown()}"
        raise _explained(path) or InputError(found, where=root.where(), hint=_CONVERT.format(name=path.name))
    groups = root.mapping("an inventory")
    if "plugin" in groups and not isinstance(groups["plugin"].value, Mapping):
        raise InputError(
            f"this configures Ansible's inventory plugin {groups['plugin'].shown()}; only hosts files are read",
            where=groups["plugin"].where("plugin"),
            hint=_CONVERT.format(name=path.name),
        )
    return groups


def read_variables_file(path: Path) -> Mapping[str, Node]:
    """Return the variables in a file of ``group_vars/`` or ``host_vars/``.

    Raises:
        InputError: it is not valid YAML, not a mapping, or encrypted with ansible-vault.
    """
    root = load_yaml(path)
    if isinstance(root.value, str) and root.value.startswith(_VAULT):
        raise InputError(
            "the file is encrypted with ansible-vault, which is not read here",
            where=Where(path),
            hint="decrypt it with ansible-vault, and encrypt its secrets with: provision secrets encrypt",
        )
    return root.mapping("a variables file")


def _explained(path: Path) -> InputError | None:
    """Return what a file that is no YAML inventory is, when it can be told."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return None
    if lines and lines[0].startswith("#!"):
        what = "this is a program that prints an inventory; only hosts files are read"
        return InputError(what, where=Where(path, 1), hint=_CONVERT.format(name=path.name))
    if lines and lines[0].startswith(_VAULT):
        what = "the hosts file is encrypted with ansible-vault, which is not read here"
        return InputError(what, where=Where(path, 1), hint="decrypt it with: ansible-vault decrypt")
    written = ((number, line.strip()) for number, line in enumerate(lines, 1) if line.strip())
    first = next(((number, line) for number, line in written if line[0] not in "#;"), None)
    if first and (_INI_SECTION.fullmatch(first[1]) or _INI_HOST.fullmatch(first[1])):
        what = "this is an inventory in INI format; hosts files are YAML"
        return InputError(what, where=Where(path, first[0]), hint=_CONVERT.format(name=path.name))
    return None
