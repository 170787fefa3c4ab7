"""A whole folder, laid down from one archive and replaced in one step.

What lies in the folder is compared by a fingerprint over every name, mode, owner, link and content in it. A file in
the folder remembers it, and which archive it was made from: so a tree is known without its archive, which is made only
when a target needs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from posixpath import dirname

from hatfleet.ops.base import quote
from hatfleet.ops.reads import ScriptRead
from hatfleet.ops.steps import Archive, Note, Steps, Upload, operation

#: In the folder: digest of the archive, and the fingerprint of what was made of it, a line each.
MARKER = ".hatfleet-tree"

_FINGERPRINT = (
    f"{{ find . ! -path ./{MARKER} -printf '%y %m %U:%G %l %p\\n' | LC_ALL=C sort; "
    f"find . -type f ! -path ./{MARKER} -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum; }} | "
    "sha256sum | cut -d ' ' -f 1"
)


@dataclass(frozen=True)
class TreeRead(ScriptRead):
    """The lines of a folder's marker, and its fingerprint as it is now; nothing when it has no marker.

    Reading a hundred megabytes takes a moment: it is not done again for changes elsewhere.
    """

    path: str

    @classmethod
    def of(cls, path: str) -> TreeRead:
        """Return the read of a folder."""
        p = quote(path)
        return cls(f"if [ -f {p}/{MARKER} ]; then cd {p} && cat {MARKER} && {_FINGERPRINT}; fi", path)

    def depends_on(self, path: str, *, below: bool) -> bool:
        """Whether it is the folder, something in it, or a folder above it that may be gone."""
        return path == self.path or path.startswith(f"{self.path}/") or (below and self.path.startswith(f"{path}/"))


def mark_script(digest: str) -> str:
    """Return the script that marks the folder it runs in as made from an archive."""
    return f'f=$({_FINGERPRINT}) && printf "%s\\n" {quote(digest)} "$f" >{MARKER} && chmod 0644 {MARKER}'


@operation(at="path", below=True)
def tree(*, path: str, archive: Archive, finish: str = "true") -> Steps:
    """Have a folder with exactly the content of an archive, owned by root.

    The new folder is made beside the old one, flushed to disk, and takes its place in one step where the file system
    can exchange two names. Cut off anywhere, it leaves the old folder, or a run after it makes the new one.

    Args:
        path: Absolute path.
        archive: The content; its digest stands for it.
        finish: A script that completes the new folder, in which ``$new`` is where it lies.
    """
    lines = yield TreeRead.of(path)
    if len(lines) == 3 and lines[0] == archive.digest and lines[1] == lines[2]:
        return
    was = "new folder" if not lines else "another version" if lines[0] != archive.digest else "files were changed"
    yield Note(path, f"{was}: {archive.about}")
    yield Upload(_script(path, archive.digest, finish), archive.file)


def _script(path: str, digest: str, finish: str) -> str:
    """Return the script that lays down the archive on its standard input."""
    p, folder = quote(path), quote(dirname(path))
    return (
        f"set -eu; umask 022; p={p}; new=$p.hatfleet-new; old=$p.hatfleet-old; mkdir -p {folder}; "
        # A run that was cut off between two renames left the folder under this name.
        '[ -e "$p" ] || [ ! -e "$old" ] || mv -T "$old" "$p"; '
        'rm -rf --one-file-system -- "$new" "$old"; mkdir "$new"; '
        'tar -xz --numeric-owner --preserve-permissions -f - -C "$new"; '
        f'( {finish} ) </dev/null; ( cd "$new" && {mark_script(digest)} ); '
        f'sync -f "$new"; if [ ! -e "$p" ]; then mv -T "$new" "$p"; '
        # coreutils 9.5 and newer; not on every file system.
        'elif ! mv --exchange -T "$new" "$p" 2>/dev/null; then mv -T "$p" "$old"; mv -T "$new" "$p"; fi; '
        f'sync {folder}; rm -rf --one-file-system -- "$new" "$old"'
    )
