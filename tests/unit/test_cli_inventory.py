from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from hatfleet.cli.complete import complete_explain, complete_hosts, complete_inventories, complete_roles
from hatfleet.cli.inventory import inventory
from hatfleet.common.errors import HatfleetError, InputError, InputErrors
from tests.unit.inventories import INVENTORIES, SITE


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site of its own with one inventory, as the working directory."""
    root = tmp_path / "site"
    shutil.copytree(SITE.root, root)
    shutil.copytree(INVENTORIES / "valid-settings", root / "inventory" / "prod")
    monkeypatch.chdir(root)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return root


def run(*args: str) -> Result:
    result = CliRunner().invoke(inventory, list(args))
    assert result.exception is None or isinstance(result.exception, HatfleetError | SystemExit)
    return result


def printed(*args: str) -> str:
    result = run(*args)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_table_shows_every_host(site: Path) -> None:
    rows = [line.split() for line in printed().splitlines()]
    assert rows[0] == ["host", "address", "user", "groups", "settings", "for"]
    assert rows[1] == ["edge01", "192.0.2.1:2222", "root", "edge", "door,", "sensor"]
    assert rows[2] == ["edge02", "edge02", "ops", "edge", "door,", "sensor"]


def test_a_limit_narrows_the_table(site: Path) -> None:
    assert [line.split()[0] for line in printed("-l", "edge0[13]").splitlines()] == ["host", "edge01", "edge03"]


def test_wrong_settings_are_reported_below_the_table(site: Path) -> None:
    result = run("-i", str(INVENTORIES / "invalid-settings"))
    assert isinstance(result.exception, InputErrors)
    assert len(result.exception.errors) > 5
    assert "edge02" in result.stdout


def test_a_host_shows_every_value_with_its_line(site: Path) -> None:
    lines = [line.split() for line in printed("--host", "edge02").splitlines()]
    folder = "inventory/prod"
    assert ["ansible_user", f"{folder}/hosts.yaml:11", "ops"] in lines
    assert ["ssh.max_auth_tries", f"{folder}/host_vars/edge02.yaml:2", "7"] in lines
    assert ["ssh.level", f"{folder}/group_vars/edge.yaml:3", "high"] in lines
    assert ["labels.a", f"{folder}/group_vars/all.yaml:6", "1"] in lines
    assert ["ratio", "default", "1.0"] in lines
    assert ["host", "keys", "in", "trust/hosts"] in lines


def test_a_host_as_json_has_values_and_places(site: Path) -> None:
    data = json.loads(printed("--host", "edge02", "--json"))
    tries = data["settings"]["door"]["ssh.max_auth_tries"]
    assert (tries["value"], Path(tries["file"]).name, tries["line"]) == (7, "edge02.yaml", 2)
    assert data["settings"]["door"]["ratio"] == {"value": 1.0, "file": None, "line": None}
    assert data["connection"]["user"] == "ops"
    assert data["groups"] == ["all", "edge"]
    assert set(data["variables"]) == {"ansible_user", "hatfleet_known_hosts", "plain", "hardware"}


def test_an_unknown_host_names_the_nearest(site: Path) -> None:
    error = run("--host", "edge4").exception
    assert isinstance(error, InputError)
    assert (error.message, error.hint) == ("unknown host 'edge4'", "did you mean 'edge03'?")


def test_json_is_the_shape_of_ansible_inventory(site: Path) -> None:
    data = json.loads(printed("--json", "-l", "edge01"))
    assert data["edge"] == {"hosts": ["edge01"]}
    assert set(data["_meta"]["hostvars"]) == {"edge01"}
    assert data["_meta"]["hostvars"]["edge01"]["door"]["labels"] == {"a": 1, "b": 3}


def test_the_graph_is_a_tree(site: Path) -> None:
    assert printed("--graph", "-l", "edge01").splitlines() == [
        "@all:",
        "  |--@ungrouped:",
        "  |--@edge:",
        "  |  |--edge01",
    ]


def test_the_schema_needs_no_inventory(site: Path) -> None:
    shutil.rmtree(site / "inventory" / "prod")
    assert "door" in json.loads(printed("--schema"))["properties"]


def test_views_exclude_each_other(site: Path) -> None:
    result = run("--graph", "--schema")
    assert result.exit_code == 2
    assert "exclude each other" in result.stderr


# Completion


def offered(items: list[click.shell_completion.CompletionItem]) -> list[str]:
    return [item.value for item in items]


def context(inventories: tuple[str, ...] = ()) -> tuple[click.Context, click.Parameter]:
    ctx = click.Context(inventory)
    ctx.params["inventories"] = inventories
    return ctx, inventory.params[0]


def test_hosts_and_groups_complete_and_so_does_the_last_term_of_a_list(site: Path) -> None:
    assert offered(complete_hosts(*context(), "edge")) == ["edge01", "edge02", "edge03", "edge"]
    assert offered(complete_hosts(*context(), "all:!edge01,ed")) == [
        "all:!edge01,edge01",
        "all:!edge01,edge02",
        "all:!edge01,edge03",
        "all:!edge01,edge",
    ]


def test_completion_looks_into_the_chosen_inventory(site: Path) -> None:
    assert offered(complete_hosts(*context((str(INVENTORIES / "valid-aliases"),)), "n")) == ["n1", "n2"]


def test_completion_offers_nothing_where_the_inventory_is_broken(site: Path) -> None:
    (site / "inventory" / "prod" / "hosts.yaml").write_text("a: [\n")
    assert complete_hosts(*context(), "") == []


def test_roles_complete(site: Path) -> None:
    assert "door" in offered(complete_roles(*context(), ""))
    assert offered(complete_roles(*context(), "door,sen")) == ["door,sensor"]


def test_inventories_complete_with_the_lab_while_it_runs(site: Path, tmp_path: Path) -> None:
    assert offered(complete_inventories(*context(), "")) == ["prod"]
    lab = tmp_path / "state" / "hatfleet" / "lab" / "inventory"
    lab.mkdir(parents=True)
    (lab / "hosts.yaml").write_text("all:\n")
    assert offered(complete_inventories(*context(), "")) == ["prod", "lab"]
    assert complete_inventories(*context(), "./x")[0].type == "file"


# --explain


def explained(*args: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(printed("--json", "--explain", *args))
    return found


def rows(*args: str) -> list[tuple[str, str, bool]]:
    (one,) = explained(*args)["variables"]
    return [(given["origin"], given["value"], given["wins"]) for given in one["given"]]


def test_explain_shows_the_place_that_won_and_those_that_lost_with_the_reason(site: Path) -> None:
    lines = printed("--explain", "edge02", "door.ssh.max_auth_tries").splitlines()
    assert lines[:2] == ["door.ssh.max_auth_tries on edge02", "  Attempts to log in per connection."]
    assert lines[3].split() == ["→", "7", "host", "edge02", "inventory/prod/host_vars/edge02.yaml:2", "wins"]
    assert "inventory/prod/group_vars/all.yaml:3" in lines[4]
    assert lines[4].endswith("a host's own variables win over its groups'")
    assert lines[5].split()[:5] == ["4", "default", "of", "role", "door"]


def test_explain_of_a_default_says_so(site: Path) -> None:
    assert rows("edge02", "sensor.room") == [("default of role sensor", "unknown", True)]
    assert rows("edge01", "ansible_host") == [
        ("host edge01", "192.0.2.1", True),
        ("default of hatfleet", None, False),
    ]


def test_explain_of_a_group_of_settings_explains_each_of_them(site: Path) -> None:
    found = explained("edge02", "door")["variables"]
    assert [one["name"] for one in found][-3:] == ["door.ratio", "door.labels.a", "door.labels.b"]
    winners = {one["name"]: next(given["origin"] for given in one["given"] if given["wins"]) for one in found}
    assert winners["door.ssh.level"] == "group edge"
    assert winners["door.labels.a"] == "group all"
    assert winners["door.ratio"] == "default of role door"


def test_an_ordinary_variable_is_explained_as_a_whole_or_in_part(site: Path) -> None:
    assert rows("edge02", "plain") == [("group edge", {"b": 3}, True), ("group all", {"a": 1, "b": 2}, False)]
    assert rows("edge02", "plain.b") == [("group edge", 3, True), ("group all", 2, False)]


def test_explain_works_where_the_settings_are_wrong(site: Path) -> None:
    (site / "inventory" / "prod" / "host_vars" / "edge01.yaml").write_text("door: {ratio: none}\nsensor:\n")
    assert rows("edge01", "door.ratio") == [("host edge01", "none", True), ("default of role door", 1.0, False)]


def test_explain_shows_a_setting_that_is_needed_and_not_given(site: Path) -> None:
    hosts = site / "inventory" / "prod" / "hosts.yaml"
    hosts.write_text(hosts.read_text().replace("sensor: {pin: 4}", "other: 1"))
    assert "nothing gives it a value, and it has no default" in printed("--explain", "edge01", "sensor.pin")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("door.ssh.levle", "did you mean 'door.ssh.level'?"),
        ("ansible_hots", "did you mean 'ansible_host'?"),
        ("plian", "did you mean 'plain'?"),
        ("xyz", "see its variables with: provision inventory --host edge01"),
    ],
)
def test_explain_of_an_unknown_variable_names_the_nearest(site: Path, name: str, hint: str) -> None:
    error = run("--explain", "edge01", name).exception
    assert isinstance(error, InputError)
    assert (error.exit_code, error.hint) == (2, hint)


def test_explain_of_an_unknown_host_names_the_nearest(site: Path) -> None:
    error = run("--explain", "edge4", "plain").exception
    assert isinstance(error, InputError)
    assert error.hint == "did you mean 'edge03'?"


def test_explain_completes_hosts_and_settings(site: Path) -> None:
    assert "edge02" in offered(complete_explain(*context(), ""))
    assert offered(complete_explain(*context(), "door.ssh.m")) == ["door.ssh.max_auth_tries", "door.ssh.mode"]
