"""Stage environment: a Python environment as it lies in the image, compiled, as a tar archive.

No program of the image's processor runs: wheels are unpacked, and bytecode is the same on every processor, so the
Python of the tools tree makes it, which is of the image's own release.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from hatfleet.common.errors import HatfleetError
from hatfleet.common.run import require_tool, run
from hatfleet.image import tree
from hatfleet.image.bootstrap import ARCHIVE
from hatfleet.image.tools import Tools
from hatfleet.ops.tree import mark_script
from hatfleet.runtimes.environment import FINISH, Environment


def make_environment(work: Path, environment: Environment, *, tools: Tools, epoch_s: int, log: Path) -> None:
    """Make an environment's archive.

    Args:
        work: Receives ``rootfs.tar``, whose root is the environment's folder.
        environment: What is wanted.
        tools: Programs of the tools tree.
        epoch_s: No file is newer than this, seconds since 1970.
        log: Receives what tools print.

    Raises:
        HatfleetError: a wheel cannot be fetched, or the tools tree has another Python than the environment.
    """
    found = tools.run(["python3", "-I", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], log=log)
    python = found.stdout.decode().strip()
    if python != environment.target.python:
        raise HatfleetError(
            f"the environment is for Python {environment.target.python}, the tools tree has {python}",
            hint="set runtimes.python to the Python of the image's Debian release",
        )
    root = work / "root"
    root.mkdir()
    run([require_tool("tar", "tar"), "-xzf", environment.file(), "--numeric-owner", "-C", root], log=log)
    tools.run(["python3", "-I", FINISH, root, environment.prefix], reads=[FINISH], writes=[root], log=log)
    run(["/bin/sh", "-c", mark_script(environment.digest)], cwd=root, log=log)
    tree.pack(root, work / ARCHIVE, epoch_s, log)
    shutil.rmtree(root)
