"""Limits of the system journal."""

from __future__ import annotations

from hatfleet.ops import file, on_change, render
from roles.base.settings import Journal

#: Drop-ins are read in the order of their names, wherever they lie, and the last value wins: this one comes after the
#: syslog.conf that Debian ships.
JOURNALD = "/etc/systemd/journald.conf.d/zz-hatfleet.conf"


def declare(journal: Journal) -> None:
    """Declare where the journal lives, how much it may take and how long it is kept."""
    limits = file(
        name="journal limits",
        path=JOURNALD,
        content=render(role_file=__file__, template="journald.conf.j2", journal=journal),
    )
    # After a change to persistent storage journald goes on in memory until it is told to flush.
    on_change(
        name="new journal limits take effect",
        triggers=[limits],
        command="systemctl restart systemd-journald.service && journalctl --flush",
    )
