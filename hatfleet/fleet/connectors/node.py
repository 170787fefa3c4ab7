"""The pyinfra connector for devices: our SSH policy instead of pyinfra's (see hatfleet/fleet/ssh.py)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import paramiko
from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.util import get_file_io
from pyinfra.connectors.base import BaseConnector
from pyinfra.connectors.util import CommandOutput, OutputLine, make_unix_command_for_host

from hatfleet.common.errors import HatfleetError
from hatfleet.fleet.job import Connection
from hatfleet.fleet.ssh import open_client, run_command


class NodeConnector(BaseConnector):
    """Runs commands on a device over one SSH connection; the host data ``hatfleet_connection`` says where."""

    handles_execution = True
    client: paramiko.SSHClient | None = None

    @staticmethod
    def make_names_data(name: str) -> Iterator[tuple[str, dict, list[str]]]:
        """Name the host as the inventory does."""
        yield name, {}, []

    def connect(self) -> None:
        """Connect and log in; pyinfra wants its own error type."""
        connection: Connection = self.host.data.hatfleet_connection
        try:
            self.client = open_client(connection)
        except HatfleetError as error:
            raise ConnectError(f"{error} ({error.hint})" if error.hint else str(error)) from error

    def disconnect(self) -> None:
        """Close the connection."""
        if self.client is not None:
            self.client.close()
            self.client = None

    def run_shell_command(
        self, command: StringCommand, print_output: bool = False, print_input: bool = False, **arguments: Any
    ) -> tuple[bool, CommandOutput]:
        """Run a command as pyinfra's arguments (sudo, environment, directory) say."""
        codes = arguments.pop("_success_exit_codes", None) or [0]
        stdin = arguments.pop("_stdin", None)
        for control in ("_timeout", "_get_pty"):
            arguments.pop(control, None)
        full = make_unix_command_for_host(self.state, self.host, command, **arguments).get_raw_value()
        rc, lines = self._execute(full, _stdin_bytes(stdin))
        return rc in codes, CommandOutput(lines)

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
        arguments.pop("_stdin", None)
        command = make_unix_command_for_host(
            self.state,
            self.host,
            StringCommand("cat", ">", QuoteString(remote_filename)),
            **_shell_only(arguments),
        ).get_raw_value()
        rc, _ = self._execute(command, data.encode() if isinstance(data, str) else data)
        return rc == 0

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
        if self.client is None:
            return False
        command = make_unix_command_for_host(
            self.state,
            self.host,
            StringCommand("cat", QuoteString(remote_filename)),
            **_shell_only(arguments),
        ).get_raw_value()
        result = run_command(self.client, command)
        if result.rc != 0:
            return False
        with get_file_io(filename_or_io, "wb") as handle:
            handle.write(result.stdout)
        return True

    def _execute(self, command: str, stdin: bytes | None) -> tuple[int, list[OutputLine]]:
        if self.client is None:
            raise OSError("not connected")
        try:
            result = run_command(self.client, command, stdin)
        except HatfleetError as error:
            raise OSError(str(error)) from error
        lines = [OutputLine("stdout", line) for line in result.stdout.decode(errors="replace").splitlines()]
        lines += [OutputLine("stderr", line) for line in result.stderr.decode(errors="replace").splitlines()]
        return result.rc, lines


def _shell_only(arguments: dict[str, Any]) -> dict[str, Any]:
    control = ("_timeout", "_get_pty", "_success_exit_codes", "_stdin")
    return {key: value for key, value in arguments.items() if key not in control}


def _stdin_bytes(stdin: Any) -> bytes | None:
    """Accept what pyinfra accepts as ``_stdin``: a string, or a list of lines."""
    if not stdin:
        return None
    lines = [stdin] if isinstance(stdin, str) else list(stdin)
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines).encode()
