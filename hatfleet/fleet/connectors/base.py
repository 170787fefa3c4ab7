"""What our connectors share: a command's words go to one method, files are streamed through a shell.

A shell on the target writes and reads files with the rights of the wanted user, and resolves links as the target does.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyinfra.api.command import StringCommand
from pyinfra.api.util import get_file_io
from pyinfra.connectors.base import BaseConnector
from pyinfra.connectors.util import CommandOutput, OutputLine

#: Arguments that say how to run a command, not what; there is no terminal on the other side.
CONTROL = ("_timeout", "_get_pty", "_success_exit_codes", "_stdin", "_retries", "_retry_delay", "_retry_until")


@dataclass(frozen=True)
class Ended:
    """How a command ended (negative: by that signal) and what it printed."""

    status: int
    stdout: bytes
    stderr: bytes


#: Told what a script prints.
OnOutput = Callable[[bytes], None]


class StreamConnector(BaseConnector):
    """A pyinfra connector made of one method, :meth:`execute`."""

    handles_execution = True

    @staticmethod
    def make_names_data(name: str) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        """Name the host as the inventory does."""
        yield name, {}, []

    def execute(
        self, command: StringCommand, arguments: dict[str, Any], *, stdin: bytes, timeout_s: float | None
    ) -> Ended:
        """Run a command on the target as pyinfra's ``arguments`` (sudo, environment, directory) say.

        Raises:
            OSError: the target cannot be reached any more.
            TimeoutError: it took longer than ``timeout_s``.
        """
        raise NotImplementedError

    def run_script(self, script: str, on_output: OnOutput = lambda data: None) -> Ended:
        """Run a shell script on the target as root, whatever its length; it reads nothing.

        Args:
            script: The script.
            on_output: Told what it prints on its standard output, as soon as that is known.

        Raises:
            OSError: the target cannot be reached any more.
        """
        raise NotImplementedError

    def send_file(self, script: str, file: Path) -> Ended:
        """Run a shell script on the target as root that reads a file of ours, whatever its size.

        Args:
            script: The script; the file is its standard input.
            file: The file.

        Raises:
            OSError: the target cannot be reached any more, or the file cannot be read.
        """
        raise NotImplementedError

    def run_shell_command(
        self, command: StringCommand, print_output: bool = False, print_input: bool = False, **arguments: Any
    ) -> tuple[bool, CommandOutput]:
        """Run a shell command; see pyinfra's BaseConnector."""
        ended = self._run(command, arguments, stdin_bytes(arguments.get("_stdin")))
        lines = [
            OutputLine(name, line)
            for name, data in (("stdout", ended.stdout), ("stderr", ended.stderr))
            for line in data.decode(errors="replace").splitlines()
        ]
        return ended.status in (arguments.get("_success_exit_codes") or [0]), CommandOutput(lines)

    def put_file(
        self,
        filename_or_io: Any,
        remote_filename: str,
        remote_temp_filename: str | None = None,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Any,
    ) -> bool:
        """Write a file.

        Raises:
            OSError: it cannot be written.
        """
        with get_file_io(filename_or_io, "rb") as handle:
            content = handle.read()
        data = content.encode() if isinstance(content, str) else content
        self._must(StringCommand(f"cat >{shlex.quote(remote_filename)}"), arguments, data)
        return True

    def get_file(
        self,
        remote_filename: str,
        filename_or_io: Any,
        remote_temp_filename: str | None = None,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Any,
    ) -> bool:
        """Read a file.

        Raises:
            OSError: it cannot be read.
        """
        ended = self._must(StringCommand(f"cat <{shlex.quote(remote_filename)}"), arguments, b"")
        with get_file_io(filename_or_io, "wb") as handle:
            handle.write(ended.stdout)
        return True

    def _run(self, command: StringCommand, arguments: dict[str, Any], stdin: bytes) -> Ended:
        rest = {key: value for key, value in arguments.items() if key not in CONTROL}
        return self.execute(command, rest, stdin=stdin, timeout_s=arguments.get("_timeout"))

    def _must(self, command: StringCommand, arguments: dict[str, Any], stdin: bytes) -> Ended:
        ended = self._run(command, arguments, stdin)
        if ended.status != 0:
            raise OSError(ended.stderr.decode(errors="replace").strip() or f"exit status {ended.status}")
        return ended


def stdin_bytes(value: Any) -> bytes:
    """Turn pyinfra's ``_stdin`` (text, bytes, a list of lines or an open file) into what the command reads.

    Text lines end with a newline, as with pyinfra's own connectors; bytes are taken as they are.
    """
    if value is None:
        return b""
    if hasattr(value, "readlines"):
        value = value.readlines()
    parts = value if isinstance(value, (list, tuple)) else [value]
    return b"".join(
        part if isinstance(part, bytes) else (part if part.endswith("\n") else f"{part}\n").encode() for part in parts
    )
