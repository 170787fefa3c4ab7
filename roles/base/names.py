"""The device's name."""

from __future__ import annotations

from hatfleet.common.errors import InputError
from hatfleet.ops import file, hostname, render
from roles.base.settings import is_host_name


def declare(host_name: str) -> None:
    """Declare the host name: on disk, in the running kernel, and as a name that resolves without a network.

    Raises:
        InputError: the name, which may come from the inventory, cannot be a host name.
    """
    if not is_host_name(host_name):
        raise InputError(
            f"{host_name!r} cannot be a host name (letters, digits and inner hyphens; not an address): "
            f"set base.hostname for this host"
        )
    short = host_name.split(".", maxsplit=1)[0]
    names = (host_name,) if short == host_name else (host_name, short)
    file(name="host name", path="/etc/hostname", content=f"{host_name}\n")
    file(
        name="names that resolve locally",
        path="/etc/hosts",
        content=render(role_file=__file__, template="hosts.j2", names=names),
    )
    hostname(name="running host name", host_name=host_name)
