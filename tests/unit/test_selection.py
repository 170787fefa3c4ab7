from __future__ import annotations

import json
from pathlib import Path

import pytest

from hatfleet.common.errors import InputError
from hatfleet.fleet.inventory.load import load_inventory, select_hosts
from hatfleet.fleet.inventory.selection import check_limit_file
from tests.unit.golden import PATTERNS
from tests.unit.inventories import INVENTORIES, load

#: Where Ansible takes one of two readings without a word, and we ask.
TWO_READINGS = {"pi-a*[1]", "pi*[-1]"}

AS_ANSIBLE = json.loads((INVENTORIES / "valid-patterns" / "patterns.json").read_text())


def test_every_pattern_has_an_answer_of_the_real_ansible() -> None:
    assert list(AS_ANSIBLE) == list(PATTERNS)
    assert len(PATTERNS) > 60


@pytest.mark.parametrize("pattern", [pattern for pattern, hosts in AS_ANSIBLE.items() if hosts])
def test_a_limit_selects_what_ansible_selects(pattern: str) -> None:
    inventory = load("valid-patterns")
    if pattern in TWO_READINGS:
        with pytest.raises(InputError, match="two ways"):
            select_hosts(inventory, pattern)
        return
    hosts = AS_ANSIBLE[pattern]
    assert select_hosts(inventory, pattern) == [name for name in inventory.hosts if name in hosts]


@pytest.mark.parametrize("pattern", [pattern for pattern, hosts in AS_ANSIBLE.items() if not hosts])
def test_a_limit_with_which_ansible_selects_nothing_is_an_error(pattern: str) -> None:
    with pytest.raises(InputError):
        select_hosts(load("valid-patterns"), pattern)


# --limit


@pytest.mark.parametrize(
    ("limit", "hosts"),
    [
        (None, "lone both edge03 edge01 edge02 ea9 eb9 ec9"),
        ("all", "lone both edge03 edge01 edge02 ea9 eb9 ec9"),
        ("edge02,lone", "lone edge02"),
        ("edge02:lone", "lone edge02"),
        (" edge02 , lone,", "lone edge02"),
        ("rack_b", "both edge03"),
        ("edge", "both edge03 edge01 edge02 ea9 eb9 ec9"),
        ("ungrouped", "lone"),
        ("edge:!rack_*", "ea9 eb9 ec9"),
        ("!edge", "lone"),
        ("edge:&other", "both edge03 edge01"),
        ("edge:&other:!both", "edge03 edge01"),
        ("&other", "both edge03 edge01"),
        ("!both,edge:&other", "edge03 edge01"),
        ("edge0[12]", "edge01 edge02"),
        ("e?9", "ea9 eb9 ec9"),
        ("rack*", "both edge03 edge01 edge02"),
        ("rack_a,rack_b", "both edge03 edge01 edge02"),
    ],
)
def test_a_limit_selects(limit: str | None, hosts: str) -> None:
    assert select_hosts(load("valid-merge-order"), limit) == hosts.split()


