"""What must be unique on each device, and so must not be in an image."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hatfleet.image.gate import model
from hatfleet.image.gate.model import Finding
from hatfleet.image.gate.rootfs import Rootfs

#: What /etc/machine-id may say: nothing, or that it is still to be made (machine-id(5)).
UNMADE = (b"", b"uninitialized")

#: Files that hold an identity or its seed, and what they are. Empty is as good as absent.
UNIQUE_FILES = {
    "/var/lib/dbus/machine-id": "machine-id of D-Bus",
    "/var/lib/systemd/random-seed": "seed of the random number generator",
    "/var/lib/urandom/random-seed": "seed of the random number generator",
    "/var/lib/systemd/credential.secret": "host key of systemd's credentials",
    "/var/lib/systemd/tpm2-srk-public-key.pem": "key of one device's TPM",
    "/var/lib/NetworkManager/secret_key": "secret that NetworkManager makes addresses from",
    "/var/lib/dhcpcd/duid": "identifier of one DHCP client",
    "/var/lib/dhcpcd/secret": "secret that dhcpcd makes addresses from",
    "/etc/dhcpcd.duid": "identifier of one DHCP client",
    "/etc/hostid": "identifier of one host",
    "/etc/iscsi/initiatorname.iscsi": "name of one iSCSI initiator",
    "/etc/nvme/hostid": "identifier of one NVMe host",
    "/boot/loader/random-seed": "seed of the random number generator",
    "/boot/efi/loader/random-seed": "seed of the random number generator",
}

_JOURNALS = "/var/log/journal"
_MACHINE_ID = re.compile(r"[0-9a-f]{32}")

#: Names of one machine that tools write into files of their own.
_NAMED = {"/etc/iscsi/initiatorname.iscsi": b"InitiatorName="}


def judge_identity(rootfs: Rootfs) -> Iterator[Finding]:
    """Yield everything in the image that makes a device unique."""
    machine_id = (rootfs.read("/etc/machine-id") or b"").strip()
    if machine_id not in UNMADE:
        yield Finding.of(model.IDENTITY, "/etc/machine-id", "machine-id: wanted is an empty file, or “uninitialized”")
    for path, what in UNIQUE_FILES.items():
        # D-Bus's is commonly a link to /etc/machine-id, which is judged already.
        if rootfs.resolve(path) == rootfs.resolve("/etc/machine-id"):
            continue
        content = (rootfs.read(path) or b"").strip()
        if content not in UNMADE and _NAMED.get(path, b"") in content:
            yield Finding.of(model.IDENTITY, path, what)
    for name in rootfs.names(_JOURNALS):
        if _MACHINE_ID.fullmatch(name):
            yield Finding.of(model.IDENTITY, f"{_JOURNALS}/{name}", "journal of the machine that has this machine-id")
