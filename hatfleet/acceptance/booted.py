"""An image, booted as a throw-away device of the lab and judged as it runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hatfleet import lab
from hatfleet.acceptance.report import Booted
from hatfleet.common.errors import HatfleetError
from hatfleet.common.labkey import lab_key_file
from hatfleet.common.progress import step
from hatfleet.common.site import Site
from hatfleet.compliance.backend import Execute, over_ssh
from hatfleet.compliance.job import CheckJob
from hatfleet.compliance.results import HostOutcome, HostResult
from hatfleet.compliance.runner import check_hosts, list_controls
from hatfleet.fleet.job import Connection, RoleRun
from hatfleet.image import gate

#: How long systemd may take to start everything after SSH lets us in, seconds: an emulated device is slow.
SETTLE_S = 300

_PACKAGES = "dpkg-query -W -f '${Package} ${db:Status-Status}\\n'"
_FAILED = "systemctl list-units --failed --plain --no-legend"
_CYCLES = "journalctl -b -q -o cat | grep -F 'ordering cycle' || true"


def judge_booted(
    image: Path,
    *,
    name: str,
    site: Site,
    roles: Sequence[RoleRun],
    facts: gate.RecipeFacts,
) -> Booted:
    """Boot an image for virtual devices, judge it, and remove the device.

    Args:
        image: The disk image; it lets the lab of this machine in.
        name: Name of the image: the host name that it has until a device is given its own.
        site: Where the roles' checks are looked up.
        roles: The roles in the image, with their settings.
        facts: What the recipe declares.

    Raises:
        InputError: the image is not for virtual devices, or there is no room for a device.
        BootError: it did not come up.
        HatfleetError: the device cannot be asked.
    """
    # A name of its own: nobody's device is taken, and none is removed that this run did not make.
    prefix = f"accept-{os.getpid()}"
    try:
        (device,) = lab.up(1, image=image, prefix=prefix, site=site)
        connection = _connection(device)
        with over_ssh(connection) as execute, step("start everything"):
            _output(execute, f"timeout {SETTLE_S} systemctl is-system-running --wait || true")
        with step("controls on the booted image") as shown:
            listing = list_controls(site, [role.name for role in roles])
            job = CheckJob(name=name, site=site.root, roles=tuple(roles), connection=connection)
            report = check_hosts([job], listing, on_progress=lambda news: shown.update(f"{news.done} of {news.total}"))
            host = report.hosts[0]
        if host.outcome is HostOutcome.INTERRUPTED:
            raise KeyboardInterrupt
        with over_ssh(connection) as execute:
            return _judge(host, execute, facts)
    finally:
        lab.down([known.name for known in lab.devices() if known.name.startswith(f"{prefix}-")])


def _judge(host: HostResult, execute: Execute, facts: gate.RecipeFacts) -> Booted:
    """Add to the controls what holds for a device as a whole."""
    policy = gate.policy_of(facts, _packages(execute))
    return Booted(
        checks=host,
        sockets=gate.device_listeners(lambda command: _output(execute, command), policy.listen),
        failed_units=tuple(line.split()[0] for line in _output(execute, _FAILED).splitlines() if line.split()),
        ordering_cycles=tuple(_output(execute, _CYCLES).splitlines()),
        taint=int(_output(execute, "cat /proc/sys/kernel/tainted")),
    )


def _connection(device: lab.Device) -> Connection:
    return Connection(
        address=lab.ADDRESS,
        port=device.port,
        user=device.user,
        key_file=lab_key_file(),
        known_hosts=lab.known_hosts_file(),
        connect_timeout_s=60.0,
    )


def _packages(execute: Execute) -> frozenset[str]:
    words = (line.split() for line in _output(execute, _PACKAGES).splitlines())
    return frozenset(line[0] for line in words if line[1:] == ["installed"])


def _output(execute: Execute, command: str) -> str:
    """Return what a command on the device prints.

    Raises:
        HatfleetError: it failed.
    """
    ended = execute(command)
    if ended.rc != 0:
        said = ended.stderr.decode(errors="replace").strip() or f"exit status {ended.rc}"
        raise HatfleetError(f"the device could not be asked by `{command}`: {said}")
    return ended.stdout.decode(errors="replace")
