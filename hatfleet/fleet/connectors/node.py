"""The pyinfra connector for devices: our SSH policy and one open shell instead of a session per command."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import gevent
import paramiko
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import ConnectError
from pyinfra.connectors.util import make_unix_command

from hatfleet.common.errors import HatfleetError
from hatfleet.fleet import ssh
from hatfleet.fleet.connectors.base import Ended, OnOutput, StreamConnector
from hatfleet.fleet.job import Connection
from hatfleet.fleet.shell import RemoteShell, root_shell

#: Arguments that ask for another user than the one the open shell runs as.
OTHER_USER = ("_sudo_user", "_su_user", "_doas", "_dzdo", "_use_sudo_login", "_preserve_sudo_env", "_sudo_password")


class NodeConnector(StreamConnector):
    """Runs commands on a device over one SSH connection; the host data ``hatfleet_connection`` says where.

    ``hatfleet_jumps`` holds the connections to jump hosts, which all hosts of a run share.
    """

    client: paramiko.SSHClient | None = None
    shell: RemoteShell | None = None

    def connect(self) -> None:
        """Connect, log in and open the shell; pyinfra wants its own error type."""
        connection: Connection = self.host.data.hatfleet_connection
        try:
            self.client = ssh.open_client(connection, self.host.data.hatfleet_jumps)
            self.shell = RemoteShell(self.client, become=connection.become)
        except HatfleetError as error:
            self.disconnect()
            raise ConnectError(f"{error} ({error.hint})" if error.hint else str(error)) from error

    def disconnect(self) -> None:
        """Close the connection."""
        if self.client is not None:
            self.client.close()
        self.client = self.shell = None

    def run_script(self, script: str, on_output: OnOutput = lambda data: None) -> Ended:
        """Run a script in the open shell."""
        if self.shell is None:
            raise OSError("not connected")
        try:
            output = self.shell.run(script, on_output=on_output)
        except HatfleetError as error:
            raise OSError(str(error)) from error
        return Ended(output.rc, output.stdout, output.stderr)

    def send_file(self, script: str, file: Path) -> Ended:
        """Run a script that reads a file of ours, in a session of its own: the open shell would have to parse it."""
        if self.client is None:
            raise OSError("not connected")
        connection: Connection = self.host.data.hatfleet_connection
        command = root_shell(f"-c {shlex.quote(script)}", become=connection.become)
        try:
            output = ssh.run_command(self.client, command, file.read_bytes())
        except HatfleetError as error:
            raise OSError(str(error)) from error
        return Ended(output.rc, output.stdout, output.stderr)

    def execute(
        self, command: StringCommand, arguments: dict[str, Any], *, stdin: bytes, timeout_s: float | None
    ) -> Ended:
        """Run a command in the open shell when that runs as the wanted user, else in a session of its own."""
        if self.client is None or self.shell is None:
            raise OSError("not connected")
        same_user = bool(arguments.get("_sudo")) == bool(self.host.data.get("_sudo"))
        in_shell = same_user and not any(arguments.get(key) for key in OTHER_USER)
        words = make_unix_command(command, **(arguments | {"_sudo": False} if in_shell else arguments)).get_raw_value()
        try:
            with gevent.Timeout(timeout_s or None, exception=TimeoutError):
                if in_shell:
                    output = self.shell.run(words, stdin or None)
                else:
                    output = ssh.run_command(self.client, words, stdin)
        except TimeoutError:
            # What comes late from the open shell would be taken for the answer to the next command.
            self.disconnect()
            raise
        except HatfleetError as error:
            raise OSError(str(error)) from error
        return Ended(output.rc, output.stdout, output.stderr)
