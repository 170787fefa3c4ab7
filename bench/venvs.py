"""The virtual environment that the other tools run in: exactly ``requirements-bench.lock``, never our own process."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from bench.command import ROOT
from hatfleet.common.locks import file_lock
from hatfleet.common.paths import cache_dir
from hatfleet.common.progress import say
from hatfleet.common.run import run

LOCK = ROOT / "requirements-bench.lock"


def tools_venv() -> Path:
    """Return the environment for the lock file as it is now, making it on first use (a minute, from PyPI).

    Raises:
        CommandError: a package cannot be fetched or does not match its hash.
    """
    key = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = cache_dir() / "bench" / "venvs" / key
    done = folder / ".complete"
    with file_lock(folder.parent / f"{key}.lock", "the tools' virtual environment"):
        if not done.exists():
            say(f"installing the tools that we are measured beside: {folder}")
            run([sys.executable, "-m", "venv", "--clear", folder])
            pip = (str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
            run([*pip, "--require-hashes", "-r", str(LOCK)], hint="the tools come from PyPI: check the network")
            done.touch()
    return folder
