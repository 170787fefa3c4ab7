"""Rights of files: who may change them, whom they belong to, whose rights they give."""

from __future__ import annotations

import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from hatfleet.image.gate import model
from hatfleet.image.gate.model import Finding
from hatfleet.image.gate.rootfs import Entry


@dataclass(frozen=True)
class Owners:
    """The numbers of the image's accounts and groups."""

    uids: Collection[int]
    gids: Collection[int]


def judge_rights(entry: Entry, owners: Owners) -> Iterator[Finding]:
    """Yield what is wrong with the rights of one file or folder, set-id bits and capabilities aside."""
    mode = entry.status.st_mode
    if not stat.S_ISLNK(mode) and mode & stat.S_IWOTH and not (entry.is_folder and mode & stat.S_ISVTX):
        kind = "folder without sticky bit" if entry.is_folder else "file"
        yield Finding.of(model.WORLD_WRITABLE, entry.path, f"{kind}, mode {stat.S_IMODE(mode):04o}")
    missing = [
        f"{kind} {number}"
        for kind, number, known in (
            ("uid", entry.status.st_uid, owners.uids),
            ("gid", entry.status.st_gid, owners.gids),
        )
        if number not in known
    ]
    if missing:
        yield Finding.of(
            model.NO_OWNER, entry.path, f"belongs to {' and '.join(missing)}, which the image does not know"
        )


def other_rights(entry: Entry) -> str:
    """Say which rights of others a program gives: set-id bits and capabilities; empty when it gives none."""
    if not entry.is_file:
        return ""
    mode = entry.status.st_mode
    parts = [
        f"{word} {number}"
        for bit, word, number in (
            (stat.S_ISUID, "set-user-id", entry.status.st_uid),
            (stat.S_ISGID, "set-group-id", entry.status.st_gid),
        )
        if mode & bit
    ]
    if entry.capabilities():
        parts.append("file capabilities")
    return ", ".join(parts)
