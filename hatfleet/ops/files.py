"""Files, directories, links and permissions.

A file is written whole: to a temporary file in the same directory, with its final mode and owner before it has any
content that matters, flushed to disk, then renamed. Neither a power cut nor a reader ever sees a part of it, and a
secret is at no moment readable by others.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from posixpath import dirname

from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation

from hatfleet.ops.base import Commands, note_change, query, quote, unchanged, unified_diff

#: Content beyond this many bytes is not shown as a diff.
DIFF_LIMIT_BYTES = 65536


@dataclass(frozen=True)
class PathState:
    """What is at a path now; ``kind`` is absent, file, directory, link or other."""

    kind: str
    mode: str = ""
    owner: str = ""
    group: str = ""
    size: int = 0
    sha256: str = ""
    target: str = ""


def read_path(path: str) -> PathState:
    """Read what is at a path, without following a link, in one command."""
    p = quote(path)
    lines = query(
        f"if [ -L {p} ]; then echo link; readlink {p}; "
        f"elif [ -e {p} ]; then LC_ALL=C stat -c '%F|%04a|%U|%G|%s' {p}; if [ -f {p} ]; then sha256sum <{p}; fi; "
        f"else echo absent; fi"
    )
    if lines[0] == "absent":
        return PathState("absent")
    if lines[0] == "link":
        return PathState("link", target=lines[1] if len(lines) > 1 else "")
    kind, mode, owner, group, size = lines[0].split("|")
    known = {"regular file": "file", "regular empty file": "file", "directory": "directory"}
    digest = lines[1].split()[0] if len(lines) > 1 else ""
    return PathState(known.get(kind, "other"), mode, owner, group, int(size), digest)


def _normal_mode(mode: str) -> str:
    return f"{int(mode, 8):04o}"


def _rights(state: PathState, mode: str | None, owner: str | None, group: str | None) -> list[str]:
    """Say which of mode, owner and group differ."""
    wanted = (("mode", state.mode, mode and _normal_mode(mode)), ("owner", state.owner, owner))
    return [
        f"{what} {now} → {then}"
        for what, now, then in (*wanted, ("group", state.group, group))
        if then is not None and now != then
    ]


def _set_rights(path: str, mode: str | None, owner: str | None, group: str | None) -> str:
    commands = []
    if owner or group:
        account = f"{owner or ''}:{group or ''}"
        commands.append(f"chown -h {quote(account)} {quote(path)}")
    if mode:
        # After chown, which clears the set-id bits.
        commands.append(f"chmod {_normal_mode(mode)} {quote(path)}")
    return " && ".join(commands)


def _old_text(path: str, state: PathState) -> str | None:
    """Return the present content for a diff, or None when it is too long or no text."""
    if state.kind != "file":
        return ""
    if state.size > DIFF_LIMIT_BYTES:
        return None
    try:
        return base64.b64decode("".join(query(f"base64 {quote(path)}"))).decode()
    except UnicodeDecodeError:
        return None


def write_script(path: str, *, mode: str, owner: str, group: str, validate: str | None) -> str:
    """Return the shell script that writes its base64 standard input to ``path`` atomically."""
    p, folder = quote(path), quote(dirname(path) or "/")
    own = f'chown {quote(f"{owner}:{group}")} "$t"; ' if (owner, group) != ("root", "root") else ""
    check = validate.replace("%s", '"$t"') + " >&2; " if validate else ""
    return (
        f"set -eu; umask 077; [ -d {folder} ] || install -d -m 0755 {folder}; "
        f"t=$(mktemp {folder}/.hatfleet.XXXXXXXX); trap 'rm -f \"$t\"' EXIT; "
        f'base64 -d >"$t"; {own}chmod {_normal_mode(mode)} "$t"; {check}'
        f'sync "$t"; mv -fT "$t" {p}; trap - EXIT; sync {folder}'
    )


@operation()
def file(
    *,
    path: str,
    content: str | bytes,
    mode: str = "0644",
    owner: str = "root",
    group: str = "root",
    sensitive: bool = False,
    validate: str | None = None,
) -> Commands:
    """Have a file with exactly this content, mode and owner; a link at the path is replaced.

    Args:
        path: Absolute path; missing parent directories are made with mode 0755.
        content: The whole content; text is written as UTF-8.
        mode: Octal permission bits.
        owner: Name of the owner.
        group: Name of the group.
        sensitive: Never show the content.
        validate: A command that must succeed before the file is put in place; ``%s`` is the new file's path.
    """
    data = content.encode() if isinstance(content, str) else content
    state = read_path(path)
    same_content = state.kind == "file" and state.sha256 == hashlib.sha256(data).hexdigest()
    rights = _rights(state, mode, owner, group) if state.kind == "file" else []
    if same_content and not rights:
        unchanged(f"{path} is as declared")
        return
    if same_content:
        note_change(path, ", ".join(rights))
        yield StringCommand(_set_rights(path, mode, owner, group))
        return
    was = "new file" if state.kind == "absent" else "content" if state.kind == "file" else f"replaces a {state.kind}"
    old = None if sensitive or isinstance(content, bytes) else _old_text(path, state)
    diff = unified_diff(path, old, data.decode()) if old is not None else ""
    note_change(path, ", ".join([was, *rights]), diff)
    yield StringCommand(
        write_script(path, mode=mode, owner=owner, group=group, validate=validate),
        _stdin=base64.encodebytes(data).decode() or "\n",
    )


@operation()
def directory(*, path: str, mode: str = "0755", owner: str = "root", group: str = "root") -> Commands:
    """Have a directory with this mode and owner; anything else at the path is an error."""
    state = read_path(path)
    rights = _rights(state, mode, owner, group)
    if state.kind == "directory" and not rights:
        unchanged(f"{path} is as declared")
        return
    if state.kind == "directory":
        note_change(path, ", ".join(rights))
        yield StringCommand(_set_rights(path, mode, owner, group))
        return
    note_change(path, "new directory")
    yield StringCommand(f"install -d -m {_normal_mode(mode)} -o {quote(owner)} -g {quote(group)} {quote(path)}")


@operation()
def link(*, path: str, target: str) -> Commands:
    """Have a symbolic link; a file or another link at the path is replaced in one step."""
    state = read_path(path)
    if state.kind == "link" and state.target == target:
        unchanged(f"{path} points to {target}")
        return
    note_change(path, f"link to {target}" + (f" (was {state.target or state.kind})" if state.kind != "absent" else ""))
    p, new, folder = quote(path), quote(f"{path}.hatfleet-new"), quote(dirname(path) or "/")
    yield StringCommand(
        f"set -e; [ -d {folder} ] || install -d -m 0755 {folder}; ln -sfn {quote(target)} {new}; mv -fT {new} {p}"
    )


@operation()
def absent(*, path: str) -> Commands:
    """Have nothing at a path: a file, a link (not what it points to) or a whole directory is removed."""
    state = read_path(path)
    if state.kind == "absent":
        unchanged(f"{path} is absent")
        return
    note_change(path, f"remove {state.kind}")
    yield StringCommand(f"rm -rf --one-file-system -- {quote(path)}")


@operation()
def permissions(*, path: str, mode: str | None = None, owner: str | None = None, group: str | None = None) -> Commands:
    """Have this mode and owner on something that exists; nothing is done when it does not, or is a link."""
    state = read_path(path)
    rights = _rights(state, mode, owner, group) if state.kind not in ("absent", "link") else []
    if not rights:
        unchanged(f"{path} is as declared")
        return
    note_change(path, ", ".join(rights))
    yield StringCommand(_set_rights(path, mode, owner, group))
