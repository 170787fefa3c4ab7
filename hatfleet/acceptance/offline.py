"""A built root file system, judged without booting it: the gate, and the roles' checks as far as files can answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hatfleet.acceptance.report import Offline
from hatfleet.common.progress import step
from hatfleet.common.site import Site
from hatfleet.compliance.job import CheckJob
from hatfleet.compliance.results import HostOutcome
from hatfleet.compliance.runner import check_hosts, list_controls
from hatfleet.fleet.connectors.holder import Holder
from hatfleet.fleet.job import RoleRun
from hatfleet.image import gate

#: sshd does not even show its settings without a host key, which a device makes at its first boot.
_HOST_KEY = """\
[ -x /usr/sbin/sshd ] || exit 0
key=$(readlink -m /etc/ssh/ssh_host_ed25519_key)
[ ! -e "$key" ] || exit 0
mkdir -p "${key%/*}"
exec ssh-keygen -q -t ed25519 -N '' -C '' -f "$key"
"""


def judge_root(
    root: Path,
    *,
    name: str,
    site: Site,
    roles: Sequence[RoleRun],
    facts: gate.RecipeFacts,
) -> Offline:
    """Put the gate and the roles' checks to a root file system.

    Args:
        root: A copy of the root file system: the programs that checks run in it leave traces, and it gets an SSH host
            key of no further use.
        name: Name of the image: the host name that it has until a device is given its own.
        site: Where the roles' checks are looked up.
        roles: The roles in the image, with their settings.
        facts: What the recipe declares.

    Raises:
        InputErrors: a checks.py does not load.
        HatfleetError: the root file system cannot be read, or no command can run in it.
    """
    with step("the gate") as shown:
        found = gate.judge(root, facts)
        shown.note = f"{found.files} files"
    with step("controls on the root file system") as shown:
        with Holder(root) as holder:
            holder.check(["/bin/sh", "-c", _HOST_KEY])
        listing = list_controls(site, [role.name for role in roles])
        job = CheckJob(name=name, site=site.root, roles=tuple(roles), rootfs=root.resolve())
        report = check_hosts([job], listing, on_progress=lambda news: shown.update(f"{news.done} of {news.total}"))
        host = report.hosts[0]
    if host.outcome is HostOutcome.INTERRUPTED:
        raise KeyboardInterrupt
    at_boot = tuple(control for control in listing.controls if control.needs == "boot")
    return Offline(gate=found, checks=host, at_boot=at_boot)
