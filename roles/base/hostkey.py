"""The SSH server and its host key: made on the device, announced on the console, never part of an image."""

from __future__ import annotations

from pathlib import Path

from hatfleet.ops import directory, file, is_live, on_change, unit
from roles.base.operations import all_absent, usable_host_key

FILES = Path(__file__).parent / "files"

SCRIPT = "/usr/lib/hatfleet/hatfleet-hostkey.sh"
KEY = "/etc/ssh/ssh_host_ed25519_key"
UNIT = "hatfleet-hostkey.service"

#: First-boot services of Debian 13, Raspberry Pi OS and Debian's Raspberry Pi images. They would make keys of other
#: types, or make a second Ed25519 key at the very moment when ours is made.
OTHER_GENERATORS = (
    "sshd-keygen.service",
    "regenerate_ssh_host_keys.service",
    "rpi-generate-ssh-host-keys.service",
)

#: Every device makes its own: a key in an image would be the same on all of them, and public.
KEYS = tuple(
    f"/etc/ssh/ssh_host_{kind}_key{suffix}" for kind in ("dsa", "ecdsa", "ed25519", "rsa") for suffix in ("", ".pub")
)


def declare() -> None:
    """Declare the SSH server and the service that gives it its host key."""
    if not is_live():
        all_absent(name="no host keys in the image", paths=KEYS)
    for generator in OTHER_GENERATORS:
        unit(name=f"no other key generator: {generator}", unit_name=generator, enabled=None, masked=True)
    directory(name="folder of hatfleet's scripts", path="/usr/lib/hatfleet")
    script = file(
        name="host key script",
        path=SCRIPT,
        content=(FILES / "hatfleet-hostkey.sh").read_text(),
        mode="0755",
        validate="sh -n %s",
    )
    changed = file(name="host key unit", path=f"/usr/lib/systemd/system/{UNIT}", content=(FILES / UNIT).read_text())
    # Somebody's copy or drop-in under /etc would win over the unit.
    overrides = all_absent(
        name="nothing overrides the host key unit",
        paths=(f"/etc/systemd/system/{UNIT}", f"/etc/systemd/system/{UNIT}.d"),
    )
    unit(name="host key service", unit_name=UNIT, enabled=True, running=True)
    on_change(
        name="announce the host key",
        triggers=[script, changed, overrides],
        command=f"systemctl restart {UNIT}",
    )
    usable_host_key(name="host key", key=KEY, service=UNIT)
    unit(name="SSH server", unit_name="ssh.service", enabled=True, running=True)
