"""Jump hosts: which one the options of an inventory name, and the way through it."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest

from hatfleet.common.errors import UnreachableError
from hatfleet.fleet.job import Connection
from hatfleet.fleet.jump import jump_of
from hatfleet.fleet.ssh import Jumps, fingerprint, open_client, run_command, scan_host_key
from tests.ssh_server import SshServer, ssh_server

TARGET = Connection(address="10.0.0.5", user="admin", known_hosts=Path("known_hosts"))


@pytest.mark.parametrize(
    ("options", "user", "address", "port"),
    [
        ("-J ben@bastion", "ben", "bastion", 22),
        ("-Jben@bastion:2222", "ben", "bastion", 2222),
        ("-o ProxyJump=bastion", getpass.getuser(), "bastion", 22),
        ("-o StrictHostKeyChecking=no -oproxyjump=ben@[fe80::1]:2200 -C", "ben", "fe80::1", 2200),
        ("-o ProxyJump=first -o ProxyJump=ben@second", "ben", "second", 22),
    ],
)
def test_the_jump_host_is_taken_from_the_options_of_ssh(options: str, user: str, address: str, port: int) -> None:
    jump = jump_of(options, TARGET)
    assert jump is not None
    assert (jump.user, jump.address, jump.port, jump.become) == (user, address, port, False)


@pytest.mark.parametrize("options", ["", "-o ControlMaster=auto -C", "-J none", "-o ProxyCommand=none"])
def test_other_options_name_none(options: str) -> None:
    assert jump_of(options, TARGET) is None


def test_several_jumps_are_taken_one_after_the_other() -> None:
    jump = jump_of("-J a@first,b@second", TARGET)
    assert jump is not None and jump.jump is not None
    assert (jump.address, jump.jump.address, jump.jump.jump) == ("second", "first", None)


@pytest.mark.parametrize("options", ["-J", "-J a@b@c", "-J bastion:0", "-J bastion:99999", "-J 'two words'"])
def test_a_jump_that_is_not_understood_is_refused(options: str) -> None:
    with pytest.raises(ValueError, match=r"written|write it as"):
        jump_of(options, TARGET)


def test_a_proxy_command_is_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match="ProxyJump"):
        jump_of("-o ProxyCommand='ssh -W %h:%p bastion'", TARGET)


def behind(server: SshServer, bastion: SshServer) -> Connection:
    """Return the way to a server through another one, whose keys are all known."""
    known = server.folder / "known_both"
    known.write_text(server.connection.known_hosts.read_text() + bastion.connection.known_hosts.read_text())
    jump = bastion.connection.model_copy(update={"known_hosts": known})
    return server.connection.model_copy(update={"known_hosts": known, "jump": jump})


def test_commands_run_behind_a_jump_host_over_one_connection_to_it(server: SshServer, tmp_path: Path) -> None:
    with ssh_server(tmp_path / "bastion", forwards=True) as bastion, Jumps() as jumps:
        way = behind(server, bastion)
        clients = [open_client(way, jumps) for _ in range(3)]
        assert [run_command(client, "echo here").stdout for client in clients] == [b"here\n"] * 3
        assert fingerprint(scan_host_key(way, jumps)) == fingerprint(server.host_key)
        assert len(bastion.transports) == 1
    assert not bastion.transports[0].is_active()


def test_the_host_key_of_the_jump_host_is_verified_as_well(server: SshServer, tmp_path: Path) -> None:
    with ssh_server(tmp_path / "bastion", forwards=True) as bastion, Jumps() as jumps:
        way = behind(server, bastion)
        way.known_hosts.write_text(server.connection.known_hosts.read_text())
        with pytest.raises(UnreachableError, match=r"jump host: the host key of .* is not known"):
            open_client(way, jumps)


def test_a_jump_host_that_forwards_nothing_is_named(server: SshServer, tmp_path: Path) -> None:
    refused = pytest.raises(UnreachableError, match=r"the jump host .* does not reach")
    with ssh_server(tmp_path / "bastion") as bastion, Jumps() as jumps, refused:
        open_client(behind(server, bastion), jumps)
