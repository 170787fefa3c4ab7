"""Settings of the role base."""

from __future__ import annotations

import functools
import ipaddress
import re
import zoneinfo
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from hatfleet.common.site import Site
from hatfleet.common.sshkeys import PublicKey, parse_public_key, read_public_keys
from hatfleet.fleet.settings import RoleSettings
from hatfleet.fleet.settings import Settings as Group

#: Purging one of these would take away the way in, the package manager, the network or what this role sets up.
PROTECTED = frozenset(
    {
        *("base-files", "base-passwd", "bash", "coreutils", "dash", "dbus", "init", "libc6", "libpam-modules", "login"),
        *("mount", "passwd", "sudo", "systemd", "systemd-sysv", "tzdata", "udev", "util-linux"),
        *("apt", "dpkg", "raspberrypi-archive-keyring", "raspberrypi-sys-mods"),
        *("e2fsprogs", "initramfs-tools", "kmod", "raspi-firmware"),
        *("dhcpcd", "ifupdown", "iproute2", "isc-dhcp-client", "netplan.io", "network-manager", "nftables"),
        *("openssh-server", "systemd-resolved", "systemd-timesyncd", "wpasupplicant"),
    }
)

#: One label of a host name (RFC 1123).
LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"


def is_host_name(name: str) -> bool:
    """Whether a name can be a Linux host name: RFC 1123 labels, at most 64 characters, not an IP address."""
    if not re.fullmatch(rf"{LABEL}(\.{LABEL})*", name) or len(name) > 64:
        return False
    return not re.fullmatch(r"[0-9.]+", name)


def _host_name(name: str) -> str:
    if not is_host_name(name):
        raise ValueError("a host name has letters, digits and inner hyphens, labels of at most 63 and 64 in all")
    return name


def _server(name: str) -> str:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        if not is_host_name(name):
            raise ValueError("a time server is a host name or an IP address") from None
    return name


@functools.cache
def _known_zones() -> frozenset[str]:
    """Return the time zones of this machine, read once: that takes longer than all else in an inventory of 1,000."""
    return frozenset(zoneinfo.available_timezones())


def _zone(name: str) -> str:
    # An admin machine without a time zone database cannot tell; the device's own database decides in the check.
    known = _known_zones()
    if not re.fullmatch(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", name) or (known and name not in known):
        raise ValueError("not a time zone name such as UTC or Europe/Berlin (see: timedatectl list-timezones)")
    return name


def _key_line(line: str) -> str:
    return parse_public_key(line).line


def _key_file(path: Path) -> Path:
    absolute = Site.find().root / path.expanduser()
    read_public_keys(absolute)
    return absolute


def _account(name: str) -> str:
    if name in ("root", "pi", "nobody", "daemon", "bin", "sys", "sshd"):
        raise ValueError("the admin account must be an account of its own, not a system or default one")
    return name


def _purgeable(name: str) -> str:
    if name in PROTECTED:
        raise ValueError("this package is needed: without it the device cannot be reached, updated or booted")
    return name


AccountName = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_-]{0,30}$")]
PackageName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.+-]+$")]


class Admin(Group):
    """The one human account, which opens with SSH keys only."""

    name: Annotated[AccountName, AfterValidator(_account)] = "admin"
    """Login name. A device that was set up with another account is logged in to with that one once, then with this."""
    authorized_keys: list[Annotated[str, AfterValidator(_key_line)]] = Field(default=[])
    """Ed25519 public keys that may log in, each one line as in authorized_keys: type, base64 text, comment."""
    authorized_keys_files: list[Annotated[Path, AfterValidator(_key_file)]] = Field(default=[])
    """Files of public keys on the admin's machine, relative to the site; each file needs at least one key."""
    shell: Annotated[str, Field(pattern=r"^/[a-z0-9/]+$")] = "/bin/bash"
    """Login shell, an absolute path on the device."""

    def public_keys(self) -> tuple[PublicKey, ...]:
        """All declared keys, from settings and files, each once, in the order of declaration."""
        declared = [parse_public_key(line) for line in self.authorized_keys]
        declared += [key for path in self.authorized_keys_files for key in read_public_keys(path)]
        unique: dict[str, PublicKey] = {}
        for key in declared:
            unique.setdefault(key.blob, key)
        return tuple(unique.values())


