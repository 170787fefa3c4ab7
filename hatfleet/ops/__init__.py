"""The operations that roles are written with.

They exist where pyinfra's own bite (see docs/decisions/0003-operations.md): files are written whole and atomically,
units can be set up in a root file system that is not booted, and every operation records what it changes, so that
a plan can show it. Each is a pyinfra operation: call it in a role, take its return value as a trigger for
:func:`on_change`.
"""

from hatfleet.ops.accounts import lock_passwords, user, user_absent
from hatfleet.ops.base import OperationError, note_change, query, quote, render
from hatfleet.ops.commands import is_live, on_change
from hatfleet.ops.files import absent, directory, file, link, permissions
from hatfleet.ops.kernel import kernel_args, mount_options, sysctl_live
from hatfleet.ops.packages import packages, packages_absent
from hatfleet.ops.system import hostname
from hatfleet.ops.units import unit

__all__ = [
    "OperationError",
    "absent",
    "directory",
    "file",
    "hostname",
    "is_live",
    "kernel_args",
    "link",
    "lock_passwords",
    "mount_options",
    "note_change",
    "on_change",
    "packages",
    "packages_absent",
    "permissions",
    "query",
    "quote",
    "render",
    "sysctl_live",
    "unit",
    "user",
    "user_absent",
]
