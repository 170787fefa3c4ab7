"""The running system's name."""

from __future__ import annotations

from hatfleet.ops.base import quote
from hatfleet.ops.reads import ShellRead
from hatfleet.ops.steps import Command, Note, Steps, is_live, operation


@operation(affects=(ShellRead,))
def hostname(*, host_name: str) -> Steps:
    """Have the running kernel use this host name (the file /etc/hostname is the role's own)."""
    if not is_live():
        return
    lines = yield ShellRead("uname -n")
    now = "".join(lines)
    if now == host_name:
        return
    yield Note(host_name, f"host name (was {now})")
    yield Command(f"hostname {quote(host_name)}")
