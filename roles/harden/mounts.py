"""Options of what is mounted.

/tmp and /var/tmp are units of systemd written whole, so Debian 12 and 13 come to the same. /dev/shm and /proc are
mounted by systemd itself before it reads any unit, and /boot/firmware stands in fstab: they are remounted early.
"""

# ruff: noqa: S108  # /tmp and its like are mount points here

from __future__ import annotations

from hatfleet.ops import absent, file, mount_options, on_change, render, unit
from roles.harden.settings import Mounts

REMOUNTED = ("/dev/shm", "/proc")


def apply(settings: Mounts) -> None:
    """Configure the mounts of the next boot, and remount what is mounted now."""
    options = settings.options()
    files = [
        file(
            path="/etc/systemd/system/tmp.mount",
            content=render(
                role_file=__file__,
                template="tmp.mount.j2",
                options=options["/tmp"],
                percent=settings.tmp_size_percent,
            ),
            name="/tmp",
        ),
        file(
            path="/etc/systemd/system/var-tmp.mount",
            content=render(role_file=__file__, template="var-tmp.mount.j2", options=options["/var/tmp"]),
            name="/var/tmp",
        ),
        file(
            path="/etc/systemd/system/hatfleet-remount.service",
            content=render(
                role_file=__file__,
                template="hatfleet-remount.service.j2",
                mounts={path: options[path] for path in REMOUNTED},
            ),
            name="remount of what systemd mounts",
        ),
        file(
            path="/etc/systemd/system/boot-firmware.mount.d/10-hatfleet.conf",
            content=f"[Mount]\nOptions={','.join(options['/boot/firmware'])}\n",
            name="/boot/firmware",
        ),
    ]
    hook = "/etc/apt/apt.conf.d/90-hatfleet-boot-firmware"
    if settings.boot_firmware_read_only:
        file(
            path=hook,
            content=render(role_file=__file__, template="apt-boot-firmware.conf.j2"),
            name="apt and the read-only /boot/firmware",
        )
    else:
        absent(path=hook, name="apt and /boot/firmware")
    on_change(triggers=files, command="systemctl daemon-reload", name="read the mount units")
    for name in ("tmp.mount", "var-tmp.mount", "hatfleet-remount.service"):
        unit(unit_name=name, enabled=True, running=True, name=f"start {name}")
    for path, wanted in options.items():
        mount_options(path=path, options=wanted, name=f"options of {path}")
