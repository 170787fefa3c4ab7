"""How testinfra reaches a device: every command in the one open shell of the worker, as root."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import testinfra.backend
from testinfra.backend.base import BaseBackend, CommandResult

from hatfleet.common.run import run
from hatfleet.fleet.connectors.holder import Holder
from hatfleet.fleet.job import Connection
from hatfleet.fleet.shell import ENVIRONMENT, open_shell
from hatfleet.fleet.ssh import CommandOutput

BACKEND_NAME = "hatfleet"


Execute = Callable[[str], CommandOutput]

#: What units make in /run when they start, and programs look for: without its folder sshd does not show its settings.
_AS_BOOTED = "[ ! -x /usr/sbin/sshd ] || mkdir -p -m 0755 /run/sshd"


class NodeResult(CommandResult):  # type: ignore[misc]
    """A command result that reads well in the message of a failed assertion."""

    def __str__(self) -> str:
        command = self.command.decode(errors="backslashreplace")
        said = (self.stderr.strip() or self.stdout.strip()).splitlines()
        return f"`{command}`" + (f": {said[-1]}" if said else "")


class NodeBackend(BaseBackend):  # type: ignore[misc]
    """Runs a check's commands through a function; nothing else about it is special."""

    NAME = BACKEND_NAME

    def __init__(self, hostname: str, *, execute: Execute, **options: Any) -> None:
        super().__init__(hostname, **options)
        self._execute = execute

    def run(self, command: str, *args: str, **_: Any) -> CommandResult:
        """Run a command in a POSIX shell."""
        line = self.get_command(command, *args)
        output = self._execute(line)
        return NodeResult(self, output.rc, self.encode(line), output.stdout, output.stderr)

    # testinfra would start Python on the device to learn its encoding, and raise on bytes that do not fit it.
    def decode(self, data: bytes) -> str:
        """Decode output; bytes that are not UTF-8 stay visible as escapes."""
        return data.decode("utf-8", errors="backslashreplace")

    def encode(self, data: str) -> bytes:
        """Encode a command."""
        return data.encode("utf-8", errors="surrogateescape")


def make_host(name: str, execute: Execute) -> Any:
    """Return the testinfra ``Host`` whose commands run through ``execute``."""
    testinfra.backend.BACKENDS[BACKEND_NAME] = f"{__name__}.{NodeBackend.__name__}"
    return testinfra.get_host(name, connection=BACKEND_NAME, execute=execute)


@contextmanager
def over_ssh(connection: Connection) -> Iterator[Execute]:
    """Hold one SSH connection and give the function that runs commands over it.

    Raises:
        UnreachableError: no connection, or the device does not let us in; also from the function, when it is lost.
    """
    with open_shell(connection) as shell:
        yield shell.run


@contextmanager
def on_this_machine() -> Iterator[Execute]:
    """Give the function that runs commands on this machine, as the user we are."""

    def execute(command: str) -> CommandOutput:
        ended = run(["env", "-i", *ENVIRONMENT.split(), "sh", "-c", command], check=False)
        return CommandOutput(ended.returncode, ended.stdout, ended.stderr)

    yield execute


@contextmanager
def in_rootfs(root: Path, native: Path | None = None) -> Iterator[Execute]:
    """Give the function that runs commands inside a root file system, walled off from this machine.

    Args:
        root: The root file system.
        native: Lends it programs that need no emulation, see :class:`Holder`.

    Raises:
        HatfleetError: it cannot be made ready to run commands.
    """
    with Holder(root, native=native) as holder:
        holder.check(["sh", "-c", _AS_BOOTED])
        environment = [*ENVIRONMENT.split(), f"PATH={holder.search_path}"]

        def execute(command: str) -> CommandOutput:
            ended = holder.execute(["env", "-i", *environment, "sh", "-c", command])
            return CommandOutput(ended.returncode, ended.stdout, ended.stderr)

        yield execute
