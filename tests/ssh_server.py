"""A loopback SSH server for fast tests of our side of the connection.

It is a test double of sshd: real SSH on a real socket, but it runs every command with the local ``sh`` as the
user of the test. Booted devices with Debian's own sshd are in tests/fleet and tests/device.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import paramiko
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from hatfleet.fleet.job import Connection


def make_key(path: Path) -> paramiko.PKey:
    """Write a new Ed25519 private key and return it."""
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    path.write_bytes(pem)
    path.chmod(0o600)
    return paramiko.PKey.from_path(path)


class _Policy(paramiko.ServerInterface):
    def __init__(self, allowed: bytes, *, forwards: bool) -> None:
        self.allowed = allowed
        self.forwards = forwards
        self.destinations: dict[int, tuple[str, int]] = {}
        self.commands: dict[int, bytes] = {}

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.AUTH_SUCCESSFUL if key.asbytes() == self.allowed else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_direct_tcpip_request(
        self, chanid: int, origin: tuple[str, int], destination: tuple[str, int]
    ) -> int:
        self.destinations[chanid] = destination
        return paramiko.OPEN_SUCCEEDED if self.forwards else paramiko.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=_execute, args=(channel, command), daemon=True).start()
        return True


def _forward(transport: paramiko.Transport, policy: _Policy) -> None:
    """Connect the channels of a jump host with where they want to go."""
    while (channel := transport.accept()) is not None or transport.is_active():
        if channel is None or channel.chanid not in policy.destinations:
            continue
        sock = socket.create_connection(policy.destinations[channel.chanid])
        for source, sink in ((channel, sock), (sock, channel)):
            threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket | paramiko.Channel, sink: socket.socket | paramiko.Channel) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    sink.close()


def _execute(channel: paramiko.Channel, command: bytes) -> None:
    # paramiko answers the request after this thread was started; a command that ends at once would close the channel
    # before. sshd answers first.
    time.sleep(0.01)
    process = subprocess.Popen(
        ["/bin/sh", "-c", command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )

    def feed() -> None:
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            while data := channel.recv(65536):
                process.stdin.write(data)
        with contextlib.suppress(OSError):
            process.stdin.close()

    def drain() -> None:
        assert process.stderr is not None
        with contextlib.suppress(OSError):
            while data := process.stderr.read(65536):
                channel.sendall_stderr(data)

    threads = [threading.Thread(target=target, daemon=True) for target in (feed, drain)]
    for thread in threads:
        thread.start()
    assert process.stdout is not None
    with contextlib.suppress(OSError):
        while data := process.stdout.read(65536):
            channel.sendall(data)
        threads[1].join()
        channel.send_exit_status(process.wait())
    channel.close()


@dataclass
class SshServer:
    """A running server; ``connection`` reaches it."""

    folder: Path
    forwards: bool = False
    """Whether it is a jump host."""
    listener: socket.socket = field(init=False)
    connection: Connection = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.host_key = make_key(self.folder / "host_key")
        client_key = make_key(self.folder / "client_key")
        self.allowed = client_key.asbytes()
        self.transports: list[paramiko.Transport] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        port = self.listener.getsockname()[1]
        known_hosts = self.folder / "known_hosts"
        known_hosts.write_text(f"[127.0.0.1]:{port} {self.host_key.get_name()} {self.host_key.get_base64()}\n")
        self.connection = Connection(
            address="127.0.0.1",
            port=port,
            user="tester",
            key_file=self.folder / "client_key",
            known_hosts=known_hosts,
            become=False,
            connect_timeout_s=5,
            lease_file=str(self.folder / "lease"),
            follow_ups_file=str(self.folder / "follow-ups"),
        )
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(sock)
            transport.add_server_key(self.host_key)
            self.transports.append(transport)
            with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
                policy = _Policy(self.allowed, forwards=self.forwards)
                transport.start_server(server=policy, event=threading.Event())
                if self.forwards:
                    threading.Thread(target=_forward, args=(transport, policy), daemon=True).start()

    def cut(self) -> None:
        """Drop every connection at once, as a power cut does for the peer."""
        for transport in self.transports:
            transport.close()

    def close(self) -> None:
        """Stop serving."""
        self.listener.close()
        self.cut()


@contextlib.contextmanager
def ssh_server(folder: Path, *, forwards: bool = False) -> Iterator[SshServer]:
    """Serve while the block runs."""
    server = SshServer(folder, forwards=forwards)
    try:
        yield server
    finally:
        server.close()
