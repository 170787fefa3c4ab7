"""Units that must not run, and logins at the device itself."""

from __future__ import annotations

from hatfleet.ops import file, lock_passwords, on_change
from roles.harden.operations import masked_units
from roles.harden.settings import Console, Services


def apply(settings: Services, console: Console) -> None:
    """Mask units; close the consoles and what systemd does on its own at a key press or with a crash."""
    masked_units(names=(*settings.units(), *console.masked_units()), name="unwanted units")
    manager = file(
        path="/etc/systemd/system.conf.d/10-hatfleet.conf",
        content=(
            "# Written by hatfleet (role harden).\n[Manager]\n"
            "# Seven times Ctrl-Alt-Del within two seconds would reboot, past the masked target.\n"
            "CtrlAltDelBurstAction=none\nDefaultLimitCORE=0\n"
        ),
        name="systemd's own settings",
    )
    on_change(triggers=[manager], command="systemctl daemon-reexec", name="restart systemd in place")
    file(
        path="/etc/systemd/coredump.conf.d/10-hatfleet.conf",
        content="# Written by hatfleet (role harden).\n[Coredump]\nStorage=none\nProcessSizeMax=0\n",
        name="core dumps",
    )
    # With its password locked, root cannot log in in emergency or rescue mode either.
    lock_passwords(names=["root"], name="root's password")
