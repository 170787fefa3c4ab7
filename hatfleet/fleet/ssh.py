"""SSH to a device: one place for how we connect. Host keys are always verified; nothing turns that off."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import threading
from dataclasses import dataclass

import paramiko

from hatfleet.common.errors import InputError, UnreachableError, Where
from hatfleet.fleet.job import Connection
from hatfleet.fleet.known_hosts import keys_of

#: A connection whose peer has not acknowledged anything for this long is dead, milliseconds (TCP_USER_TIMEOUT).
DEAD_PEER_MS = 30_000

#: Interval of SSH keepalive messages, seconds: they make the kernel notice a dead peer.
KEEPALIVE_S = 10


@dataclass(frozen=True)
class CommandOutput:
    """What a remote command returned: its exit status and its raw output."""

    rc: int
    stdout: bytes
    stderr: bytes


def fingerprint(key: paramiko.PKey) -> str:
    """Return a key's fingerprint as OpenSSH prints it (``SHA256:…``)."""
    digest = hashlib.sha256(key.asbytes()).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def host_id(connection: Connection) -> str:
    """Return the name under which known_hosts files list this address and port."""
    return connection.address if connection.port == 22 else f"[{connection.address}]:{connection.port}"


def open_client(connection: Connection, jumps: Jumps | None = None) -> paramiko.SSHClient:
    """Connect and log in.

    Args:
        connection: Where to, and how.
        jumps: The connections to jump hosts; they must stay open as long as the client.

    Raises:
        InputError: the private key file cannot be used.
        UnreachableError: no connection, an unknown or changed host key, or the login was refused.
    """
    known = keys_of(connection.known_hosts, host_id(connection))
    if not known.lookup(host_id(connection)):
        raise UnreachableError(
            f"the host key of {host_id(connection)} is not known",
            hint="read its fingerprint on the device (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then: "
            "provision trust HOST --fingerprint SHA256:…",
            where=Where(connection.known_hosts),
        )
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    client.get_host_keys().update(known)
    key = _load_key(connection)
    try:
        client.connect(
            connection.address,
            port=connection.port,
            username=connection.user,
            pkey=key,
            allow_agent=key is None,
            look_for_keys=key is None,
            timeout=connection.connect_timeout_s,
            banner_timeout=connection.connect_timeout_s,
            auth_timeout=connection.connect_timeout_s,
            channel_timeout=connection.connect_timeout_s,
            sock=_open_stream(connection, jumps),
        )
    except BaseException as error:
        client.close()
        if isinstance(error, (paramiko.SSHException, OSError, EOFError)):
            raise _unreachable(connection, error) from error
        raise
    transport = client.get_transport()
    if transport is not None:
        transport.set_keepalive(KEEPALIVE_S)
    return client


class Jumps:
    """Connections to jump hosts, one each, shared by all devices behind it; use it as a context manager."""

    def __init__(self) -> None:
        self._clients: dict[str, paramiko.SSHClient] = {}
        # Held again for the jump host of a jump host.
        self._lock = threading.RLock()

    def __enter__(self) -> Jumps:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def open_channel(self, connection: Connection) -> paramiko.Channel:
        """Open a channel through a connection's jump host to its address.

        Raises:
            UnreachableError: the jump host cannot be reached, or does not reach the address.
        """
        assert connection.jump is not None
        target = (connection.address, connection.port)
        try:
            transport = self._transport(connection.jump)
            return transport.open_channel(
                "direct-tcpip", target, ("127.0.0.1", 0), timeout=connection.connect_timeout_s
            )
        except UnreachableError as error:
            raise UnreachableError(f"jump host: {error.message}", hint=error.hint, where=error.where) from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise UnreachableError(
                f"the jump host {host_id(connection.jump)} does not reach {host_id(connection)}: "
                f"{error or type(error).__name__}"
            ) from error

    def _transport(self, jump: Connection) -> paramiko.Transport:
        key = jump.model_dump_json()
        with self._lock:
            client = self._clients.get(key)
            transport = client.get_transport() if client else None
            if transport is None or not transport.is_active():
                client = self._clients[key] = open_client(jump, self)
                transport = client.get_transport()
            assert transport is not None
            return transport


