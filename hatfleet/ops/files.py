"""Files, directories, links and permissions.

A file is written whole: to a temporary file in the same directory, with its final mode and owner before it has any
content that matters, flushed to disk, then renamed. Neither a power cut nor a reader ever sees a part of it, and a
secret is at no moment readable by others.
"""

from __future__ import annotations

import hashlib
from posixpath import dirname

from hatfleet.ops.base import quote, state_path, unified_diff
from hatfleet.ops.reads import PathRead, PathState, TextRead
from hatfleet.ops.steps import Command, Note, Steps, operation

#: Content beyond this many bytes is not shown as a diff.
DIFF_LIMIT_BYTES = 65536


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


def write_script(path: str, *, mode: str, owner: str, group: str, validate: str | None) -> str:
    """Return the shell script that writes its standard input to ``path`` atomically."""
    p, folder = quote(path), quote(dirname(path) or "/")
    own = f'chown {quote(f"{owner}:{group}")} "$t"; ' if (owner, group) != ("root", "root") else ""
    check = validate.replace("%s", '"$t"') + " >&2; " if validate else ""
    return (
        f"set -eu; umask 077; [ -d {folder} ] || (umask 022; mkdir -p {folder}); "
        # Nobody else writes here now: what a crash of the device left behind can go.
        f"rm -f {folder}/.hatfleet.????????; t=$(mktemp {folder}/.hatfleet.XXXXXXXX); trap 'rm -f \"$t\"' EXIT; "
        f'cat >"$t"; {own}chmod {_normal_mode(mode)} "$t"; {check}'
        f'sync "$t"; mv -fT "$t" {p}; trap - EXIT; sync {folder}'
    )


@operation(at="path")
def file(
    *,
    path: str,
    content: str | bytes,
    mode: str = "0644",
    owner: str = "root",
    group: str = "root",
    sensitive: bool = False,
    validate: str | None = None,
) -> Steps:
    """Have a file with exactly this content, mode and owner; a link at the path is replaced.

    One link is followed: on a read-only image, a file that belongs to the device is a link into its state.

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
    state: PathState = yield PathRead(path, content=True)
    if state.kind == "link" and state.target == state_path(path):
        path = state.target
        state = yield PathRead(path, content=True)
    same_content = state.kind == "file" and state.sha256 == hashlib.sha256(data).hexdigest()
    rights = _rights(state, mode, owner, group) if state.kind == "file" else []
    if same_content and not rights:
        return
    if same_content:
        yield Note(path, ", ".join(rights))
        yield Command(_set_rights(path, mode, owner, group))
        return
    was = "new file" if state.kind == "absent" else "content" if state.kind == "file" else f"replaces a {state.kind}"
    diff = ""
    if not sensitive and isinstance(content, str) and state.size <= DIFF_LIMIT_BYTES:
        old = (yield TextRead(path)) if state.kind == "file" else b""
        diff = unified_diff(path, old.decode(errors="replace"), content)
    yield Note(path, ", ".join([was, *rights]), diff)
    yield Command(write_script(path, mode=mode, owner=owner, group=group, validate=validate), stdin=data)


@operation(at="path")
def directory(*, path: str, mode: str = "0755", owner: str = "root", group: str = "root") -> Steps:
    """Have a directory with this mode and owner; anything else at the path is an error."""
    state: PathState = yield PathRead(path)
    rights = _rights(state, mode, owner, group)
    if state.kind == "directory" and not rights:
        return
    if state.kind == "directory":
        yield Note(path, ", ".join(rights))
        yield Command(_set_rights(path, mode, owner, group))
        return
    yield Note(path, "new directory")
    yield Command(f"install -d -m {_normal_mode(mode)} -o {quote(owner)} -g {quote(group)} {quote(path)}")


@operation(at="path", below=True)
def link(*, path: str, target: str) -> Steps:
    """Have a symbolic link; a file or another link at the path is replaced in one step."""
    state: PathState = yield PathRead(path)
    if state.kind == "link" and state.target == target:
        return
    yield Note(path, f"link to {target}" + (f" (was {state.target or state.kind})" if state.kind != "absent" else ""))
    p, new, folder = quote(path), quote(f"{path}.hatfleet-new"), quote(dirname(path) or "/")
    yield Command(
        f"set -e; [ -d {folder} ] || install -d -m 0755 {folder}; ln -sfn {quote(target)} {new}; mv -fT {new} {p}"
    )


@operation(at="path", below=True)
def absent(*, path: str) -> Steps:
    """Have nothing at a path: a file, a link (not what it points to) or a whole directory is removed."""
    state: PathState = yield PathRead(path)
    if state.kind == "absent":
        return
    yield Note(path, f"remove {state.kind}")
    yield Command(f"rm -rf --one-file-system -- {quote(path)}")


@operation(at="path")
def permissions(*, path: str, mode: str | None = None, owner: str | None = None, group: str | None = None) -> Steps:
    """Have this mode and owner on something that exists; nothing is done when it does not, or is a link."""
    state: PathState = yield PathRead(path)
    rights = _rights(state, mode, owner, group) if state.kind not in ("absent", "link") else []
    if rights:
        yield Note(path, ", ".join(rights))
        yield Command(_set_rights(path, mode, owner, group))
