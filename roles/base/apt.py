"""Where packages may come from, and which must not be installed."""

from __future__ import annotations

from collections.abc import Sequence

from hatfleet.common.errors import InputError
from hatfleet.ops import file, packages_absent, query, quote, render
from roles.base.settings import Apt

#: The name sorts last, so that a pin of another file that is more exact is at least seen first by a reader.
PREFERENCES = "/etc/apt/preferences.d/90-hatfleet.pref"


def suites(apt: Apt) -> tuple[str, ...]:
    """Return the code names that packages may come from."""
    return (apt.suite, f"{apt.suite}-security", f"{apt.suite}-updates")


def declare(apt: Apt) -> None:
    """Declare the package pins.

    Raises:
        InputError: the device runs another Debian release. Its pins would forbid every package it could install.
    """
    found = "".join(query('. /etc/os-release && echo "${VERSION_CODENAME:-}"'))
    if found != apt.suite:
        raise InputError(
            f"base.apt.suite is {apt.suite}, but this system is {found or 'not a Debian release'}: "
            f"set base.apt.suite to the release that is installed"
        )
    file(
        name="package sources",
        path=PREFERENCES,
        content=render(role_file=__file__, template="preferences.j2", apt=apt, suites=suites(apt)),
    )


def remove(names: Sequence[str]) -> None:
    """Declare packages absent, provided that nothing undeclared goes with them.

    Raises:
        InputError: purging would take other packages along; the message names them.
    """
    if dragged := _dragged_along(names):
        raise InputError(
            f"purging what base.packages_absent names would also remove {', '.join(dragged)}: "
            f"add these to base.packages_absent, or take out what they need"
        )
    packages_absent(name="packages that are not needed", names=names)


def _dragged_along(names: Sequence[str]) -> list[str]:
    """Return installed packages that depend on one of the named ones and are not named themselves."""
    if not names:
        return []
    listed = query(f"dpkg-query -W -f '${{Package}} ${{db:Status-Status}}\\n' {quote(*names)} 2>/dev/null || true")
    there = [line.split()[0] for line in listed if line.endswith(" installed")]
    if not there:
        return []
    simulated = query(f"apt-get -s -q purge {quote(*there)}")
    gone = {line.split()[1] for line in simulated if line.startswith(("Purg ", "Remv "))}
    return sorted(name for name in gone if name.split(":")[0] not in names)
