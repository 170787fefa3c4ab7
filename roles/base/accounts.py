"""Who may come in: the admin by key, nobody else, and nobody by password."""

from __future__ import annotations

from collections.abc import Sequence

from hatfleet.common.errors import InputError
from hatfleet.ops import file, is_live, lock_passwords, user, user_absent
from roles.base.operations import all_absent, authorized_keys
from roles.base.settings import Admin

#: sudo reads these in the order of their names; none after ours may speak about the admin.
SUDOERS = "/etc/sudoers.d/90-hatfleet-admin"

#: Ways in that are nobody's declaration: sudo without a password for whoever was made at the first boot (Raspberry Pi
#: OS, cloud-init), and keys for root.
OTHER_WAYS_IN = (
    "/etc/sudoers.d/010_pi-nopasswd",
    "/etc/sudoers.d/90-cloud-init-users",
    "/root/.ssh/authorized_keys",
    "/root/.ssh/authorized_keys2",
)

BOOT = "/boot/firmware"

#: Files on the boot partition with which whoever holds the card makes an account or opens SSH at the next boot.
BOOT_FILES = tuple(
    f"{BOOT}/{name}" for name in ("userconf", "userconf.txt", "ssh", "ssh.txt", "custom.toml", "firstrun.sh")
)


def open_admin(admin: Admin) -> None:
    """Declare the admin account, its keys and its right to use sudo.

    Raises:
        InputError: on a live device, no key is declared.
    """
    if is_live() and not admin.public_keys():
        raise InputError(
            f"no SSH key is declared for the admin account {admin.name!r}: nobody could log in after this run. "
            f"Set base.admin.authorized_keys or base.admin.authorized_keys_files"
        )
    user(name="admin account", login=admin.name, shell=admin.shell)
    file(
        name="admin may use sudo",
        path=SUDOERS,
        content=f"# Written by hatfleet (role base). The account has no password that sudo could ask for.\n"
        f"{admin.name} ALL=(ALL:ALL) NOPASSWD: ALL\n",
        mode="0440",
        validate="visudo -cf %s",
    )
    authorized_keys(name="admin's SSH keys", login=admin.name, keys=[key.line for key in admin.public_keys()])


def close_others(users_absent: Sequence[str]) -> None:
    """Declare that nobody but the admin comes in: no default accounts, no passwords, no first-boot files."""
    for login in users_absent:
        user_absent(name=f"no account {login}", login=login)
    all_absent(name="no other way in", paths=OTHER_WAYS_IN)
    lock_passwords(name="all passwords locked")
    all_absent(name="no first-boot access files", paths=BOOT_FILES, mount_point=BOOT)
