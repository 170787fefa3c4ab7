"""Being root without being root: a user namespace in which the caller's own and subordinate ids are all there is.

An ordinary user who builds an image runs the same command again inside a user namespace (``unshare``, with the range
of subordinate ids that the system gave that user). There, packages unpack with their owners and modes, file systems
are mounted and roots are changed, and nothing of it reaches the host: to the host every file belongs to the user or
to one of the user's subordinate ids, and every mount ends with the namespace.
"""

from __future__ import annotations

import getpass
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from hatfleet.common.errors import InputError
from hatfleet.common.run import replace_process, require_tool

#: Set in the namespace, so that a namespace that does not make us root is an error and not an endless loop.
INSIDE = "HATFLEET_USER_NAMESPACE"

#: A user must have so many subordinate ids: Debian's packages use ids up to 65534 (nobody).
NEEDED_IDS = 65535

#: Ends with the command line that started it; takes all mounts and processes along.
NAMESPACES = ("--map-root-user", "--map-auto", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


@dataclass(frozen=True)
class Setting:
    """A kernel setting that can forbid user namespaces to ordinary users."""

    path: Path
    forbids: Callable[[int], bool]
    remedy: str


#: Read in this order when a namespace cannot be made; the first that forbids it is named.
SETTINGS = (
    Setting(
        Path("/proc/sys/user/max_user_namespaces"),
        lambda value: value == 0,
        "as root: sysctl user.max_user_namespaces=15000",
    ),
    Setting(
        Path("/proc/sys/kernel/unprivileged_userns_clone"),
        lambda value: value == 0,
        "as root: sysctl kernel.unprivileged_userns_clone=1",
    ),
    Setting(
        Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
        lambda value: value == 1,
        "as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or give unshare an AppArmor profile",
    ),
)


def become_root(argv: Sequence[str]) -> None:
    """Return at once as root; as an ordinary user, run ``argv`` again in a user namespace, and do not come back.

    Args:
        argv: The program and arguments that this process was started with.

    Raises:
        InputError: there are no subordinate ids, or user namespaces are forbidden; the error names what forbids them.
        MissingToolError: newuidmap is not installed.
    """
    if os.geteuid() == 0:
        return
    if INSIDE in os.environ:
        raise InputError("the user namespace did not make us root", hint="run the same command with sudo")
    _enter(argv)


def _enter(argv: Sequence[str]) -> NoReturn:
    for tool in ("newuidmap", "newgidmap"):
        require_tool(tool, "uidmap")
    unshare = require_tool("unshare", "util-linux")
    for kind in ("subuid", "subgid"):
        require_range(Path("/etc") / kind, getpass.getuser(), os.getuid())
    trial = subprocess.run([unshare, *NAMESPACES, "true"], capture_output=True, check=False)
    if trial.returncode != 0:
        raise forbidden(trial.stderr.decode(errors="replace").strip())
    os.environ[INSIDE] = "1"
    replace_process([unshare, *NAMESPACES, *argv])


def require_range(file: Path, user: str, uid: int) -> None:
    """Check that a user has enough subordinate ids (see subuid(5)).

    Raises:
        InputError: the file gives the user fewer than :data:`NEEDED_IDS` in one range.
    """
    kind = file.name
    lines = file.read_text().splitlines() if file.is_file() else []
    ranges = [line.split(":") for line in lines]
    counts = [int(parts[2]) for parts in ranges if len(parts) == 3 and parts[0] in (user, str(uid))]
    if max(counts, default=0) < NEEDED_IDS:
        raise InputError(
            f"{user} has no range of {NEEDED_IDS + 1} subordinate ids in {file}; "
            f"building without root unpacks packages under such ids",
            hint=f"as root: usermod --add-{kind}s 100000-165535 {user}, with a range that nobody else has",
        )


def forbidden(said: str, settings: Sequence[Setting] = SETTINGS) -> InputError:
    """Return the error that says which kernel setting forbids user namespaces.

    Args:
        said: What unshare printed.
        settings: Where to look.
    """
    for setting in settings:
        value = _read(setting.path)
        if value is not None and setting.forbids(value):
            return InputError(
                f"an ordinary user may not make user namespaces here: {setting.path} is {value}", hint=setting.remedy
            )
    return InputError(
        f"a user namespace cannot be made: {said or 'no reason given'}",
        hint="in a container, allow it (for example --security-opt seccomp=unconfined), or run the command with sudo",
    )


def _read(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
