"""A text in an editor, without its plain text ever reaching a disk."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from hatfleet.common.errors import HatfleetError, InputError

_MEMORY = frozenset({"tmpfs", "ramfs"})

#: Vi's relatives keep what is edited in swap, undo, backup and history files elsewhere, on disk.
_TRACELESS = ("-n", "-i", "NONE", "-c", "set noundofile nobackup nowritebackup")
_EDITOR_OPTIONS = {"vim": _TRACELESS, "nvim": _TRACELESS}


def edit_text(text: str, *, allow_disk: bool) -> str:
    """Let the user edit a text in ``$VISUAL`` or ``$EDITOR`` and return it.

    Args:
        text: What to begin with.
        allow_disk: Where there is no file system in memory, use a temporary file on disk.

    Raises:
        InputError: there is no editor, or only a disk.
        HatfleetError: the editor failed.
    """
    command = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "editor")
    command += _EDITOR_OPTIONS.get(Path(command[0]).name, ()) if command else ()
    if not command or not shutil.which(command[0]):
        raise InputError(f"there is no editor {' '.join(command[:1])!r}", hint="name one: EDITOR=nano")
    with private_folder(allow_disk=allow_disk) as folder:
        file = folder / "secret"
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
            handle.write(text)
        ended = subprocess.run([*command, str(file)], check=False).returncode
        if ended != 0:
            raise HatfleetError(f"{command[0]} ended with exit status {ended}", hint="the secret is as it was")
        try:
            return file.read_text()
        except (UnicodeDecodeError, FileNotFoundError) as error:
            raise InputError("the editor left no UTF-8 text", hint="the secret is as it was") from error


@contextmanager
def private_folder(*, allow_disk: bool) -> Iterator[Path]:
    """Have a folder in memory that only this user can enter; it is gone afterwards, however the block ends.

    Raises:
        InputError: there is none, and a disk is not allowed.
    """
    base = next((place for place in _candidates() if in_memory(place)), None)
    if base is None and not allow_disk:
        raise InputError(
            "there is no file system in memory to edit in: neither XDG_RUNTIME_DIR nor /dev/shm is one",
            hint="with --allow-disk the plain text goes to a temporary file, and may be recovered from the disk",
        )
    # The window of a terminal may be closed while the editor is open.
    before = signal.signal(signal.SIGHUP, _interrupt)
    folder = Path(tempfile.mkdtemp(prefix="hatfleet-", dir=base))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        signal.signal(signal.SIGHUP, before)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _candidates() -> Iterator[Path]:
    for name in (os.environ.get("XDG_RUNTIME_DIR", ""), "/dev/shm"):  # noqa: S108
        folder = Path(name)
        if name.startswith("/") and folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
            shared = folder.stat().st_mode
            # Where everybody may write, nobody may rename what is another's.
            if not shared & stat.S_IWOTH or shared & stat.S_ISVTX:
                yield folder


def in_memory(folder: Path) -> bool:
    """Whether a folder lies on a file system in memory."""
    real = folder.resolve()
    found = ""
    deepest = -1
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        point = Path(fields.split()[4].encode().decode("unicode_escape"))
        # Of two mounts at one place the later one is seen.
        if real.is_relative_to(point) and len(point.parts) >= deepest:
            deepest, found = len(point.parts), rest.split()[0]
    return found in _MEMORY
