"""Logging in to a device with the system's SSH client, its pinned host key and the lab key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hatfleet.common.errors import CommandError
from hatfleet.common.labkey import lab_key_file
from hatfleet.common.run import require_tool, run
from hatfleet.lab.console import clean
from hatfleet.lab.device import ADDRESS, Device
from hatfleet.lab.inventory import known_hosts_file

#: For TCP and the handshake together; an emulated device needs seconds for the key exchange.
_CONNECT_TIMEOUT_S = 20


def ssh_command(
    device: Device, command: Sequence[str] = (), *, options: Sequence[str] = (), known_hosts: Path | None = None
) -> list[str]:
    """Return the ssh command line for a shell or a command on the device.

    Args:
        device: The device.
        command: As for ssh: the words are joined by spaces and read by the remote shell; none is a login shell.
        options: More ``-o`` values.
        known_hosts: The file with the pinned host keys; default: the lab's.

    Raises:
        MissingToolError: there is no ssh.
    """
    fixed = (
        f"UserKnownHostsFile={_quoted(known_hosts or known_hosts_file())}",
        "GlobalKnownHostsFile=/dev/null",
        "StrictHostKeyChecking=yes",
        "UpdateHostKeys=no",
        "HostKeyAlgorithms=ssh-ed25519",
        "IdentitiesOnly=yes",
        f"ConnectTimeout={_CONNECT_TIMEOUT_S}",
        *options,
    )
    return [
        require_tool("ssh", "openssh-client"),
        # The user's own configuration may hold proxies, keys or agents that are none of the lab's business.
        *("-F", "none"),
        *("-i", str(lab_key_file())),
        *(word for option in fixed for word in ("-o", option)),
        *("-p", str(device.port)),
        f"{device.user}@{ADDRESS}",
        *(("--", *command) if command else ()),
    ]


def try_login(device: Device) -> str | None:
    """Log in and do nothing; return None when that worked, else what ssh said."""
    return run_quietly(device, ["true"], timeout_s=60)


def run_quietly(device: Device, command: Sequence[str], timeout_s: float) -> str | None:
    """Run a command on the device, output ignored; return None when that worked, else what ssh said."""
    try:
        run(ssh_command(device, command, options=["BatchMode=yes"]), timeout_s=timeout_s)
    except CommandError as error:
        return clean(error.stderr).strip() or f"ssh ended with status {error.returncode}"
    return None


def _quoted(path: Path) -> str:
    return f'"{path}"'
