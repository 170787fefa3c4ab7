"""Harden the operating system: few ways in, little to attack, nothing left open by accident.

Guarantees, each proved on the running device by a control in ``checks_*.py`` and listed in docs/reference/harden.md:

- SSH lets in keys only, never root, with modern algorithms only, and forwards nothing (``ssh.py``);
- kernel parameters, arguments and modules close what an edge device does not need, USB included (``kernel.py``);
- what anybody may write to is mounted so that nothing in it can be executed (``mounts.py``);
- the packet filter denies what is not declared, and what is loaded is what is declared (``network.py``);
- services that are not needed cannot start, and nobody is asked for a login on a console (``services.py``);
- sessions have a tight umask, no core dumps, a time limit and a banner; su is closed (``accounts.py``);
- files that matter have the right owner and mode, few programs run with another user's rights (``filesystem.py``).

All of it is the same on every device: there is an ``image`` half only.
"""

from __future__ import annotations

from roles.harden import accounts, filesystem, kernel, mounts, network, services, ssh
from roles.harden.settings import Settings


def packages(settings: Settings) -> list[str]:  # noqa: ARG001  # every role has this signature
    """Return the Debian packages that the role needs."""
    return ["iproute2", "kmod", "libpam-modules", "nftables", "openssh-server", "procps", "util-linux"]


def image(settings: Settings) -> None:
    """Bring the system to the declared state; rights on files come last, over all that was written before."""
    kernel.apply(settings.kernel, settings.console)
    mounts.apply(settings.mounts)
    network.apply(settings.firewall)
    ssh.apply(settings.ssh)
    services.apply(settings.services, settings.console)
    accounts.apply(settings.login)
    filesystem.apply(settings.files)
