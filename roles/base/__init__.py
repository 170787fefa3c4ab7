"""The base of every device: who it is, who may come in, what time it is, what it keeps and what it installs from.

Guarantees (each proved by a control in checks.py):

- the device bears its inventory name; its time zone, time servers and locale are the declared ones;
- one human account, opened by exactly the declared SSH keys, with sudo; every password is locked, also root's;
- nothing of a first-boot set-up is left that gives access: no default account, no files on the boot partition;
- the journal stays within its limits; packages come from the declared origins and release only;
- what a minimal device does not need is not installed;
- one Ed25519 SSH host key, made on the device, never in an image, announced on the console at every boot.
"""

from __future__ import annotations

from hatfleet.fleet.roles import DeviceContext
from roles.base import accounts, apt, clock, hostkey, journal, locale, names
from roles.base.operations import purged
from roles.base.settings import Settings

#: Files that are each device's own: a read-only image holds links to them (see hatfleet/image/seal.py).
STATE = ("/etc/hostname", "/etc/hosts", hostkey.KEY, f"{hostkey.KEY}.pub")


def packages(settings: Settings) -> list[str]:
    """Return the Debian packages that this role needs."""
    needed = ["dbus", "openssh-server", "sudo", "systemd-timesyncd", "tzdata"]
    return [*needed, *locale.packages(settings.locale)]


def image(settings: Settings) -> None:
    """Declare what is the same on every device."""
    clock.declare(settings.time)
    locale.declare(settings.locale)
    journal.declare(settings.journal)
    apt.declare(settings.apt)
    hostkey.declare()
    # The admin's way in stands before any other way is closed.
    accounts.open_admin(settings.admin)
    accounts.close_others(settings.users_absent)
    purged(name="packages that are not needed", names=settings.packages_absent)


def device(settings: Settings, device: DeviceContext) -> None:
    """Declare what is this device's own: its name."""
    names.declare(settings.hostname or device.name)
