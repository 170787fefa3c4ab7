"""The operations that roles are written with.

They exist where pyinfra's own bite (see docs/decisions/0003-operations.md): files are written whole and atomically,
units can be set up in a root file system that is not booted, every operation records what it changes, so that a plan
can show it, and all of them read the target together, in one command. Call one in a role; take its return value as a
trigger for :func:`on_change`. A role's own operations are written the same way, with :func:`operation`.
"""

from hatfleet.ops.accounts import lock_passwords, user, user_absent
from hatfleet.ops.base import quote, render
from hatfleet.ops.commands import on_change, reboot, require
from hatfleet.ops.files import absent, directory, file, link, permissions
from hatfleet.ops.kernel import kernel_args, mount_options, sysctl_live
from hatfleet.ops.packages import packages, packages_absent, packages_held
from hatfleet.ops.reads import PackagesRead, PathRead, ShellRead, TextRead, UnitRead
from hatfleet.ops.steps import Archive, Command, Note, Operation, OperationError, Steps, Upload, is_live, operation
from hatfleet.ops.system import hostname
from hatfleet.ops.tree import tree
from hatfleet.ops.units import unit

__all__ = [
    "Archive",
    "Command",
    "Note",
    "Operation",
    "OperationError",
    "PackagesRead",
    "PathRead",
    "ShellRead",
    "Steps",
    "TextRead",
    "UnitRead",
    "Upload",
    "absent",
    "directory",
    "file",
    "hostname",
    "is_live",
    "kernel_args",
    "link",
    "lock_passwords",
    "mount_options",
    "on_change",
    "operation",
    "packages",
    "packages_absent",
    "packages_held",
    "permissions",
    "quote",
    "reboot",
    "render",
    "require",
    "sysctl_live",
    "tree",
    "unit",
    "user",
    "user_absent",
]
