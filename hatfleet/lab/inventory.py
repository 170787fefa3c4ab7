"""The lab's own inventory, so that ``-i lab`` works: written from the device records, never edited by hand."""

from __future__ import annotations

from pathlib import Path

import yaml

from hatfleet.common.files import write_atomic
from hatfleet.common.labkey import lab_key_file, lab_public_key
from hatfleet.common.locks import file_lock
from hatfleet.lab.device import ADDRESS, Device, devices, lab_dir

_HEAD = "# Written by provision lab. Changes are lost with the next lab command.\n"


def inventory_dir() -> Path:
    """Return the folder of the lab's inventory; it is there while there are devices."""
    return lab_dir() / "inventory"


def known_hosts_file() -> Path:
    """Return the file with the pinned host keys of all devices."""
    return inventory_dir() / "known_hosts"


def host_id(device: Device) -> str:
    """Return the name under which known_hosts lists the device."""
    return f"[{ADDRESS}]:{device.port}"


def render_hosts(members: list[Device]) -> str:
    """Return hosts.yaml for these devices, in Ansible's shape."""
    key_file = str(lab_key_file())
    hosts = {
        device.name: {
            "ansible_host": ADDRESS,
            "ansible_port": device.port,
            "ansible_user": device.user,
            "ansible_ssh_private_key_file": key_file,
        }
        for device in members
    }
    # Without the lab's key among the settings, the first apply would take it off the device and lock us out.
    variables = {"base": {"admin": {"authorized_keys": [lab_public_key()]}}}
    group = {"lab": {"hosts": hosts, "vars": variables}}
    return _HEAD + yaml.safe_dump({"all": {"children": group}}, sort_keys=False, width=1000)


def update_inventory() -> None:
    """Write hosts.yaml and known_hosts from the records of all devices that have come up once; remove both if none."""
    with file_lock(lab_dir() / "locks" / "inventory", "the lab inventory"):
        members = [device for device in devices() if device.host_key]
        hosts_file = inventory_dir() / "hosts.yaml"
        if not members:
            hosts_file.unlink(missing_ok=True)
            known_hosts_file().unlink(missing_ok=True)
            return
        known = "".join(f"{host_id(device)} {device.host_key}\n" for device in members)
        # Keys first: a reader in between must not find a host whose key is missing.
        write_atomic(known_hosts_file(), known)
        write_atomic(hosts_file, render_hosts(members))
