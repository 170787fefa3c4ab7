"""A shell that stays open on a device, so that a command costs one round trip.

A new SSH channel per command means a new session on the device each time: PAM, the login shell with its start-up
files, sudo. On a small board that takes far longer than the command. Here one ``sh`` is started once, as root where
that is asked for, with an environment of our own; commands are fed to it one after the other.
"""

from __future__ import annotations

import base64
import secrets
import shlex
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import paramiko

from hatfleet.common.errors import UnreachableError
from hatfleet.fleet.job import Connection
from hatfleet.fleet.ssh import CommandOutput, Jumps, open_client

#: The whole environment of every command; nothing of the login user's dotfiles or of our own side is in it.
ENVIRONMENT = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8"

#: How long to wait for the last words of a shell that ended, in seconds.
_LAST_WORDS_S = 5.0


def root_shell(arguments: str = "", *, become: bool) -> str:
    """Return the command that starts a shell as root with our environment.

    Args:
        arguments: The shell's own arguments, quoted.
        become: Whether the login user has to become root, through sudo without a password.
    """
    return f"{'sudo -n -H ' if become else ''}env -i {ENVIRONMENT} sh {arguments}".rstrip()


class RemoteShell:
    """Runs commands in one ``sh`` on the device, each in a subshell of its own.

    Args:
        client: A connected SSH client.
        become: Run as root, through sudo without a password.

    Raises:
        UnreachableError: the shell does not start (sudo wants a password).
    """

    def __init__(self, client: paramiko.SSHClient, *, become: bool) -> None:
        transport = client.get_transport()
        if transport is None:
            raise UnreachableError("not connected")
        try:
            self._channel = transport.open_session()
            self._channel.exec_command(root_shell(become=become))
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise UnreachableError(f"the connection was lost: {error or type(error).__name__}") from error
        self._errors = bytearray()
        self._errors_end = False
        self._errors_grew = threading.Condition()
        threading.Thread(target=self._drain_errors, daemon=True).start()
        try:
            self.run("umask 022")
        except UnreachableError as error:
            with self._errors_grew:
                # What it complained about may come after its end.
                self._errors_grew.wait_for(lambda: self._errors_end, timeout=_LAST_WORDS_S)
                said = self._errors.decode(errors="replace").strip()
            raise UnreachableError(
                f"no root shell: {said or error}",
                hint="the login user needs sudo without a password (NOPASSWD), or log in as root"
                if become
                else "the login user needs /bin/sh",
            ) from error

    def run(
        self, command: str, stdin: bytes | None = None, on_output: Callable[[bytes], None] = lambda data: None
    ) -> CommandOutput:
        """Run one command and wait for its end; without ``stdin`` its standard input is empty.

        Args:
            command: A shell command.
            stdin: What it reads.
            on_output: Told what it prints, as it comes; the last of it may end with a few bytes of ours.

        Raises:
            UnreachableError: the connection was lost before the command ended.
        """
        mark = f"hatfleet-{secrets.token_hex(12)}"
        if stdin is not None:
            # A here-document: the input is in no process list, and base64 keeps it free of the mark.
            feed = base64.encodebytes(stdin).decode()
            command = f"{{ base64 -d | ( {command}\n); }} <<'{mark}'\n{feed}{mark}\n"
        # Quoted as one word: of a command that a cut connection truncates nothing runs.
        run = f"( eval {shlex.quote(command)} ) </dev/null"
        script = f"{run}\nrc=$?; printf '\\n%s %s\\n' {mark} $rc; printf '\\n%s\\n' {mark} >&2\n"
        try:
            self._channel.sendall(script.encode(errors="surrogateescape"))
            stdout, rc = self._read_output(mark.encode(), on_output)
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise UnreachableError(f"the connection was lost: {error or type(error).__name__}") from error
        return CommandOutput(rc, stdout, self._read_errors(mark.encode()))

    def close(self) -> None:
        """End the shell."""
        self._channel.close()

    def _read_output(self, mark: bytes, on_output: Callable[[bytes], None]) -> tuple[bytes, int]:
        received = bytearray()
        while not (received.endswith(b"\n") and received.rfind(b"\n" + mark + b" ") >= 0):
            data = self._channel.recv(65536)
            if not data:
                raise EOFError("the shell ended before the command did")
            received += data
            on_output(data)
        output, _, status = bytes(received).rpartition(b"\n" + mark + b" ")
        return output, int(status)

    def _read_errors(self, mark: bytes) -> bytes:
        end = b"\n" + mark + b"\n"
        with self._errors_grew:
            while end not in self._errors:
                if self._errors_end:
                    raise UnreachableError("the connection was lost before the command ended")
                self._errors_grew.wait()
            text, _, rest = bytes(self._errors).partition(end)
            self._errors[:] = rest
        return text

    def _drain_errors(self) -> None:
        """Collect standard error as it comes: left unread, it would fill the window and stop the command."""
        while True:
            try:
                data = self._channel.recv_stderr(65536)
            except OSError:
                data = b""
            with self._errors_grew:
                self._errors += data
                self._errors_end = not data
                self._errors_grew.notify_all()
            if not data:
                return


@contextmanager
def open_shell(connection: Connection) -> Iterator[RemoteShell]:
    """Hold one SSH connection and a root shell over it.

    Raises:
        UnreachableError: no connection, or the device does not let us in; also from the shell, when it is lost.
    """
    with Jumps() as jumps:
        client = open_client(connection, jumps)
        try:
            yield RemoteShell(client, become=connection.become)
        finally:
            client.close()
