"""What is recorded of the real Ansible, against the real Ansible: the record cannot rot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.golden import matched, program, said
from tests.unit.inventories import INVENTORIES
from tests.unit.test_inventory_ansible import recorded


@pytest.fixture(scope="module")
def ansible_inventory() -> Path:
    found = program()
    assert found is not None, "make setup brings ansible-core"
    return found


def test_what_is_recorded_is_what_ansible_says(ansible_inventory: Path) -> None:
    for folder, answer in said(ansible_inventory).items():
        assert answer.listed == recorded(folder), folder
        assert answer.drawn == (INVENTORIES / folder / "graph.txt").read_text(), folder


def test_the_recorded_patterns_select_what_ansible_selects(ansible_inventory: Path) -> None:
    answers = json.loads((INVENTORIES / "valid-patterns" / "patterns.json").read_text())
    assert {pattern: set(hosts) for pattern, hosts in matched(ansible_inventory, "valid-patterns").items()} == {
        pattern: set(hosts) for pattern, hosts in answers.items()
    }
