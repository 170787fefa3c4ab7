"""Operations that only this role needs."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation

from hatfleet.ops import is_live, note_change, query, quote
from hatfleet.ops.base import Commands


@operation()
def all_absent(*, paths: Sequence[str], mount_point: str | None = None) -> Commands:
    """Have nothing at any of these paths, read in one command.

    Args:
        paths: Absolute paths of files, links or directories.
        mount_point: Where the file system with the paths is mounted; if that is read-only, it is made writable for
            the moment of removing.
    """
    there = query(f'for p in {quote(*paths)}; do if [ -e "$p" ] || [ -L "$p" ]; then echo "$p"; fi; done')
    if not there:
        return
    for path in there:
        note_change(path, "remove")
    remove = f"rm -rf --one-file-system -- {quote(*there)}"
    if mount_point is None:
        yield StringCommand(remove)
        return
    mounted = quote(mount_point)
    yield StringCommand(
        f"if findmnt -n -o OPTIONS --mountpoint {mounted} | grep -qw ro; then mount -o remount,rw {mounted}; "
        f"{remove}; rc=$?; mount -o remount,ro {mounted}; exit $rc; else {remove}; fi"
    )


@operation()
def usable_host_key(*, key: str, service: str) -> Commands:
    """Have a host key that sshd takes, with its public half beside it; nothing to do while an image is built.

    Args:
        key: The private key's path.
        service: The unit that mends or makes the key when it starts.
    """
    if not is_live():
        return
    k = quote(key)
    wanted = f'"$(ssh-keygen -y -P "" -f {k} 2>/dev/null </dev/null | cut -d " " -f 1,2)"'
    state = query(
        f'if [ "$(stat -c %a-%U {k} 2>/dev/null)" != 600-root ]; then echo "not readable by root only, or missing"; '
        f'elif [ "$(cut -d " " -f 1,2 {k}.pub 2>/dev/null)" != {wanted} ]; then echo "not usable, or .pub differs"; fi'
    )
    if not state:
        return
    note_change(key, state[0])
    yield StringCommand(f"systemctl restart {quote(service)}")