@pytest.mark.parametrize(
    ("limit", "words", "hint"),
    [
        ("edge04", "unknown host or group 'edge04'", "did you mean 'edge03'?"),
        ("edge:!rack_c", "unknown host or group 'rack_c'", "did you mean 'rack_b'?"),
        ("edge:&rock_a", "unknown host or group 'rock_a'", "did you mean 'rack_a'?"),
        ("quite_else", "unknown host or group 'quite_else'", "groups: all, ungrouped"),
        ("x*", "no host or group matches 'x*'", "hosts: lone"),
        ("edge:!edge", "selects no host", "--graph"),
        ("empty", "selects no host", "--graph"),
        ("", "selects no host", "--graph"),
        (" , ", "selects no host", "--graph"),
        ("!", "unknown host or group ''", ""),
    ],
)
def test_a_limit_that_selects_nothing_known_is_an_error(limit: str, words: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        select_hosts(load("valid-merge-order"), limit)
    assert words in caught.value.message
    assert hint in str(caught.value.hint)


def test_a_name_of_both_a_host_and_a_group_cannot_be_a_limit(tmp_path: Path) -> None:
    (tmp_path / "hosts.yaml").write_text("all:\n  children:\n    twin:\n      hosts:\n        twin:\n        other:\n")
    inventory = load_inventory([tmp_path / "hosts.yaml"])
    assert select_hosts(inventory, "other") == ["other"]
    with pytest.raises(InputError, match="both a host and a group"):
        select_hosts(inventory, "twin")


# Beyond Ansible, and where it would guess


@pytest.mark.parametrize(
    ("limit", "hosts"),
    [
        ("pi-a[02:04]", "pi-a02 pi-a03 pi-a04"),
        ("pi-[a:b]0[1:2]", "pi-a01 pi-a02 pi-b01 pi-b02"),
        ("pi-a[01:05:4],pi-c1", "pi-a01 pi-a05 pi-c1"),
        ("rack-a:!pi-a[01:05]", "pi-a06"),
        ("pi-a0[12]", "pi-a01 pi-a02"),
        ("pi-a0[1-2]", "pi-a01 pi-a02"),
        ("pi-a0[1,2]", "pi-a01 pi-a02"),
        ("~pi-(?:a|b)0[1:,3]{1,2}$", "pi-a01 pi-a03 pi-b01 pi-b03"),
        ("rack-b:&~pi-b0(1|3),pi-c1", "pi-b01 pi-b03"),
    ],
)
def test_names_have_ranges_and_brackets_do_not_divide(limit: str, hosts: str) -> None:
    assert select_hosts(load("valid-patterns"), limit) == hosts.split()


@pytest.mark.parametrize(
    ("limit", "words", "hint"),
    [
        ("pi-a[05:07]", "names hosts that are not there: pi-a07", "groups: all"),
        ("pi-z[05:07]", "no host or group matches", "groups: all"),
        ("pi-a[07:05]", "is empty: 07 is above 05", ""),
        ("rack-a[6]", "beyond the end: rack-a has 6 hosts", "the last rack-a[-1]"),
        ("~rack-(", "not a regular expression", ""),
        ("&@file", "term of its own", "lines of the file"),
    ],
)
def test_a_wrong_limit_says_why(limit: str, words: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        select_hosts(load("valid-patterns"), limit)
    assert words in caught.value.message
    assert hint in str(caught.value.hint)


def test_a_subscript_of_a_group_that_may_also_be_a_range_of_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hosts.yaml").write_text("edge:\n  hosts:\n    edge[0:3]:\n")
    inventory = load_inventory([tmp_path / "hosts.yaml"])
    assert select_hosts(inventory, "edge[0:1]") == ["edge0", "edge1"]
    (tmp_path / "hosts.yaml").write_text("edge:\n  hosts:\n    edge[1:4]:\n")
    with pytest.raises(InputError, match=r"two ways: as edge2, edge3, or as edge1, edge2"):
        select_hosts(load_inventory([tmp_path / "hosts.yaml"]), "edge[1:2]")


# @file


def test_a_limit_file_has_a_limit_a_line(tmp_path: Path) -> None:
    file = tmp_path / "failed.txt"
    file.write_text("# from the last run\npi-a01\n\n  rack-b  # all of it\n!pi-b0[12],!pi-b03\n")
    inventory = load("valid-patterns")
    assert select_hosts(inventory, f"@{file}") == ["pi-a01", "pi-b04"]
    assert select_hosts(inventory, f"stray,@{file}:!pi-b04") == ["stray", "pi-a01"]


def test_a_wrong_line_of_a_limit_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "failed.txt"
    file.write_text("pi-a01\npi-a1\n")
    with pytest.raises(InputError, match="unknown host or group 'pi-a1'") as caught:
        select_hosts(load("valid-patterns"), f"@{file}")
    assert str(caught.value.where) == f"{file}:2"
    assert [error.message for error in check_limit_file(load("valid-patterns"), file)] == [caught.value.message]


def test_a_limit_file_that_is_missing_or_empty_selects_nothing(tmp_path: Path) -> None:
    inventory = load("valid-patterns")
    with pytest.raises(InputError, match="cannot read the file: no such file"):
        select_hosts(inventory, f"@{tmp_path / 'none'}")
    (tmp_path / "empty").write_text("# nobody failed\n")
    with pytest.raises(InputError, match="selects no host"):
        select_hosts(inventory, f"@{tmp_path / 'empty'}")


def test_a_limit_file_cannot_name_another(tmp_path: Path) -> None:
    (tmp_path / "loop").write_text(f"@{tmp_path / 'loop'}\n")
    with pytest.raises(InputError) as caught:
        select_hosts(load("valid-patterns"), f"@{tmp_path / 'loop'}")
    assert caught.value.hint == "a limit file cannot name another"
