"""Where packages may come from."""

from __future__ import annotations

from hatfleet.ops import file, quote, render, require
from roles.base.settings import Apt

#: The name sorts last, so that a pin of another file that is more exact is at least seen first by a reader.
PREFERENCES = "/etc/apt/preferences.d/90-hatfleet.pref"


def suites(apt: Apt) -> tuple[str, ...]:
    """Return the code names that packages may come from."""
    return (apt.suite, f"{apt.suite}-security", f"{apt.suite}-updates")


def declare(apt: Apt) -> None:
    """Declare the package pins, on the release that they name only: they would forbid every package of another."""
    require(
        name="Debian release",
        script=f'. /etc/os-release; [ "${{VERSION_CODENAME:-}}" = {quote(apt.suite)} ] || '
        f'echo "${{VERSION_CODENAME:-not a Debian release}}"',
        message=f"base.apt.suite is {apt.suite}, but this system is {{found}}: "
        f"set base.apt.suite to the release that is installed",
    )
    file(
        name="package sources",
        path=PREFERENCES,
        content=render(role_file=__file__, template="preferences.j2", apt=apt, suites=suites(apt)),
    )
