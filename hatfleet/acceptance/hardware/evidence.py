"""Asking one device: its accelerator and board, the board under load, and the accelerator after a restart."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from hatfleet.acceptance.hardware.answers import AcceleratorAnswer, BoardAnswer
from hatfleet.common.errors import HatfleetError, UnreachableError
from hatfleet.common.progress import step
from hatfleet.fleet.engine.restart import BOOT_ID, PAUSE_S, REBOOT
from hatfleet.fleet.job import Connection
from hatfleet.fleet.shell import RemoteShell, open_shell

A = TypeVar("A", bound=BaseModel)

#: What the model of every board that this is about begins with.
_BOARDS = "Raspberry Pi"


@dataclass(frozen=True)
class Commands:
    """The shell commands that a device is asked with."""

    hatserve: str = "/opt/hatserve/bin/hatserve"
    """Where the role runtimes puts it."""
    boot_id: str = BOOT_ID
    restart: str = REBOOT


@dataclass(frozen=True)
class Restart:
    """How the device came back from a restart."""

    accelerator: AcceleratorAnswer | None
    """None when the device did not come back in time."""
    seconds: float
    """Until the accelerator was well, or until we stopped waiting."""
    problem: str = ""


@dataclass(frozen=True)
class Evidence:
    """What a device said."""

    kernel: str
    accelerator: AcceleratorAnswer | None = None
    board: BoardAnswer | None = None
    problem: str = ""
    """Why the device could not be asked; empty when it could."""
    load_s: float = 0
    under_load: BoardAnswer | None = None
    """The board while every core computes; None when that was not asked."""
    restart: Restart | None = None
    """None when none was asked for."""

    @property
    def is_board(self) -> bool:
        """Whether it is a Raspberry Pi, and no virtual device."""
        return self.board is not None and (self.board.model or "").startswith(_BOARDS)


def collect(
    connection: Connection,
    *,
    reboot: bool,
    load_s: float = 60.0,
    restart_limit_s: float = 300.0,
    commands: Commands | None = None,
) -> Evidence:
    """Ask a device everything that the points need.

    A device that is no Raspberry Pi is neither loaded nor restarted: nothing would follow from it.

    Args:
        connection: How to reach it.
        reboot: Restart it, and wait until its accelerator is well again.
        load_s: How long every core computes, in seconds.
        restart_limit_s: How long the restart may take, in seconds.
        commands: What it is asked with.

    Raises:
        UnreachableError: it cannot be reached, or goes away unasked.
    """
    commands = commands or Commands()
    with open_shell(connection) as shell:
        kernel = shell.run("uname -r").stdout.decode(errors="replace").strip()
        try:
            with step("accelerator and board"):
                accelerator = _ask(shell, f"{commands.hatserve} accelerator status --json", AcceleratorAnswer)
                board = _ask(shell, f"{commands.hatserve} board status --json", BoardAnswer)
            found = Evidence(kernel, accelerator, board)
            if not found.is_board:
                return found
            with step(f"{load_s:g} s of load on every core"):
                under_load = _ask(shell, _load(load_s, commands), BoardAnswer)
        except _NoAnswerError as error:
            return Evidence(kernel, problem=error.message)
    found = replace(found, load_s=load_s, under_load=under_load)
    if not reboot:
        return found
    with step("restart"):
        return replace(found, restart=_restart(connection, commands, restart_limit_s))


class _NoAnswerError(HatfleetError):
    """The device did not answer in a way that can be read."""


def _ask(shell: RemoteShell, command: str, answer: type[A]) -> A:
    """Run a command that prints JSON; its exit status says whether all is well, which is judged from what it prints."""
    ended = shell.run(command)
    try:
        return answer.model_validate_json(ended.stdout)
    except ValidationError as error:
        said = ended.stderr.decode(errors="replace").strip().splitlines()
        if not ended.stdout.strip():
            raise _NoAnswerError(said[-1] if said else f"`{command}` ended with exit status {ended.rc}") from error
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "its answer"
        raise _NoAnswerError(f"`{command}` answers otherwise than expected: {place}: {first['msg']}") from error


def _load(seconds: float, commands: Commands) -> str:
    """Return the command that loads every core and looks at the board shortly before the end."""
    return (
        f"for core in $(seq $(nproc)); do timeout {seconds:g} sh -c 'while :; do :; done' & done; "
        f"sleep {seconds * 0.9:g}; {commands.hatserve} board status --json; wait"
    )


def _restart(
    connection: Connection, commands: Commands, limit_s: float, clock: Callable[[], float] = time.monotonic
) -> Restart:
    """Restart the device, and wait until its accelerator is well."""
    with open_shell(connection) as shell:
        before = shell.run(commands.boot_id).stdout.strip()
        ended = shell.run(commands.restart)
    if ended.rc != 0:
        return Restart(None, 0, f"it does not restart: {ended.stderr.decode(errors='replace').strip()}")
    started = clock()
    last: AcceleratorAnswer | None = None
    problem = "it still runs"
    while clock() - started < limit_s:
        time.sleep(PAUSE_S)
        try:
            with open_shell(connection) as shell:
                if shell.run(commands.boot_id).stdout.strip() in (b"", before):
                    continue
                problem = ""
                last = _ask(shell, f"{commands.hatserve} accelerator status --json", AcceleratorAnswer)
        except (UnreachableError, _NoAnswerError) as error:
            problem = error.message
            continue
        if last.state == "ok":
            break
    return Restart(last, clock() - started, problem)