def _open_stream(connection: Connection, jumps: Jumps | None) -> socket.socket | paramiko.Channel:
    """Open the way to a host's SSH server: a connection, or a channel through its jump host."""
    if connection.jump is None:
        return _open_socket(connection)
    if jumps is None:
        raise ValueError("a connection through a jump host needs Jumps")
    return jumps.open_channel(connection)


def run_command(client: paramiko.SSHClient, command: str, stdin: bytes | None = None) -> CommandOutput:
    """Run one command and wait for its end.

    Raises:
        UnreachableError: the connection was lost.
    """
    try:
        writer, reader, error_reader = client.exec_command(command)
        channel = reader.channel
        if stdin is not None:
            # The command may end without reading its input; its exit status then says why.
            with contextlib.suppress(OSError):
                writer.write(stdin)
        channel.shutdown_write()
        # Both streams share one window: one that nobody reads would stop the other.
        errors: list[bytes] = []
        drain = threading.Thread(target=lambda: errors.append(error_reader.read()), daemon=True)
        drain.start()
        stdout = reader.read()
        drain.join()
        stderr = b"".join(errors)
        rc = channel.recv_exit_status()
        channel.close()
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise UnreachableError(f"the connection was lost: {error or type(error).__name__}") from error
    if rc == -1:
        raise UnreachableError("the connection was lost before the command ended")
    return CommandOutput(rc, stdout, stderr)


def scan_host_key(connection: Connection, jumps: Jumps | None = None) -> paramiko.PKey:
    """Return the Ed25519 host key that the address presents, without trusting it or logging in.

    Raises:
        UnreachableError: nothing answers there, or it has no Ed25519 host key.
    """
    try:
        transport = paramiko.Transport(_open_stream(connection, jumps))
        try:
            transport.get_security_options().key_types = ("ssh-ed25519",)
            transport.start_client(timeout=connection.connect_timeout_s)
            return transport.get_remote_server_key()
        finally:
            transport.close()
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise _unreachable(connection, error) from error


def _open_socket(connection: Connection) -> socket.socket:
    try:
        sock = socket.create_connection((connection.address, connection.port), timeout=connection.connect_timeout_s)
    except OSError as error:
        raise _unreachable(connection, error) from error
    # Without this every small exchange waits for a delayed acknowledgement, about 40 ms.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_PEER_MS)
    return sock


def _load_key(connection: Connection) -> paramiko.PKey | None:
    if connection.key_file is None:
        return None
    try:
        return paramiko.PKey.from_path(connection.key_file)
    except paramiko.PasswordRequiredException as error:
        raise InputError(
            "the private key is protected by a passphrase",
            where=Where(connection.key_file),
            hint="load it into ssh-agent and leave ansible_ssh_private_key_file out",
        ) from error
    except (OSError, paramiko.SSHException, ValueError, paramiko.pkey.UnknownKeyType) as error:
        raise InputError(f"the private key cannot be read: {error}", where=Where(connection.key_file)) from error


def _unreachable(connection: Connection, error: BaseException) -> UnreachableError:
    target = f"{connection.user}@{host_id(connection)}"
    if isinstance(error, paramiko.BadHostKeyException):
        return UnreachableError(
            f"{host_id(connection)} shows another host key than the known one: found {fingerprint(error.key)}, "
            f"known is {fingerprint(error.expected_key)}",
            hint="somebody may be between you and the device; if it was newly flashed, check the fingerprint on its "
            "console, then: provision trust HOST --fingerprint SHA256:…",
            where=Where(connection.known_hosts),
        )
    if isinstance(error, paramiko.AuthenticationException):
        return UnreachableError(
            f"{target} refused the login",
            hint="check ansible_user and ansible_ssh_private_key_file, and that the device has the public key",
        )
    if isinstance(error, socket.gaierror):
        return UnreachableError(f"{connection.address!r} has no address: {error.strerror}", hint="check ansible_host")
    if isinstance(error, TimeoutError):
        return UnreachableError(f"{target} did not answer within {connection.connect_timeout_s:g} s")
    if isinstance(error, UnreachableError):
        return error
    return UnreachableError(f"{target}: {error or type(error).__name__}")
