"""The lab with a real image: what only a booted system can show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.booted import listed
from tests.conftest import STATE, Provision
from tests.unit.lab_tiny import some_key

pytestmark = pytest.mark.fleet

LAB = STATE / "hatfleet" / "lab"


def test_devices_are_listed_as_running(provision: Provision, lab_devices: tuple[str, ...]) -> None:
    rows = listed(provision)
    assert {name: rows[name]["state"] for name in lab_devices} == dict.fromkeys(lab_devices, "running")
    assert len({rows[name]["port"] for name in lab_devices}) == len(lab_devices)


def test_up_again_leaves_running_devices_alone(
    provision: Provision, lab_devices: tuple[str, ...], on_device: Callable[..., str]
) -> None:
    before = on_device(lab_devices[0], "cat /proc/sys/kernel/random/boot_id")
    provision("lab", "up", "-n", str(len(lab_devices)))
    assert on_device(lab_devices[0], "cat /proc/sys/kernel/random/boot_id") == before


def test_the_exit_status_and_the_output_of_a_command_pass_through(
    provision: Provision, lab_devices: tuple[str, ...]
) -> None:
    assert provision("lab", "ssh", lab_devices[0], "echo out; exit 7", expect=7).stdout == "out\n"
    assert provision("lab", "ssh", lab_devices[0], "--", "echo", "-n", "x").stdout == "x"


def test_the_pinned_host_key_is_the_one_the_console_and_the_device_show(
    provision: Provision, lab_devices: tuple[str, ...], on_device: Callable[..., str]
) -> None:
    for name in lab_devices:
        pinned = listed(provision)[name]["host_key"]
        assert f"hatfleet-hostkey: {pinned}" in provision("lab", "console", name).stdout
        assert on_device(name, "cat /etc/ssh/ssh_host_ed25519_key.pub").startswith(pinned)


def test_devices_have_different_host_keys_and_machine_ids(
    provision: Provision, lab_devices: tuple[str, ...], on_device: Callable[..., str]
) -> None:
    rows = listed(provision)
    assert len({rows[name]["host_key"] for name in lab_devices}) == len(lab_devices)
    assert len({on_device(name, "cat /etc/machine-id") for name in lab_devices}) == len(lab_devices)


@pytest.fixture
def wrong_host_keys() -> Iterator[None]:
    known_hosts = LAB / "inventory" / "known_hosts"
    before = known_hosts.read_text()
    lines = [line.split()[0] for line in before.splitlines()]
    known_hosts.write_text("".join(f"{host} ssh-ed25519 {some_key('B')}\n" for host in lines))
    yield
    known_hosts.write_text(before)


def test_a_host_key_other_than_the_pinned_one_is_refused(
    provision: Provision, lab_devices: tuple[str, ...], wrong_host_keys: None
) -> None:
    refused = provision("lab", "ssh", lab_devices[0], "echo in", expect=255)
    assert "HOST IDENTIFICATION HAS CHANGED" in refused.stderr
    assert refused.stdout == ""


def test_the_lab_folder_is_closed_to_other_users(lab_devices: tuple[str, ...]) -> None:
    folders = [LAB / name for name in lab_devices]
    assert [Path(folder).stat().st_mode & 0o077 for folder in folders] == [0] * len(folders)
