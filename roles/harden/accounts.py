"""Sessions: umask, limits, time-out, su, banners."""

from __future__ import annotations

from hatfleet.ops import file, render
from roles.harden.operations import pam_profile
from roles.harden.settings import Login


def apply(settings: Login) -> None:
    """Configure what every new session gets."""
    file(
        path="/etc/login.defs",
        content=render(role_file=__file__, template="login.defs.j2", umask=settings.umask),
        name="account defaults",
    )
    # Without this, pam_umask gives the group back all that the owner has wherever an account has its own group.
    file(
        path="/usr/share/pam-configs/hatfleet-umask",
        content=render(role_file=__file__, template="pam-umask.j2"),
        name="umask of sessions",
    )
    pam_profile(profile="hatfleet-umask", line="pam_umask.so nousergroups", name="umask in all PAM sessions")
    file(
        path="/etc/profile.d/50-hatfleet.sh",
        content=render(role_file=__file__, template="profile.sh.j2", login=settings),
        name="shell defaults",
    )
    file(
        path="/etc/security/limits.d/10-hatfleet.conf",
        # The star does not mean root (limits.conf(5)).
        content="# Written by hatfleet (role harden).\n*     hard  core  0\nroot  hard  core  0\n",
        name="core dump limits",
    )
    file(
        path="/etc/pam.d/su",
        content=render(role_file=__file__, template="pam-su.j2", group=settings.su_group),
        name="su",
    )
    for path in ("/etc/issue", "/etc/issue.net"):
        file(path=path, content=f"{settings.banner}\n", name=f"banner {path}")
