"""What follows a change: commands, and a restart of the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from hatfleet.ops.reads import ShellRead
from hatfleet.ops.steps import Command, Note, Operation, OperationError, Reboot, Steps, is_live, operation

#: An operation of ours, or what one of pyinfra's own returned.
Trigger: TypeAlias = Operation | Any


def any_changed(triggers: Sequence[Trigger]) -> bool:
    """Whether one of the operations changed something, or in a plan would."""
    return any(
        trigger.changed
        if isinstance(trigger, Operation)
        else (trigger.did_change() if trigger.is_complete() else trigger.will_change)
        for trigger in triggers
    )


@operation()
def on_change(*, triggers: Sequence[Trigger], command: str, live_only: bool = True) -> Steps:
    """Run a command, as root, when one of the operations before it changed something.

    Args:
        triggers: What the operations before returned.
        command: A POSIX shell command.
        live_only: Do nothing while an image is built (nothing runs there that could be restarted).
    """
    if (live_only and not is_live()) or not any_changed(triggers):
        return
    yield Note(command, "runs because of the changes before")
    yield Command(command)


@operation()
def require(*, script: str, message: str) -> Steps:
    """Stop, before anything is changed, unless a read-only shell script prints nothing.

    Args:
        script: Prints what is wrong.
        message: What to tell; ``{found}`` is what the script printed.

    Raises:
        OperationError: it printed something.
    """
    found = yield ShellRead(script)
    if found:
        raise OperationError(message.format(found=" ".join(found)))


@operation()
def reboot(*, triggers: Sequence[Trigger], limit_s: float = 600) -> Steps:
    """Restart the device when one of the operations before it changed something, and wait until it is back.

    Args:
        triggers: What the operations before returned.
        limit_s: How long it may take until the device answers again with a new boot id, in seconds.
    """
    if is_live() and any_changed(triggers):
        yield Note("device", "restart because of the changes before")
        yield Reboot(limit_s)