class Time(Group):
    """Time zone and time synchronisation."""

    zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    """Time zone, a name of the tz database."""
    servers: list[Annotated[str, AfterValidator(_server)]] = Field(
        default=[f"{number}.debian.pool.ntp.org" for number in range(4)], min_length=1
    )
    """NTP servers, host names or addresses; no other server is asked."""


class Journal(Group):
    """Limits of the system journal."""

    storage: Literal["persistent", "volatile"] = "persistent"
    """Where the journal lives: on disk (survives a reboot), or in memory (spares the SD card)."""
    max_use_mib: Annotated[int, Field(ge=16, le=65536)] = 200
    """Space that the journal may take on disk, MiB."""
    keep_free_mib: Annotated[int, Field(ge=16, le=1048576)] = 256
    """Space on disk that the journal leaves free, MiB."""
    runtime_max_use_mib: Annotated[int, Field(ge=4, le=4096)] = 32
    """Space that the journal may take in memory, MiB."""
    retention_days: Annotated[int, Field(ge=0, le=3650)] = 90
    """Age at which entries are dropped, days; 0: only the space counts."""


class Apt(Group):
    """Where packages may come from."""

    suite: Literal["bookworm", "trixie"] = "trixie"
    """Debian release of the device. Packages of this release, its updates and its security suite are preferred."""
    origins: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$")]] = Field(
        default=["Debian", "Raspberry Pi Foundation"], min_length=1
    )
    """Origins (field Origin of an archive's Release file) that may give packages; all others never do."""


class Settings(RoleSettings):
    """Base system: name, time, locale, the admin account, journal, package sources, SSH host key."""

    hostname: Annotated[str, AfterValidator(_host_name)] | None = None
    """Host name; the inventory name when not set."""
    locale: Annotated[str, Field(pattern=r"^(C|[a-z]{2,3}_[A-Z]{2})\.UTF-8$")] = "C.UTF-8"
    """System locale, always UTF-8, such as C.UTF-8 or de_DE.UTF-8."""
    admin: Admin = Admin()
    """The one human account."""
    time: Time = Time()
    """Time zone and time synchronisation."""
    journal: Journal = Journal()
    """Limits of the system journal."""
    apt: Apt = Apt()
    """Where packages may come from."""
    users_absent: list[AccountName] = Field(default=["pi"])
    """Accounts that must not exist; they are removed together with their home directories."""
    packages_absent: list[Annotated[PackageName, AfterValidator(_purgeable)]] = Field(
        default=[
            "apt-listchanges",
            "avahi-daemon",
            "bluez",
            "ftp",
            "inetutils-telnet",
            "installation-report",
            "libnss-mdns",
            "modemmanager",
            "nfs-common",
            "nis",
            "pi-bluetooth",
            "popularity-contest",
            "reportbug",
            "rpcbind",
            "rpi-connect",
            "rpi-connect-lite",
            "rsh-client",
            "talk",
            "telnet",
            "tftp",
            "tnftp",
            "triggerhappy",
            "unattended-upgrades",
            "userconf-pi",
            "xinetd",
        ]
    )
    """Packages that must not be installed. What would drag other packages along is an error."""

    @model_validator(mode="after")
    def _admin_stays(self) -> Settings:
        if self.admin.name in self.users_absent:
            raise ValueError(f"users_absent names the admin account {self.admin.name!r}: nobody could log in")
        if "root" in self.users_absent:
            raise ValueError("users_absent names root, which every Linux system needs")
        return self
