"""Connections: host keys are always verified, and every refusal says why."""

from __future__ import annotations

import socket

import pytest

from hatfleet.common.errors import InputError, UnreachableError
from hatfleet.fleet.ssh import fingerprint, open_client, run_command, scan_host_key
from tests.unit.ssh_server import SshServer, make_key




def test_command_output_and_status_come_back_as_they_are(server: SshServer) -> None:
    client = open_client(server.connection)
    result = run_command(client, r"printf 'a\377b'; echo oops >&2; exit 7")
    assert (result.rc, result.stdout, result.stderr) == (7, b"a\xffb", b"oops\n")


def test_standard_input_reaches_the_command(server: SshServer) -> None:
    data = bytes(range(256)) * 4000
    assert run_command(open_client(server.connection), "cat", data).stdout == data


def test_input_that_is_not_read_does_not_hide_the_exit_status(server: SshServer) -> None:
    assert run_command(open_client(server.connection), "exit 3", b"x" * 5_000_000).rc == 3


def test_much_output_on_both_streams_does_not_stall(server: SshServer) -> None:
    result = run_command(open_client(server.connection), "yes | head -c 6000000 >&2; yes | head -c 6000000")
    assert (len(result.stdout), len(result.stderr)) == (6_000_000, 6_000_000)


def test_unknown_host_key_is_refused_and_says_how_to_trust(server: SshServer) -> None:
    connection = server.connection.model_copy(update={"known_hosts": server.folder / "none"})
    with pytest.raises(UnreachableError, match="not known") as raised:
        open_client(connection)
    assert "provision trust" in str(raised.value.hint)


def test_changed_host_key_is_refused_with_both_fingerprints(server: SshServer) -> None:
    other = make_key(server.folder / "other_key")
    port = server.connection.port
    (server.folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {other.get_name()} {other.get_base64()}\n")
    with pytest.raises(UnreachableError) as raised:
        open_client(server.connection)
    assert fingerprint(other) in str(raised.value)
    assert fingerprint(server.host_key) in str(raised.value)


def test_refused_login_is_unreachable_not_a_traceback(server: SshServer) -> None:
    make_key(server.folder / "stranger")
    connection = server.connection.model_copy(update={"key_file": server.folder / "stranger"})
    with pytest.raises(UnreachableError, match="refused the login"):
        open_client(connection)


@pytest.mark.parametrize("content", [None, "no key at all\n"])
def test_unusable_key_file_is_bad_input(server: SshServer, content: str | None) -> None:
    path = server.folder / "broken"
    if content is not None:
        path.write_text(content)
    connection = server.connection.model_copy(update={"key_file": path})
    with pytest.raises(InputError) as raised:
        open_client(connection)
    assert str(path) in str(raised.value)


def test_closed_port_is_unreachable(server: SshServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    line = (server.folder / "known_hosts").read_text().replace(str(server.connection.port), str(port))
    (server.folder / "known_hosts").write_text(line)
    with pytest.raises(UnreachableError, match="refused"):
        open_client(server.connection.model_copy(update={"port": port}))


def test_silent_peer_ends_after_the_timeout(server: SshServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        line = (server.folder / "known_hosts").read_text().replace(str(server.connection.port), str(port))
        (server.folder / "known_hosts").write_text(line)
        with pytest.raises(UnreachableError):
            open_client(server.connection.model_copy(update={"port": port, "connect_timeout_s": 0.5}))


def test_cut_connection_is_unreachable(server: SshServer) -> None:
    client = open_client(server.connection)
    server.cut()
    with pytest.raises(UnreachableError, match="lost"):
        run_command(client, "true")


def test_scan_shows_the_key_without_logging_in(server: SshServer) -> None:
    assert fingerprint(scan_host_key(server.connection)) == fingerprint(server.host_key)
