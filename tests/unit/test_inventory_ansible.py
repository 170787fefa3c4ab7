"""The fixture inventories against what the real Ansible says about them (tests/unit/golden.py)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hatfleet.fleet.inventory.export import ansible_list, graph
from hatfleet.fleet.inventory.load import Inventory, load_inventory
from tests.unit.golden import LISTED, hosts_file
from tests.unit.inventories import INVENTORIES

CASES = pytest.mark.parametrize(("names", "folder"), LISTED, ids=[folder for _, folder in LISTED])


def read(names: tuple[str, ...]) -> Inventory:
    return load_inventory([hosts_file(name) for name in names])


def recorded(folder: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((INVENTORIES / folder / "ansible.json").read_text())
    return found


@CASES
def test_hosts_groups_and_variables_are_as_ansible_has_them(names: tuple[str, ...], folder: str) -> None:
    inventory = read(names)
    assert ansible_list(inventory, list(inventory.hosts), ()) == recorded(folder)


@CASES
def test_the_tree_is_as_ansible_draws_it(names: tuple[str, ...], folder: str) -> None:
    inventory = read(names)
    assert "\n".join(graph(inventory, set(inventory.hosts))) == (INVENTORIES / folder / "graph.txt").read_text().strip()


def test_every_valid_inventory_without_settings_of_roles_is_compared() -> None:
    folders = {path.name for path in INVENTORIES.glob("valid-*")}
    assert folders - {folder for _, folder in LISTED} == {"valid-settings"}
