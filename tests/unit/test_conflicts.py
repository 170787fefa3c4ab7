from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hatfleet.common.errors import InputErrors
from hatfleet.fleet.inventory.conflicts import Conflicts
from hatfleet.fleet.inventory.explain import explain
from hatfleet.fleet.inventory.load import Inventory, load_inventory
from tests.unit.inventories import SITE


def inventory(root: Path, groups: dict[str, object], **files: object) -> Inventory:
    """An inventory of host n1; files are named ``group_vars__blue``."""
    (root / "hosts.yaml").write_text(yaml.safe_dump(groups))
    for name, content in files.items():
        path = root / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(content))
    return load_inventory([root / "hosts.yaml"])


def group(**variables: object) -> dict[str, object]:
    return {"hosts": "n1", "vars": variables}


def conflicts(found: Inventory) -> list[str]:
    try:
        Conflicts(found, ["door"]).refuse("n1")
    except InputErrors as errors:
        return [str(error.where and error.where.key) for error in errors.errors]
    return []


def test_two_groups_of_equal_rank_that_disagree_are_refused_with_both_places(tmp_path: Path) -> None:
    found = inventory(tmp_path, {"a": group(door={"ratio": 1}), "b": group()}, group_vars__b={"door": {"ratio": 2}})
    with pytest.raises(InputErrors) as caught:
        Conflicts(found, ["door"]).refuse("n1")
    (error,) = caught.value.errors
    assert str(error.where) == f"{tmp_path}/group_vars/b.yaml:2 at door.ratio"
    assert f"group a sets 1 ({tmp_path}/hosts.yaml:5 at door.ratio)" in error.message
    assert "ansible_group_priority" in str(error.hint)


@pytest.mark.parametrize(
    "groups",
    [
        pytest.param({"a": group(door={"ratio": 1}), "b": group(door={"ratio": 1})}, id="the same value"),
        pytest.param({"a": group(door={"ratio": 1}), "b": group(door={"labels": {}})}, id="other settings"),
        pytest.param({"a": group(door={"ratio": 1}), "b": group(door=None)}, id="nothing"),
        pytest.param({"a": group(plain={"ratio": 1}), "b": group(plain={"ratio": 2})}, id="no role"),
        pytest.param(
            {"a": group(door={"ratio": 1}), "b": group(door={"ratio": 2}, ansible_group_priority=2)}, id="priority"
        ),
        pytest.param(
            {"a": {"children": {"b": group(door={"ratio": 2})}, "vars": {"door": {"ratio": 1}}}}, id="parent and child"
        ),
        pytest.param(
            {"a": group(door={"ratio": 1}), "x": {"children": {"b": group(door={"ratio": 2})}}}, id="another depth"
        ),
        pytest.param({"a": group(door={"ratio": 1}), "b": {"vars": {"door": {"ratio": 2}}}}, id="another host"),
        pytest.param(
            {
                "a": group(door={"ratio": 1}),
                "b": group(door={"ratio": 2}),
                "x": {"children": {"c": group(door={"ratio": 3})}},
            },
            id="a deeper group decides",
        ),
        pytest.param(
            {
                "a": group(door={"ratio": 1}),
                "b": group(door={"ratio": 2}),
                "all": {"hosts": {"n1": {"door": {"ratio": 3}}}},
            },
            id="the host decides",
        ),
    ],
)
def test_what_is_decided_is_no_conflict(tmp_path: Path, groups: dict[str, object]) -> None:
    assert conflicts(inventory(tmp_path, groups)) == []


def test_each_setting_counts_by_itself(tmp_path: Path) -> None:
    low = {"ssh": {"level": "low", "mode": "0600", "peers": []}, "ratio": 1, "labels": {"a": 1, "b": 2}}
    high = {"ssh": {"level": "high", "mode": "0644", "peers": [{"name": "x"}]}, "ratio": 1, "labels": {"b": 3, "c": 4}}
    found = inventory(
        tmp_path, {"a": group(door=low), "b": group(door=high)}, host_vars__n1={"door": {"ssh": {"mode": "0400"}}}
    )
    assert conflicts(found) == ["door.labels.b", "door.ssh.level", "door.ssh.peers"]


