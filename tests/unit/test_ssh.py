"""Connections: host keys are always verified, and every refusal says why."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from hatfleet.common.errors import InputError, UnreachableError
from hatfleet.fleet.shell import RemoteShell
from hatfleet.fleet.ssh import fingerprint, open_client, run_command, scan_host_key
from tests.ssh_server import SshServer, make_key


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


@pytest.fixture
def shell(server: SshServer) -> RemoteShell:
    return RemoteShell(open_client(server.connection), become=False)


def test_shell_returns_output_and_status_as_they_are(shell: RemoteShell) -> None:
    result = shell.run(r"printf 'a\377b'; echo oops >&2; exit 7")
    assert (result.rc, result.stdout, result.stderr) == (7, b"a\xffb", b"oops\n")
    assert shell.run("true") == shell.run(":")


@pytest.mark.parametrize("command", ["if", "echo 'open", "exit 9", "kill -9 $(sh -c 'echo $PPID')", "set -e; false"])
def test_no_command_ends_the_shell_or_hides_its_failure(shell: RemoteShell, command: str) -> None:
    assert shell.run(command).rc != 0
    assert shell.run("echo alive").stdout == b"alive\n"


def test_commands_of_a_shell_share_nothing(shell: RemoteShell) -> None:
    shell.run("cd /; x=1; export HF_X=2; umask 077")
    assert shell.run('echo "$x$HF_X $(umask)"').stdout == b" 0022\n"


def test_shell_has_an_environment_of_its_own(shell: RemoteShell, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {line.split(b"=")[0] for line in shell.run("env").stdout.splitlines()}
    assert names <= {b"PATH", b"HOME", b"LC_ALL", b"PWD", b"_", b"OLDPWD", b"SHLVL"}


def test_shell_feeds_bytes_and_an_empty_input_by_default(shell: RemoteShell) -> None:
    data = bytes(range(256)) * 3000
    assert shell.run("cat", data).stdout == data
    assert shell.run("cat").stdout == b""
    assert shell.run("exit 4", data).rc == 4


def test_shell_does_not_stall_on_much_output(shell: RemoteShell) -> None:
    result = shell.run("yes | head -c 6000000 >&2; yes | head -c 6000000")
    assert (len(result.stdout), len(result.stderr)) == (6_000_000, 6_000_000)


def test_cut_shell_is_unreachable(server: SshServer, shell: RemoteShell) -> None:
    threading.Timer(0.3, server.cut).start()
    with pytest.raises(UnreachableError, match="lost"):
        shell.run("sleep 20")


def test_shell_without_sudo_rights_says_so(server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sudo = tmp_path / "bin" / "sudo"
    sudo.parent.mkdir()
    sudo.write_text("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
    sudo.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sudo.parent}:/usr/bin:/bin")
    with pytest.raises(UnreachableError, match="a password is required") as raised:
        RemoteShell(open_client(server.connection), become=True)
    assert "NOPASSWD" in str(raised.value.hint)
