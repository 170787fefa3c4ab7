"""Commands that follow a change."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra.api.command import StringCommand
from pyinfra.api.operation import OperationMeta, operation
from pyinfra.context import host

from hatfleet.ops.base import Commands, note_change, unchanged


def is_live() -> bool:
    """Whether the target is a running system (False while an image is built)."""
    return bool(host.data.get("hatfleet_live", True))


def any_changed(triggers: Sequence[OperationMeta]) -> bool:
    """Whether one of the operations changed something, or in a plan would."""
    return any(meta.did_change() if meta.is_complete() else meta.will_change for meta in triggers)


@operation(is_idempotent=False)
def on_change(*, triggers: Sequence[OperationMeta], command: str, live_only: bool = True) -> Commands:
    """Run a command, as root, when one of the operations before it changed something.

    Args:
        triggers: What the operations before returned.
        command: A POSIX shell command.
        live_only: Do nothing while an image is built (nothing runs there that could be restarted).
    """
    if (live_only and not is_live()) or not any_changed(triggers):
        unchanged("nothing changed")
        return
    note_change(command, "runs because of the changes before")
    yield StringCommand(command)
