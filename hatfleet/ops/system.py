"""The running system's name."""

from __future__ import annotations

from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation

from hatfleet.ops.base import Commands, note_change, query, quote, unchanged
from hatfleet.ops.commands import is_live


@operation()
def hostname(*, host_name: str) -> Commands:
    """Have the running kernel use this host name (the file /etc/hostname is the role's own)."""
    if not is_live():
        unchanged("an image has no running host name")
        return
    now = "".join(query("uname -n"))
    if now == host_name:
        unchanged(f"host name is {host_name}")
        return
    note_change(host_name, f"host name (was {now})")
    yield StringCommand(f"hostname {quote(host_name)}")
