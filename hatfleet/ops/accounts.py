"""Accounts: keys instead of passwords, and nobody who is not declared."""

from __future__ import annotations

from collections.abc import Sequence

from hatfleet.ops.base import quote
from hatfleet.ops.reads import PathRead, ShellRead
from hatfleet.ops.steps import Command, Note, Steps, operation

#: An account has effects on who owns a path, too: on the owner's name, and on home directories.
_AFFECTED = (PathRead, ShellRead)


def _locked(shadow_field: str) -> bool:
    """Whether a shadow password field lets nobody in (shadow(5): it starts with ! or *)."""
    return shadow_field.startswith(("!", "*"))


@operation(affects=_AFFECTED)
def user(*, login: str, shell: str = "/bin/bash", groups: Sequence[str] = (), home: str | None = None) -> Steps:
    """Have an account with a home directory, a shell, these supplementary groups, and no password.

    Groups that the account has beyond the given ones are taken away; groups that do not exist are an error of
    usermod.
    """
    u = quote(login)
    lines = yield ShellRead(
        f"getent passwd {u} && {{ id -Gn {u}; id -gn {u}; getent shadow {u} | cut -d: -f2; }} || true"
    )
    wanted = sorted(set(groups))
    home = home or f"/home/{login}"
    if not lines:
        yield Note(login, "new account" + (f", groups {', '.join(wanted)}" if wanted else ""))
        with_groups = f" --groups {quote(','.join(wanted))}" if wanted else ""
        yield Command(
            f"useradd --create-home --home-dir {quote(home)} --shell {quote(shell)} --password '!'{with_groups} {u}"
        )
        return
    entry, all_groups, primary, password = (*lines, "", "", "")[:4]
    arguments: list[str] = []
    notes: list[str] = []
    if entry.split(":")[6] != shell:
        arguments += ["--shell", shell]
        notes.append(f"shell {shell}")
    if sorted(set(all_groups.split()) - {primary}) != wanted:
        arguments += ["--groups", ",".join(wanted)]
        notes.append(f"groups {', '.join(wanted) or 'none'}")
    if not _locked(password):
        arguments += ["--password", "!"]
        notes.append("lock password")
    if not arguments:
        return
    yield Note(login, ", ".join(notes))
    yield Command(f"usermod {quote(*arguments)} {u}")


@operation(affects=_AFFECTED)
def user_absent(*, login: str) -> Steps:
    """Have an account gone, with its home directory."""
    there = yield ShellRead(f"getent passwd {quote(login)} || true")
    if not there:
        return
    yield Note(login, "remove account")
    # userdel ends with 12 when it could not remove the home directory or mail spool: the account is gone then.
    yield Command(f"userdel --force --remove {quote(login)} || [ $? -eq 12 ]")


@operation(affects=_AFFECTED)
def lock_passwords(*, names: Sequence[str] | None = None) -> Steps:
    """Have no usable password: on the named accounts, or by default on every account."""
    shadow = yield ShellRead("getent shadow")
    entries = (line.split(":") for line in shadow)
    usable = [e[0] for e in entries if not _locked(e[1]) and (names is None or e[0] in names)]
    if not usable:
        return
    yield Note(", ".join(usable), "lock password")
    yield Command(" && ".join(f"usermod --password '!' {quote(name)}" for name in usable))
