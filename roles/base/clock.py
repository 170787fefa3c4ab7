"""Time zone and time synchronisation."""

from __future__ import annotations

from hatfleet.ops import file, link, on_change, render, unit
from roles.base.settings import Time

#: Drop-ins are read in the order of their names, wherever they lie, and the last value wins.
TIMESYNCD = "/etc/systemd/timesyncd.conf.d/zz-hatfleet.conf"


def declare(time: Time) -> None:
    """Declare the time zone and systemd-timesyncd with the given servers only."""
    link(name="time zone", path="/etc/localtime", target=f"/usr/share/zoneinfo/{time.zone}")
    file(name="time zone name", path="/etc/timezone", content=f"{time.zone}\n")
    servers = file(
        name="time servers",
        path=TIMESYNCD,
        content=render(role_file=__file__, template="timesyncd.conf.j2", servers=time.servers),
    )
    unit(name="time synchronisation", unit_name="systemd-timesyncd.service", enabled=True, running=True)
    on_change(
        name="new time servers take effect",
        triggers=[servers],
        command="systemctl restart systemd-timesyncd.service",
    )
