from __future__ import annotations

from pathlib import Path

import pytest

from hatfleet.common.errors import InputError
from hatfleet.common.site import Site
from hatfleet.fleet.inventory.load import inventory_names, inventory_paths, load_inventory
from tests.unit.inventories import load


def test_a_value_knows_the_file_and_line_that_won() -> None:
    variables = load("valid-merge-order").variables("both")
    places = {name: (node.file.name, node.line) for name, node in variables.items()}
    assert places["v1"] == ("hosts.yaml", 11)
    assert places["v2"] == ("all.yml", 1)
    assert places["h"] == ("both.yaml", 1)


def test_an_ordinary_variable_is_replaced_and_a_roles_settings_merge() -> None:
    variables = load("valid-settings").variables("edge02", ["door"])
    assert variables["plain"].plain() == {"b": 3}
    assert variables["door"].plain() == {
        "ssh": {"max_auth_tries": 7, "level": "high", "peers": [{"name": "from edge", "port": 1}]},
        "labels": {"a": 1, "b": 3},
        "key_files": ["roles/door/settings.py"],
    }


def test_merged_settings_keep_the_place_of_each_key() -> None:
    door = load("valid-settings").variables("edge02", ["door"])["door"]
    places = {}
    for path in (("ssh", "max_auth_tries"), ("ssh", "level"), ("labels", "a"), ("labels", "b")):
        node = door.find(path)
        assert node is not None
        places[path[-1]] = node.file.name
    assert places == {"max_auth_tries": "edge02.yaml", "level": "edge.yaml", "a": "all.yaml", "b": "edge.yaml"}


def test_a_roles_name_with_nothing_behind_it_wipes_nothing() -> None:
    inventory = load("valid-settings")
    assert (
        inventory.variables("edge03", ["door"])["door"].plain()
        == inventory.variables("edge01", ["door"])["door"].plain()
    )


def test_ranges_expand_as_ansible_does() -> None:
    hosts = list(load("valid-diamond").hosts)
    assert hosts[:3] == ["node8", "node10", "node12"]
    assert hosts[3:7] == ["racka-01", "racka-02", "rackb-01", "rackb-02"]


# -i


def make_site(root: Path, *names: str) -> Site:
    (root / "inventory").mkdir(parents=True)
    for name in names:
        (root / "inventory" / name).mkdir()
        (root / "inventory" / name / "hosts.yaml").write_text("all:\n  hosts: n1\n")
    return Site(root)


def test_the_only_inventory_of_a_site_needs_no_name(tmp_path: Path) -> None:
    site = make_site(tmp_path, "prod")
    (tmp_path / "inventory" / "notes").mkdir()
    assert inventory_names(site) == ["prod"]
    assert inventory_paths(site, []) == [tmp_path / "inventory" / "prod" / "hosts.yaml"]


def test_an_inventory_is_a_name_a_folder_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = make_site(tmp_path, "prod", "test")
    file = tmp_path / "inventory" / "prod" / "hosts.yaml"
    monkeypatch.chdir(tmp_path / "inventory")
    assert inventory_paths(site, ["prod", str(file.parent), str(file)]) == [file] * 3
    monkeypatch.chdir("/")
    assert inventory_paths(site, ["prod"]) == [file]


def test_several_inventories_need_a_choice(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="several inventories: prod, test"):
        inventory_paths(make_site(tmp_path, "test", "prod"), [])


def test_a_missing_inventory_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no inventory found") as caught:
        inventory_paths(Site(tmp_path), [])
    assert "provision init" in str(caught.value.hint)


def test_an_unknown_inventory_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no inventory 'prd'") as caught:
        inventory_paths(make_site(tmp_path, "prod"), ["prd"])
    assert caught.value.hint == "did you mean 'prod'?"


def test_a_folder_without_hosts_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no hosts"):
        inventory_paths(make_site(tmp_path), [str(tmp_path)])


def test_the_lab_has_an_inventory_when_devices_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    site = make_site(tmp_path / "site", "prod")
    with pytest.raises(InputError, match="no lab device"):
        inventory_paths(site, ["lab"])
    hosts = tmp_path / "state" / "hatfleet" / "lab" / "inventory" / "hosts.yaml"
    hosts.parent.mkdir(parents=True)
    hosts.write_text("all:\n")
    assert inventory_paths(site, ["lab"]) == [hosts]


def test_all_broken_files_are_reported_at_once(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts.yaml"
    hosts.write_text("all:\n  hosts: n1\n")
    for kind, name in (("group_vars", "all.yaml"), ("host_vars", "n1.yaml")):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / name).write_text("a: [\n")
    with pytest.raises(InputError, match="2 errors"):
        load_inventory([hosts])
