from __future__ import annotations

from pathlib import Path

import pytest

from hatfleet.common.errors import InputError, InputErrors
from hatfleet.common.site import Site
from hatfleet.fleet.inventory.load import load_inventory
from hatfleet.fleet.inventory.schema import DRAFT, variables_schema
from hatfleet.fleet.job import HostJob
from hatfleet.fleet.resolve import resolve_hosts
from hatfleet.fleet.roles import load_role_info
from tests.unit.inventories import INVENTORIES, ROLES, SITE, load, shown

INVALID = sorted(path.name for path in INVENTORIES.glob("invalid-*"))


def resolve(name: str) -> dict[str, HostJob]:
    inventory = load(name)
    return {job.name: job for job in resolve_hosts(SITE, inventory, list(inventory.hosts), ROLES)}


@pytest.mark.parametrize("name", INVALID)
def test_what_is_wrong_is_explained_with_its_place(name: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve(name)
    assert shown(caught.value) == (INVENTORIES / name / "errors.txt").read_text().splitlines()
    assert caught.value.exit_code == 2


def test_there_are_invalid_inventories() -> None:
    assert len(INVALID) > 20


def test_settings_are_validated_and_complete() -> None:
    job = resolve("valid-settings")["edge01"]
    assert [run.name for run in job.roles] == list(ROLES)
    assert job.roles[0].settings["ssh"] == {
        "max_auth_tries": 3,
        "mode": "0644",
        "level": "high",
        "peers": [{"name": "from edge", "port": 1}],
        "limit": None,
        "gone": None,
    }
    assert job.roles[1].settings == {"room": "unknown", "pin": 4}


def test_settings_survive_the_way_to_the_worker() -> None:
    job = resolve("valid-settings")["edge02"]
    again = HostJob.model_validate_json(job.model_dump_json())
    assert again == job
    for run in again.roles:
        load_role_info(SITE, run.name).settings.model_validate(run.settings)


def test_a_relative_path_is_taken_from_the_site() -> None:
    settings = resolve("valid-settings")["edge02"].roles[0].settings
    assert settings["key_files"] == [str(SITE.root / "roles" / "door" / "settings.py")]


def test_only_the_roles_asked_for_are_judged() -> None:
    inventory = load("invalid-settings")
    (job,) = resolve_hosts(SITE, inventory, ["edge01"], ["sensor"])
    assert [run.name for run in job.roles] == ["sensor"]


def test_an_unknown_role_names_what_there_is() -> None:
    with pytest.raises(InputErrors) as caught:
        resolve_hosts(SITE, load("valid-settings"), ["edge01"], ["dor"])
    assert "unknown role 'dor'" in shown(caught.value)[0]
    assert "did you mean 'door'?" in shown(caught.value)[0]


def test_connections_follow_the_variables() -> None:
    jobs = resolve("valid-settings")
    one, two, three = (jobs[name].connection for name in ("edge01", "edge02", "edge03"))
    assert one and two and three
    assert (one.address, one.port, one.user, one.become) == ("192.0.2.1", 2222, "root", False)
    assert one.known_hosts == INVENTORIES / "valid-settings" / "known_hosts"
    assert (two.address, two.port, two.user, two.become) == ("edge02", 22, "ops", True)
    assert two.known_hosts == SITE.root / "trust" / "hosts"
    assert (three.user, three.become) == ("root", True)
    assert one.key_file is None


def test_the_default_user_is_the_images_admin() -> None:
    job = resolve_hosts(SITE, load("valid-diamond"), ["node8"], [])[0]
    assert job.connection is not None
    assert (job.connection.user, job.connection.become) == ("admin", True)


def test_known_hosts_lies_beside_the_file_that_names_the_host() -> None:
    inventory = load("valid-merge-order", "valid-second-source")
    jobs = resolve_hosts(SITE, inventory, ["edge01", "edge99"], [])
    folders = [job.connection.known_hosts.parent.name for job in jobs if job.connection]
    assert folders == ["valid-merge-order", "valid-second-source"]


def write_site(root: Path, key_file: str) -> Site:
    (root / "inventory" / "one").mkdir(parents=True)
    hosts = f"all:\n  hosts:\n    n1:\n      ansible_ssh_private_key_file: {key_file}\n"
    (root / "inventory" / "one" / "hosts.yaml").write_text(hosts)
    return Site(root)


def test_a_private_key_is_found_from_the_site(tmp_path: Path) -> None:
    site = write_site(tmp_path, "secret/id")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "id").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    inventory = load_inventory([tmp_path / "inventory" / "one" / "hosts.yaml"])
    (job,) = resolve_hosts(site, inventory, ["n1"], [])
    assert job.connection is not None
    assert job.connection.key_file == tmp_path / "secret" / "id"


def test_a_private_key_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    site = write_site(tmp_path, "id")
    (tmp_path / "id").symlink_to("id")  # unreadable for root, too
    inventory = load_inventory([tmp_path / "inventory" / "one" / "hosts.yaml"])
    with pytest.raises(InputErrors) as caught:
        resolve_hosts(site, inventory, ["n1"], [])
    assert "hosts.yaml:4 at ansible_ssh_private_key_file: cannot read the private key" in shown(caught.value)[0]
    assert "symbolic links" in shown(caught.value)[0]


def test_the_schema_covers_every_role_and_the_connection() -> None:
    schema = variables_schema(SITE)
    assert schema["$schema"] == DRAFT
    assert {"door", "sensor", "ansible_host", "ansible_port"} <= set(schema["properties"])
    door = schema["$defs"][schema["properties"]["door"]["$ref"].rpartition("/")[2]]
    assert door["additionalProperties"] is False
    assert set(door["properties"]) == {"ssh", "key_files", "ratio", "labels"}


def test_the_schema_lets_a_file_hold_a_part_of_the_settings() -> None:
    schema = variables_schema(SITE)
    sensor = schema["$defs"][schema["properties"]["sensor"]["$ref"].rpartition("/")[2]]
    assert "required" not in sensor
    assert sensor["properties"]["pin"]["description"] == "Number of the GPIO pin."
