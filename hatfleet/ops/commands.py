"""What follows a change: commands, and a restart of the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from hatfleet.ops.reads import ShellRead
from hatfleet.ops.steps import (
    Command,
    Note,
    Operation,
    OperationError,
    Reboot,
    Steps,
    follow_up_id,
    follow_ups,
    is_live,
    operation,
)

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
    if live_only and not is_live():
        return
    why = yield from _why("on_change", command, triggers)
    if why:
        yield Note(command, f"runs because of {why}")
        yield Command(command)


def _why(kind: str, command: str, triggers: Sequence[Trigger]) -> Steps:
    """Return why something has to follow: a change in this run, or one in a run that was cut off before it did."""
    left = (yield follow_ups()) if is_live() else ()
    if any_changed(triggers):
        return "the changes before"
    return "a change in an earlier run, which was cut off" if follow_up_id(kind, command) in left else ""


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
    if not is_live():
        return
    why = yield from _why("reboot", "", triggers)
    if why:
        yield Note("device", f"restart because of {why}")
        yield Reboot(limit_s)
