"""The packet filter: nftables, default deny; and no program that answers neighbours."""

from __future__ import annotations

from hatfleet.ops import file, is_live, on_change, render, unit
from roles.harden.operations import loaded_ruleset
from roles.harden.settings import SSH_PORT, Firewall

RULESET = "/etc/nftables.conf"


def ruleset(settings: Firewall) -> str:
    """Return the whole ruleset as an nft script that is loaded in one transaction."""
    return render(
        role_file=__file__,
        template="nftables.conf.j2",
        firewall=settings,
        ssh_port=SSH_PORT,
        ssh_v4=[str(network) for network in settings.ssh_sources if network.version == 4],
        ssh_v6=[str(network) for network in settings.ssh_sources if network.version == 6],
    )


def apply(settings: Firewall) -> None:
    """Declare the packet filter, start it at boot, and have the kernel use it now; open connections go on."""
    # While an image is built nft may run under emulation, which has no netfilter sockets to ask the kernel through.
    validate = "/usr/sbin/nft -c -f %s" if is_live() else None
    file(path=RULESET, content=ruleset(settings), mode="0600", validate=validate, name="packet filter")
    unit(unit_name="nftables.service", enabled=True, running=True, name="packet filter at boot")
    loaded_ruleset(path=RULESET, name="loaded packet filter")
    # systemd-resolved would answer name queries of the whole network on port 5355, and join mDNS.
    resolver = file(
        path="/etc/systemd/resolved.conf.d/zz-hatfleet.conf",
        content="# Written by hatfleet (role harden).\n[Resolve]\nLLMNR=no\nMulticastDNS=no\n",
        name="no name service for neighbours",
    )
    on_change(triggers=[resolver], command="systemctl try-restart systemd-resolved.service", name="restart resolver")
