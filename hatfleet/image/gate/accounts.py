"""Accounts of the image: who may log in, and how."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from hatfleet.image.gate import model
from hatfleet.image.gate.model import Finding
from hatfleet.image.gate.rootfs import Rootfs

#: Accounts for people, and the one with the number of nobody (Debian Policy 9.2.2).
FIRST_UID, NOBODY = 1000, 65534

#: Accounts that images of boards and clouds are known for, with passwords that everybody knows.
DEFAULT_NAMES = frozenset(
    {"pi", "ubuntu", "debian", "raspberry", "alarm", "odroid", "orangepi", "rock", "radxa", "khadas"}
)

_NO_LOGIN = ("/nologin", "/false", "/sync", "/shutdown", "/halt")


@dataclass(frozen=True)
class Account:
    """A line of /etc/passwd."""

    name: str
    password: str
    uid: int
    gid: int
    shell: str

    @property
    def has_shell(self) -> bool:
        """Whether one can work in a session of it; no shell at all means /bin/sh (passwd(5))."""
        return not self.shell.endswith(_NO_LOGIN)


def accounts(rootfs: Rootfs, path: str = "/etc/passwd") -> tuple[Account, ...]:
    """Return the accounts of the image; lines that are none are left out, as the system does."""
    lines = (line.split(":") for line in rootfs.text(path).splitlines())
    return tuple(
        Account(line[0], line[1], int(line[2]), int(line[3]), line[6])
        for line in lines
        if len(line) == 7 and line[2].isdigit() and line[3].isdigit()
    )


def group_ids(rootfs: Rootfs) -> frozenset[int]:
    """Return the numbers of the image's groups."""
    lines = (line.split(":") for line in rootfs.text("/etc/group").splitlines())
    return frozenset(int(line[2]) for line in lines if len(line) > 2 and line[2].isdigit())


def judge_accounts(rootfs: Rootfs, declared: Collection[str]) -> Iterator[Finding]:
    """Yield accounts that nobody declared, and those that open with a password or without one.

    Args:
        rootfs: The image.
        declared: Names of the accounts for people that the recipe declares.
    """
    known = accounts(rootfs)
    for account in known:
        human = account.uid >= FIRST_UID and account.uid != NOBODY
        if account.name not in declared and (human or account.name in DEFAULT_NAMES):
            what = f"the account {account.name} (uid {account.uid}) is not declared"
            yield Finding.of(model.ACCOUNT, "/etc/passwd", what)
        if account.uid == 0 and account.name != "root":
            yield Finding.of(model.ACCOUNT, "/etc/passwd", f"the account {account.name} is root by another name")
    # Tools keep the version before theirs with a hyphen at its end.
    for suffix in ("", "-"):
        for account in accounts(rootfs, f"/etc/passwd{suffix}"):
            yield from _judge_password(f"/etc/passwd{suffix}", account.name, account.password)
        for name, password in _fields(rootfs, f"/etc/shadow{suffix}"):
            yield from _judge_password(f"/etc/shadow{suffix}", name, password)
        for name, password in _fields(rootfs, f"/etc/gshadow{suffix}"):
            # A group without a password is one that nobody can enter by one (gshadow(5)).
            if password.strip("!*"):
                yield Finding.of(model.PASSWORD_HASH, f"/etc/gshadow{suffix}", f"password of the group {name}")
    yield from _judge_root(rootfs, known)


def _judge_root(rootfs: Rootfs, known: Collection[Account]) -> Iterator[Finding]:
    fields = dict(_fields(rootfs, "/etc/shadow"))
    for account in known:
        if account.uid == 0 and account.has_shell and not fields.get(account.name, "").startswith(("!", "*")):
            what = f"{account.name} has a shell, and its password is not locked"
            yield Finding.of(model.OPEN_ACCOUNT, "/etc/shadow", what)


def _judge_password(path: str, name: str, password: str) -> Iterator[Finding]:
    if not password:
        yield Finding.of(model.OPEN_ACCOUNT, path, f"the account {name} has no password and is not locked")
    elif password != "x" and password.strip("!*"):  # noqa: S105 - x: the password is in /etc/shadow
        locked = " (locked, but there)" if password.startswith(("!", "*")) else ""
        yield Finding.of(model.PASSWORD_HASH, path, f"password hash of the account {name}{locked}")


def _fields(rootfs: Rootfs, path: str) -> Iterator[tuple[str, str]]:
    """Yield names and passwords of /etc/shadow or /etc/gshadow."""
    for line in rootfs.text(path).splitlines():
        name, colon, rest = line.partition(":")
        if colon and name:
            yield name, rest.partition(":")[0]
