"""Plain programs of the builder's own processor, lent to a root file system for another one.

An emulated program takes 50 to 100 ms before it does anything, and laying down one file takes eight of them. So a
*tools tree* (a root file system of the same Debian release for the builder's processor) lends its shell, its programs
for files and texts, and systemctl. They run inside as all others do: behind the same wall, below the same root folder,
with its links, its accounts and its files. Only the instructions are not emulated.

Lent is what does the same on every processor. What installs, configures or proves something (dpkg, perl, sshd, su,
bash) stays the root file system's own, and so does everything that is called by its whole path.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from hatfleet.common.errors import HatfleetError

#: Where the programs lie inside, on a file system of their own: nothing of them gets into the image.
FOLDER = "/run/native"

#: What is lent, if the tree has it. Not uname and arch: their answer is the processor.
PROGRAMS = (
    *("sh", "env", "true", "false", "test", "[", "expr", "printf", "echo", "sleep", "date", "id", "getent"),
    *("cat", "head", "tail", "tee", "wc", "cut", "tr", "sort", "uniq", "comm", "paste", "sed", "grep", "cmp", "diff"),
    *("find", "xargs", "stat", "ls", "readlink", "realpath", "basename", "dirname", "base64", "od"),
    *("cp", "mv", "rm", "rmdir", "mkdir", "mktemp", "ln", "install", "touch", "truncate", "chmod", "chown", "chgrp"),
    *("sha256sum", "md5sum", "tar", "gzip", "systemctl"),
)

#: By processor: the loader that its programs name, and the folder of its libraries (Debian's multiarch paths).
_PLACES = {
    "x86_64": ("lib64/ld-linux-x86-64.so.2", "usr/lib/x86_64-linux-gnu"),
    "aarch64": ("lib/ld-linux-aarch64.so.1", "usr/lib/aarch64-linux-gnu"),
}

# "$tree" is the tools tree. Read-only, because it is the tree of all builds. sync does nothing here, see the holder.
_SCRIPT = """\
umask 022
mkdir "$root@FOLDER@"
mount -t tmpfs -o mode=0755,nosuid,nodev,size=64m tmpfs "$root@FOLDER@"
for program in @PROGRAMS@; do
	[ ! -f "$tree/usr/bin/$program" ] || set -- "$@" "$tree/usr/bin/$program"
done
cp "$@" "$root@FOLDER@"
cp "$tree/usr/bin/true" "$root@FOLDER@/sync"
mount -o remount,ro,nosuid,nodev "$root@FOLDER@"
mount --bind "$tree/@LIBRARIES@" "$root/@LIBRARIES@"
mount -o remount,bind,ro,nosuid,nodev "$root/@LIBRARIES@"
mount --bind "$tree/@LOADER@" "$root/@LOADER@"
mount -o remount,bind,ro,nosuid,nodev "$root/@LOADER@"
"""


@dataclass
class Loan:
    """The programs of a tools tree in one root file system, and the empty places they are mounted on.

    Args:
        root: The root file system.
        tree: The tools tree.
        machine: The builder's processor, as the kernel names it.
    """

    root: Path
    tree: Path
    machine: str = field(default_factory=lambda: os.uname().machine)
    _made: list[Path] = field(default_factory=list, init=False)

    def begin(self) -> bool:
        """Make what is mounted on; false when nothing is to be lent.

        That is so when the root file system has a loader or libraries for our processor: its own programs need no
        emulation then, or these libraries belong to them. It is so, too, when it has no folder for libraries at all.

        Raises:
            HatfleetError: a place would lie outside the root file system, behind a symbolic link.
        """
        if self.machine not in _PLACES:
            return False
        loader, libraries = (self._place(path) for path in _PLACES[self.machine])
        if os.path.lexists(loader) or os.path.lexists(libraries) or not libraries.parent.is_dir():
            return False
        if not loader.parent.exists():
            self._make_folder(loader.parent)
        self._make_folder(libraries)
        loader.touch(mode=0o755, exist_ok=False)
        self._made.append(loader)
        return True

    def end(self) -> None:
        """Take the places away again; nothing may be mounted on them any more."""
        for path in reversed(self._made):
            with contextlib.suppress(FileNotFoundError):
                path.rmdir() if path.is_dir() else path.unlink()
        self._made.clear()

    @property
    def script(self) -> str:
        """What mounts the programs, in the namespaces of the holder; ``$root`` and ``$tree`` are set."""
        loader, libraries = _PLACES[self.machine]
        words = {"FOLDER": FOLDER, "PROGRAMS": " ".join(PROGRAMS), "LOADER": loader, "LIBRARIES": libraries}
        text = _SCRIPT
        for word, value in words.items():
            text = text.replace(f"@{word}@", value)
        return text

    def _place(self, path: str) -> Path:
        """Return where a path of the root file system lies."""
        place = self.root / path
        parent = place.parent.resolve()
        if parent != self.root and self.root not in parent.parents:
            raise HatfleetError(f"/{path} leads out of the root file system, to {parent}")
        return parent / place.name

    def _make_folder(self, folder: Path) -> None:
        folder.mkdir()
        folder.chmod(0o755)  # for all accounts inside, whatever the builder's umask
        self._made.append(folder)
