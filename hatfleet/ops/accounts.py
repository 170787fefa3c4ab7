"""Accounts: keys instead of passwords, and nobody who is not declared."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation

from hatfleet.ops.base import Commands, note_change, query, quote, unchanged


def _locked(shadow_field: str) -> bool:
    """Whether a shadow password field lets nobody in (shadow(5): it starts with ! or *)."""
    return shadow_field.startswith(("!", "*"))


@operation()
def user(*, login: str, shell: str = "/bin/bash", groups: Sequence[str] = (), home: str | None = None) -> Commands:
    """Have an account with a home directory, a shell, these supplementary groups, and no password.

    Groups that the account has beyond the given ones are taken away; groups that do not exist are an error of
    usermod.
    """
    u = quote(login)
    lines = query(f"getent passwd {u} && {{ id -Gn {u}; id -gn {u}; getent shadow {u} | cut -d: -f2; }} || true")
    wanted = sorted(set(groups))
    home = home or f"/home/{login}"
    if not lines:
        note_change(login, "new account" + (f", groups {', '.join(wanted)}" if wanted else ""))
        more = f" --groups {quote(','.join(wanted))}" if wanted else ""
        yield StringCommand(
            f"useradd --create-home --home-dir {quote(home)} --shell {quote(shell)} --password '!'{more} {u}"
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
        unchanged(f"account {login} is as declared")
        return
    note_change(login, ", ".join(notes))
    yield StringCommand(f"usermod {quote(*arguments)} {u}")


@operation()
def user_absent(*, login: str) -> Commands:
    """Have an account gone, with its home directory."""
    if not query(f"getent passwd {quote(login)} || true"):
        unchanged(f"there is no account {login}")
        return
    note_change(login, "remove account")
    # userdel ends with 12 when it could not remove the home directory or mail spool: the account is gone then.
    yield StringCommand(f"userdel --force --remove {quote(login)} || [ $? -eq 12 ]")


@operation()
def lock_passwords(*, names: Sequence[str] | None = None) -> Commands:
    """Have no usable password: on the named accounts, or by default on every account."""
    entries = (line.split(":") for line in query("getent shadow"))
    usable = [e[0] for e in entries if not _locked(e[1]) and (names is None or e[0] in names)]
    if not usable:
        unchanged("all passwords are locked")
        return
    note_change(", ".join(usable), "lock password")
    yield StringCommand(" && ".join(f"usermod --password '!' {quote(name)}" for name in usable))
