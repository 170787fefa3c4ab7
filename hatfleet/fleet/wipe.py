"""Taking a device back to the day it was flashed."""

from __future__ import annotations

from hatfleet.common.errors import HatfleetError, InputError, UnreachableError
from hatfleet.fleet.job import Connection
from hatfleet.fleet.shell import open_shell

#: Part of every image of ours (hatfleet/image/files/wipe.sh).
SCRIPT = "/usr/lib/hatfleet/wipe.sh"


def wipe(name: str, connection: Connection) -> None:
    """Make a device forget everything it has written, and reboot it; returns when it goes down.

    Args:
        name: The host, for errors.
        connection: How to reach it.

    Raises:
        InputError: the device was not booted from an image of ours.
        UnreachableError: it cannot be reached.
        HatfleetError: it refused.
    """
    with open_shell(connection) as shell:
        if shell.run(f"[ -x {SCRIPT} ]").rc != 0:
            raise InputError(
                f"{name} was not booted from a hatfleet image: it has no {SCRIPT}",
                hint="flash it with an image: provision image flash",
            )
        try:
            said = shell.run(SCRIPT)
        except UnreachableError:
            # It went down faster than it could answer.
            return
    if said.rc != 0:
        raise HatfleetError(f"{name} could not be wiped: {said.stderr.decode(errors='replace').strip()}")
