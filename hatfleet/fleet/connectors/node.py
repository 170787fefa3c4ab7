"""The pyinfra connector for devices: our SSH policy and one open shell instead of a session per command."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import paramiko
from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.util import get_file_io
from pyinfra.connectors.base import BaseConnector
from pyinfra.connectors.util import CommandOutput, OutputLine, make_unix_command

from hatfleet.common.errors import HatfleetError
from hatfleet.fleet import ssh
from hatfleet.fleet.job import Connection
from hatfleet.fleet.shell import RemoteShell

#: Arguments that steer the connector, not the command.
CONTROL = ("_timeout", "_get_pty", "_success_exit_codes", "_stdin", "_retries", "_retry_delay", "_retry_until")

#: Arguments that ask for another user than the one the open shell runs as.
OTHER_USER = ("_sudo_user", "_su_user", "_doas", "_dzdo", "_use_sudo_login", "_preserve_sudo_env", "_sudo_password")


class NodeConnector(BaseConnector):
    """Runs commands on a device over one SSH connection; the host data ``hatfleet_connection`` says where."""

    handles_execution = True
    client: paramiko.SSHClient | None = None
    shell: RemoteShell | None = None

    @staticmethod
    def make_names_data(name: str) -> Iterator[tuple[str, dict, list[str]]]:
        """Name the host as the inventory does."""
        yield name, {}, []

    def connect(self) -> None:
        """Connect, log in and open the shell; pyinfra wants its own error type."""
        connection: Connection = self.host.data.hatfleet_connection
        try:
            self.client = ssh.open_client(connection)
            self.shell = RemoteShell(self.client, become=connection.become)
        except HatfleetError as error:
            self.disconnect()
            raise ConnectError(f"{error} ({error.hint})" if error.hint else str(error)) from error

    def disconnect(self) -> None:
        """Close the connection."""
        if self.client is not None:
            self.client.close()
        self.client = self.shell = None

    def run_shell_command(
        self, command: StringCommand, print_output: bool = False, print_input: bool = False, **arguments: Any
    ) -> tuple[bool, CommandOutput]:
        """Run a command as pyinfra's arguments (sudo, environment, directory) say."""
        codes = arguments.get("_success_exit_codes") or [0]
        result = self._execute(command, arguments, _stdin_bytes(arguments.get("_stdin")))
        lines = [OutputLine("stdout", line) for line in result.stdout.decode(errors="replace").splitlines()]
        lines += [OutputLine("stderr", line) for line in result.stderr.decode(errors="replace").splitlines()]
        return result.rc in codes, CommandOutput(lines)

    def put_file(
        self,
        filename_or_io: Any,
        remote_filename: str,
        remote_temp_filename: str | None = None,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Any,
    ) -> bool:
        """Stream a file through a shell, so that it is written with the rights of the target user at once."""
        with get_file_io(filename_or_io, "rb") as handle:
            data = handle.read()
        content = data.encode() if isinstance(data, str) else data
        return self._execute(StringCommand("cat", ">", QuoteString(remote_filename)), arguments, content).rc == 0

    def get_file(
        self,
        remote_filename: str,
        filename_or_io: Any,
        remote_temp_filename: str | None = None,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Any,
    ) -> bool:
        """Stream a file back."""
        result = self._execute(StringCommand("cat", QuoteString(remote_filename)), arguments, None)
        if result.rc == 0:
            with get_file_io(filename_or_io, "wb") as handle:
                handle.write(result.stdout)
        return result.rc == 0

    def _execute(self, command: StringCommand, arguments: dict[str, Any], stdin: bytes | None) -> ssh.CommandOutput:
        """Run a command in the open shell when that runs as the wanted user, else in a session of its own."""
        if self.client is None or self.shell is None:
            raise OSError("not connected")
        arguments = {key: value for key, value in arguments.items() if key not in CONTROL}
        same_user = bool(arguments.get("_sudo")) == bool(self.host.data.get("_sudo"))
        in_shell = same_user and not any(arguments.get(key) for key in OTHER_USER)
        if in_shell:
            arguments["_sudo"] = False
        words = make_unix_command(command, **arguments).get_raw_value()
        try:
            return self.shell.run(words, stdin) if in_shell else ssh.run_command(self.client, words, stdin)
        except HatfleetError as error:
            raise OSError(str(error)) from error


def _stdin_bytes(stdin: Any) -> bytes | None:
    """Accept what pyinfra accepts as ``_stdin``: a string, or a list of lines."""
    if not stdin:
        return None
    lines = [stdin] if isinstance(stdin, str) else list(stdin)
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines).encode()
