"""Which QEMU emulates the devices: this machine's, or a newer one of Debian's, unpacked once into the cache.

Debian 12 has version 7.2, with which starting a program on a device takes three times as long as with Debian 13's 10.0,
and a check of the device, which starts hundreds, 1.7 times (docs/benchmarks.md). So where the installed one is old,
Debian 13's is fetched, with its libraries and its dynamic linker; nothing of it is installed.
"""

from __future__ import annotations

import functools
import re
import shutil
import tempfile
from pathlib import Path

from hatfleet.common.errors import CommandError, MissingToolError
from hatfleet.common.locks import file_lock
from hatfleet.common.paths import cache_dir
from hatfleet.common.progress import say, step
from hatfleet.common.run import require_tool, run

#: The version that was measured beside 7.2; those between were not.
FAST = 10

#: Where a newer QEMU comes from.
SUITE = "trixie"

_NAME, _PACKAGE = "qemu-system-aarch64", "qemu-system-arm"

#: What is needed of the package and of those that it depends on.
_PARTS = (f"./usr/bin/{_NAME}", "./usr/lib", "./usr/share/qemu")

#: A hundred megabytes unpacked; a slow line may take long.
_TIMEOUT_S = 1800.0


def program() -> list[str]:
    """Return the words that start QEMU: the fetched one if there is one and the installed one is old.

    Raises:
        MissingToolError: it is not installed.
    """
    installed = require_tool(_NAME, _PACKAGE)
    tree = _tree()
    if not tree.is_dir() or _version(installed) >= FAST:
        return [installed]
    libraries = next(tree.glob("usr/lib/*/libc.so.6")).parent
    linker = next(libraries.glob("ld-linux-*.so.*"))
    return [
        *(str(linker), "--library-path", str(libraries), str(tree / "usr/bin" / _NAME)),
        *("-L", str(tree / "usr/share/qemu")),
    ]


def prepare() -> None:
    """Fetch a newer QEMU if the installed one is old and none was fetched; say so when that cannot be done.

    Raises:
        MissingToolError: no QEMU is installed.
    """
    version = _version(require_tool(_NAME, _PACKAGE))
    if version >= FAST or _tree().is_dir():
        return
    tree = _tree()
    with file_lock(tree.with_name(f".{tree.name}.lock"), "the newer QEMU", on_wait=say):
        if tree.is_dir():
            return
        for left in tree.parent.glob(".new-*"):  # of a run that was killed
            shutil.rmtree(left, ignore_errors=True)
        try:
            with step(f"fetch QEMU of Debian {SUITE}, faster than the installed version {version}"):
                _fetch(tree)
        except (CommandError, MissingToolError) as error:
            reason = error.stderr.strip().splitlines()[-1:] if isinstance(error, CommandError) else [error.message]
            say(f"  the installed QEMU {version} emulates instead: {' '.join(reason) or error.message}")


def _tree() -> Path:
    # Its name is the proof that a process is an emulator of ours (see hatfleet.lab.process).
    return cache_dir() / "emulator" / f"{_PACKAGE}-{SUITE}"


@functools.cache
def _version(installed: str) -> int:
    """Return QEMU's major version; 0 when it says none."""
    said = run([installed, "--version"]).stdout.decode(errors="replace")
    found = re.search(r"version (\d+)\.", said)
    return int(found.group(1)) if found else 0


def _fetch(tree: Path) -> None:
    # The signatures and digests of what it fetches are checked by apt, inside mmdebstrap.
    mmdebstrap = require_tool("mmdebstrap", "mmdebstrap")
    with tempfile.TemporaryDirectory(dir=tree.parent, prefix=".new-") as folder:
        scratch = Path(folder)
        archive, root = scratch / "packages.tar", scratch / "root"
        root.mkdir()
        run(
            [mmdebstrap, "--quiet", "--variant=extract", f"--include={_PACKAGE}", SUITE, archive],
            timeout_s=_TIMEOUT_S,
        )
        run([require_tool("tar", "tar"), "-xf", archive, "--no-same-owner", "-C", root, *_PARTS])
        root.rename(tree)
