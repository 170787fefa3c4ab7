"""The kernel: its arguments, its running parameters, the options of what is mounted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hatfleet.ops.base import quote, unified_diff
from hatfleet.ops.files import write_script
from hatfleet.ops.reads import ShellRead
from hatfleet.ops.steps import Command, Note, OperationError, Steps, is_live, operation

#: Where the Raspberry Pi firmware, and our virtual devices, read the kernel's arguments from: one line.
CMDLINE = "/boot/firmware/cmdline.txt"


def edit_arguments(line: str, present: Sequence[str], absent: Sequence[str]) -> str:
    """Return a kernel command line with some arguments present and others absent.

    Args:
        line: The command line now.
        present: Arguments to have; ``key=value`` replaces every other ``key=…``.
        absent: Arguments to drop; one that ends in ``=`` drops every argument with that key.
    """
    keys = {argument.split("=", 1)[0] for argument in present if "=" in argument}
    kept: list[str] = []
    for argument in line.split():
        key = argument.split("=", 1)[0]
        dropped = argument in absent or ("=" in argument and f"{key}=" in absent)
        replaced = "=" in argument and key in keys and argument not in present
        if not dropped and not replaced and not (argument in present and argument in kept):
            kept.append(argument)
    return " ".join([*kept, *(argument for argument in present if argument not in kept)])


@operation(affects=(ShellRead,))
def kernel_args(*, present: Sequence[str] = (), absent: Sequence[str] = ()) -> Steps:
    """Have kernel arguments in /boot/firmware/cmdline.txt; they hold from the next boot on.

    The firmware partition may be mounted read-only: it is made writable for the moment of writing.

    Raises:
        OperationError: there is no cmdline.txt.
    """
    lines = yield ShellRead(f"cat {CMDLINE} 2>/dev/null || true")
    if not lines:
        raise OperationError(f"{CMDLINE} is missing or empty: this is not a Raspberry Pi OS style system")
    now = " ".join(lines)
    wanted = edit_arguments(now, present, absent)
    if wanted == now and len(lines) == 1:
        return
    yield Note(CMDLINE, "kernel arguments, from the next boot on", unified_diff(CMDLINE, now, wanted))
    writable = (
        "if findmnt -n -o OPTIONS --mountpoint /boot/firmware 2>/dev/null | grep -qw ro; then "
        "mount -o remount,rw /boot/firmware; back='mount -o remount,ro /boot/firmware'; else back=true; fi"
    )
    write = write_script(CMDLINE, mode="0755", owner="root", group="root", validate=None)
    yield Command(
        f"{writable}; ( {write} ); rc=$?; $back; exit $rc",
        stdin=f"{wanted}\n".encode(),
    )


@operation(affects=(ShellRead,))
def sysctl_live(*, values: Mapping[str, str | int]) -> Steps:
    """Have running kernel parameters; a key that starts with ``-`` is skipped where this kernel lacks it."""
    if not is_live():
        return
    optional = {key[1:] for key in values if key.startswith("-")}
    wanted = {key.removeprefix("-"): " ".join(str(value).split()) for key, value in values.items()}
    lines = yield ShellRead(f"/usr/sbin/sysctl -e {quote(*wanted)} 2>/dev/null || true")
    pairs = (line.split("=", 1) for line in lines if "=" in line)
    now = {key.strip().replace("/", "."): " ".join(value.split()) for key, value in pairs}
    wrong = {
        key: value
        for key, value in wanted.items()
        if now.get(key) != value and not (key in optional and key not in now)
    }
    if not wrong:
        return
    for key, value in wrong.items():
        yield Note(key, f"{now.get(key, 'not there')} → {value}")
    yield Command(f"/usr/sbin/sysctl -w {quote(*(f'{key}={value}' for key, value in wrong.items()))}")


@operation(affects=(ShellRead,))
def mount_options(*, path: str, options: Sequence[str]) -> Steps:
    """Have these options on a path that is mounted now; nothing is done when nothing is mounted there."""
    if not is_live():
        return
    lines = yield ShellRead(f"findmnt -n -o OPTIONS --mountpoint {quote(path)} || true")
    missing = [option for option in options if lines and option not in lines[-1].split(",")]
    if not missing:
        return
    yield Note(path, f"remount with {','.join(missing)}")
    yield Command(f"mount -o {quote('remount,' + ','.join(missing))} {quote(path)}")