def test_something_else_in_place_of_a_group_of_settings_is_a_conflict(tmp_path: Path) -> None:
    groups = {"a": group(door={"ssh": {"mode": "0600"}}), "b": group(door={"ssh": None})}
    assert conflicts(inventory(tmp_path, groups)) == ["door.ssh"]


def test_three_groups_are_compared_with_the_one_that_would_win(tmp_path: Path) -> None:
    groups = {name: group(door={"ratio": number}) for number, name in enumerate("abc")}
    assert conflicts(inventory(tmp_path, groups)) == ["door.ratio", "door.ratio"]


def test_the_order_of_sources_decides_between_their_group_vars(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b")):
        (tmp_path / name / "group_vars").mkdir(parents=True)
        (tmp_path / name / "hosts.yaml").write_text(yaml.safe_dump({"a": group(), "b": group()}))
        (tmp_path / name / "group_vars" / f"{name}.yaml").write_text(f"door: {{ratio: {number}}}\n")
    assert conflicts(load_inventory([tmp_path / "a" / "hosts.yaml", tmp_path / "b" / "hosts.yaml"])) == []


def test_explain_calls_a_conflict_one(tmp_path: Path) -> None:
    found = inventory(tmp_path, {"a": group(door={"ratio": 1}), "b": group(door={"ratio": 2})})
    (one,) = explain(SITE, found, "n1", "door.ratio")
    assert [given.why for given in one.given[:2]] == [
        "CONFLICT: nothing but its name lets it win",
        "CONFLICT: b and a have the same depth and priority",
    ]


@pytest.mark.parametrize(
    ("groups", "files", "why"),
    [
        ({"a": {"children": {"b": group(v=2)}, "vars": {"v": 1}}}, {}, "b is deeper: 2 steps below all, against 1"),
        (
            {"a": group(v=1), "b": group(v=2, ansible_group_priority=9)},
            {},
            "b has ansible_group_priority 9, against 1",
        ),
        ({"a": group(v=1), "b": group(v=2)}, {}, "same depth and priority: the name that sorts last wins"),
        ({"a": group(), "b": group(v=1)}, {"group_vars__a": {"v": 2}}, "group_vars/ wins over the hosts file"),
        ({"a": {"hosts": {"n1": {"v": 1}}}}, {"host_vars__n1": {"v": 2}}, "host_vars/ wins over the hosts file"),
        ({"a": group(v=2), "all": {"vars": {"v": 1}}}, {}, "every other group wins over all"),
        (
            {"a": {"hosts": {"n1": {"v": 1}}}, "b": {"hosts": {"n1": {"v": 2}}}},
            {},
            "a later place in the hosts file wins",
        ),
    ],
)
def test_explain_says_why_a_value_lost(
    tmp_path: Path, groups: dict[str, object], files: dict[str, object], why: str
) -> None:
    (one,) = explain(SITE, inventory(tmp_path, groups, **files), "n1", "v")
    assert [(given.value, given.why) for given in one.given] == [(2, "wins"), (1, why)]


def test_explain_says_that_a_later_source_or_file_won(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "group_vars" / "a").mkdir(parents=True)
        (tmp_path / name / "hosts.yaml").write_text(yaml.safe_dump({"a": group()}))
        for file in ("1.yaml", "2.yaml"):
            (tmp_path / name / "group_vars" / "a" / file).write_text(f"v: {name}/{file}\n")
    found = load_inventory([tmp_path / "one" / "hosts.yaml", tmp_path / "two" / "hosts.yaml"])
    (one,) = explain(SITE, found, "n1", "v")
    assert [(given.value, given.why) for given in one.given] == [
        ("two/2.yaml", "wins"),
        ("two/1.yaml", "a later file of the folder wins"),
        ("one/2.yaml", "a later -i wins"),
        ("one/1.yaml", "a later -i wins"),
    ]
