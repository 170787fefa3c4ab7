"""What is still to be done because of a change: kept on the device until it is done.

A file is changed, and a moment later the run is cut off, before the service was told. The next run finds the file as
declared; without this record the service would go on with the old one for good. So an operation that others follow
notes them on the device before it changes anything, and each is struck off when it was done.
"""

from __future__ import annotations

from collections.abc import Sequence

from hatfleet.ops.base import quote
from hatfleet.ops.steps import Command, Operation


def note_before(operation: Operation, operations: Sequence[Operation], file: str) -> list[Command]:
    """Return what is to run before an operation's own commands: it notes those that follow it.

    Args:
        operation: The operation that is about to change something.
        operations: All of the host.
        file: The list on the device.
    """
    following = [one.follow_up for one in operations if any(trigger is operation for trigger in one.triggers)]
    if not following:
        return []
    f = quote(file)
    append = f'(umask 077; printf "%s\\n" {quote(*following)} >>{f})'
    return [Command(f'f={f}; mkdir -p "${{f%/*}}" && {append} && sync {f}')]


def strike_off(operation: Operation, file: str) -> list[Command]:
    """Return what is to run after an operation's own commands: what follows others is done.

    Args:
        operation: The operation that was done.
        file: The list on the device.
    """
    if not operation.triggers:
        return []
    line = quote(operation.follow_up)
    return [
        Command(
            f'f={quote(file)}; [ ! -e "$f" ] || {{ (umask 077; grep -vxF {line} "$f" >"$f.new"; [ $? -le 1 ]) && '
            f'mv -f "$f.new" "$f"; }}'
        )
    ]
