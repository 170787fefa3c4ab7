"""Operations that only this role needs."""

from __future__ import annotations

from collections.abc import Sequence

from hatfleet.ops import (
    Command,
    Note,
    OperationError,
    PathRead,
    ShellRead,
    Steps,
    absent,
    directory,
    file,
    is_live,
    operation,
    packages_absent,
    quote,
)
from hatfleet.ops.packages import installed_packages


@operation()
def all_absent(*, paths: Sequence[str], mount_point: str | None = None) -> Steps:
    """Have nothing at any of these paths, read in one command.

    Args:
        paths: Absolute paths of files, links or directories.
        mount_point: Where the file system with the paths is mounted; if that is read-only, it is made writable for
            the moment of removing.
    """
    there = yield ShellRead(f'for p in {quote(*paths)}; do if [ -e "$p" ] || [ -L "$p" ]; then echo "$p"; fi; done')
    if not there:
        return
    for path in there:
        yield Note(path, "remove")
    remove = f"rm -rf --one-file-system -- {quote(*there)}"
    if mount_point is None:
        yield Command(remove)
        return
    mounted = quote(mount_point)
    yield Command(
        f"if findmnt -n -o OPTIONS --mountpoint {mounted} | grep -qw ro; then mount -o remount,rw {mounted}; "
        f"{remove}; rc=$?; mount -o remount,ro {mounted}; exit $rc; else {remove}; fi"
    )


@operation()
def usable_host_key(*, key: str, service: str) -> Steps:
    """Have a host key that sshd takes, with its public half beside it; nothing to do while an image is built.

    Args:
        key: The private key's path.
        service: The unit that mends or makes the key when it starts.
    """
    if not is_live():
        return
    k = quote(key)
    wanted = f'"$(ssh-keygen -y -P "" -f {k} 2>/dev/null </dev/null | cut -d " " -f 1,2)"'
    state = yield ShellRead(
        f'if [ "$(stat -Lc %a-%U {k} 2>/dev/null)" != 600-root ]; then echo "not readable by root only, or missing"; '
        f'elif [ "$(cut -d " " -f 1,2 {k}.pub 2>/dev/null)" != {wanted} ]; then echo "not usable, or .pub differs"; fi'
    )
    if not state:
        return
    yield Note(key, state[0])
    yield Command(f"systemctl restart {quote(service)}")


@operation()
def authorized_keys(*, login: str, keys: Sequence[str]) -> Steps:
    """Have exactly these SSH keys open an account, wherever its home directory is.

    Args:
        login: The account. One that does not exist yet will have its home in /home.
        keys: Lines of authorized_keys.
    """
    account = yield ShellRead(f"getent passwd {quote(login)} | cut -d: -f6; id -gn {quote(login)} 2>/dev/null || true")
    home, group = account if len(account) == 2 else (f"/home/{login}", login)
    folder = f"{home}/.ssh"
    second = f"{folder}/authorized_keys2"
    # Asked for together, so that the bodies below find their answers without a command each.
    yield (PathRead(folder), PathRead(f"{folder}/authorized_keys", content=True), PathRead(second))
    yield from directory.body(path=folder, mode="0700", owner=login, group=group)
    content = "".join(f"{key}\n" for key in keys)
    yield from file.body(path=f"{folder}/authorized_keys", content=content, mode="0600", owner=login, group=group)
    # sshd reads this second file by default: keys in it would not be declared anywhere.
    yield from absent.body(path=second)


@operation()
def purged(*, names: Sequence[str]) -> Steps:
    """Have packages gone, provided that nothing undeclared goes with them.

    Raises:
        OperationError: purging would take other packages along; the message names them.
    """
    if names and (there := (yield from installed_packages(names))):
        simulated = yield ShellRead(f"apt-get -s -q purge {quote(*there)}")
        gone = {line.split()[1] for line in simulated if line.startswith(("Purg ", "Remv "))}
        if dragged := sorted(name for name in gone if name.split(":")[0] not in names):
            raise OperationError(
                f"purging what base.packages_absent names would also remove {', '.join(dragged)}: "
                f"add these to base.packages_absent, or take out what they need"
            )
    yield from packages_absent.body(names=names)
