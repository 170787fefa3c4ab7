"""pyinfra connector ``@hatfleet-rootfs/<label>``: roles run in a root file system as they run on a device.

pyinfra's own ``@chroot`` writes through symbolic links to the builder's files, hands the builder's environment to
every command and mounts nothing; see :mod:`hatfleet.fleet.connectors.holder` for what this one does instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import ConnectError, InventoryError
from pyinfra.api.output import echo
from pyinfra.api.util import get_file_io
from pyinfra.connectors.base import BaseConnector, ConnectorData, DataMeta
from pyinfra.connectors.util import (
    CommandOutput,
    OutputLine,
    make_unix_command_for_host,
)

from hatfleet.common.errors import HatfleetError
from hatfleet.fleet.connectors.holder import Holder, Output

if TYPE_CHECKING:
    from pyinfra.api.host import Host
    from pyinfra.api.state import State


#: pyinfra's arguments that say how to run a command, not what; there is no terminal inside.
_CONTROL = ("_success_exit_codes", "_timeout", "_get_pty", "_stdin")


class RootfsData(ConnectorData):
    """Host data this connector reads."""

    hatfleet_rootfs: str


class RootfsConnector(BaseConnector):
    """Run commands in the root file system that the host's data names (``hatfleet_rootfs``, an absolute path)."""

    handles_execution = True

    data_cls = RootfsData
    data_meta = {"hatfleet_rootfs": DataMeta("Absolute path of the root file system")}  # noqa: RUF012

    def __init__(self, state: State, host: Host) -> None:
        super().__init__(state, host)
        self._holder: Holder | None = None

    @staticmethod
    def make_names_data(name: str) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        """Name the one host that a label stands for."""
        if not name:
            raise InventoryError("@hatfleet-rootfs needs a label: @hatfleet-rootfs/<label>")
        yield f"@hatfleet-rootfs/{name}", {}, ["@hatfleet-rootfs"]

    def connect(self) -> None:
        """Make the root file system ready."""
        path = self.data["hatfleet_rootfs"]
        if not path or not Path(path).is_absolute():
            raise ConnectError(f"host data hatfleet_rootfs must be an absolute path, not {path!r}")
        holder = Holder(Path(path))
        try:
            holder.start()
        except (HatfleetError, OSError) as error:
            raise ConnectError(str(error)) from error
        self._holder = holder

    def disconnect(self) -> None:
        """End whatever still runs inside and take the mounts away."""
        holder, self._holder = self._holder, None
        if holder is not None:
            holder.stop()

    def run_shell_command(
        self, command: StringCommand, print_output: bool = False, print_input: bool = False, **arguments: Any
    ) -> tuple[bool, CommandOutput]:
        """Run a shell command inside; see pyinfra's BaseConnector."""
        control = {name: arguments.pop(name, None) for name in _CONTROL}
        unix_command = make_unix_command_for_host(self.state, self.host, command, **arguments)
        if print_input:
            echo(f"{self.host.print_prefix}>>> {unix_command}", err=True)
        output = self._require_holder().execute(
            ["/bin/sh", "-c", unix_command.get_raw_value()],
            stdin=stdin_bytes(control["_stdin"]),
            timeout_s=control["_timeout"],
        )
        lines = command_output(output)
        if print_output:
            for line in lines:
                echo(f"{self.host.print_prefix}{line.line}", err=True)
        return output.returncode in (control["_success_exit_codes"] or [0]), lines

    def put_file(
        self,
        filename_or_io: Any,
        remote_filename: str,
        remote_temp_filename: str | None = None,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Any,
    ) -> bool:
        """Write a file inside, by a shell inside: a link in the image leads to the image's own files only.

        Raises:
            OSError: it cannot be written.
        """
        with get_file_io(filename_or_io) as handle:
            content = handle.read()
        data = content.encode() if isinstance(content, str) else content
        output = self._require_holder().execute(["/bin/sh", "-c", 'cat >"$1"', "sh", remote_filename], stdin=data)
        if output.returncode != 0:
            raise OSError(output.stderr.decode(errors="replace").strip())
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
        """Read a file inside.

        Raises:
            OSError: it cannot be read.
        """
        output = self._require_holder().execute(["/bin/sh", "-c", 'cat <"$1"', "sh", remote_filename])
        if output.returncode != 0:
            raise OSError(output.stderr.decode(errors="replace").strip())
        with get_file_io(filename_or_io, "wb") as handle:
            handle.write(output.stdout)
        return True

    def _require_holder(self) -> Holder:
        if self._holder is None:
            raise ConnectError("not connected")
        return self._holder


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


def command_output(output: Output) -> CommandOutput:
    """Return output in pyinfra's shape: lines of standard output, then of standard error."""
    return CommandOutput(
        [
            OutputLine(name, line)
            for name, data in (("stdout", output.stdout), ("stderr", output.stderr))
            for line in data.decode(errors="replace").splitlines()
        ]
    )
