"""The system locale."""

from __future__ import annotations

from hatfleet.ops import file, link, on_change

#: The C library knows it without any data of its own.
BUILT_IN = "C.UTF-8"


def packages(locale: str) -> list[str]:
    """Return the packages that a locale needs."""
    return [] if locale == BUILT_IN else ["locales"]


def declare(locale: str) -> None:
    """Declare the locale for services (locale.conf) and for logins (PAM reads /etc/default/locale)."""
    if locale != BUILT_IN:
        wanted = file(name="locales to generate", path="/etc/locale.gen", content=f"{locale} UTF-8\n")
        on_change(name="generate the locale", triggers=[wanted], command="locale-gen", live_only=False)
    file(name="locale", path="/etc/locale.conf", content=f"LANG={locale}\n")
    link(name="locale of logins", path="/etc/default/locale", target="../locale.conf")
