"""Shared by all tests: the command line as a user runs it, and the one image of a run."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import pytest
from xdist.scheduler import LoadScopeScheduling

from hatfleet.common.paths import cache_dir

ROOT = Path(__file__).resolve().parents[1]


class Provision(Protocol):
    """Runs ``provision`` with arguments; ``expect`` is the exit code it must end with, None for any.

    ``stdin`` is a file that it reads.
    """

    def __call__(
        self,
        *arguments: str,
        expect: int | None = 0,
        cwd: Path = ROOT,
        timeout_s: float = 1800,
        stdin: Path | None = None,
    ) -> subprocess.CompletedProcess[str]: ...


#: State directory of the tests, kept between runs for the lab's key, which images let in.
STATE = cache_dir() / "tests"


class SharedDevices(LoadScopeScheduling):
    """Keeps together, in one worker, what shares devices or a built image (``--dist loadscope``).

    Emulated devices seldom keep more than one processor busy: two workers do nearly twice as much. xdist has marks for
    groups, but its 3.8 cannot pass them on with pytest 9.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folder = Path(file).parent.name
        return folder if folder in ("fleet", "device") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> SharedDevices | None:
    """Schedule by devices where a run asks for scopes."""
    return SharedDevices(config, log) if config.getvalue("dist") == "loadscope" else None


@pytest.fixture(scope="session")
def provision() -> Provision:
    """The command line as a user runs it."""
    return command_line(STATE)


def command_line(state: Path) -> Provision:
    """Return what runs ``provision`` with a state directory: devices of one lab are not in another."""
    environment = {**os.environ, "XDG_STATE_HOME": str(state), "COLUMNS": "160"}

    def run(
        *arguments: str,
        expect: int | None = 0,
        cwd: Path = ROOT,
        timeout_s: float = 1800,
        stdin: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).parent / "provision"), *arguments]
        with stdin.open("rb") if stdin else contextlib.nullcontext() as given:
            done = subprocess.run(
                command,
                cwd=cwd,
                env=environment,
                stdin=given,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        assert "Traceback" not in done.stderr, done.stderr
        if expect is not None:
            assert done.returncode == expect, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture(scope="session")
def edge_virt_image(provision: Provision) -> Path:
    """The image built from images/edge-virt.yaml: built once, reused from the cache when nothing changed."""
    return _built(provision, "edge-virt")


@pytest.fixture(scope="session")
def edge_lab_image(provision: Provision) -> Path:
    """The same with a root file system that can be written to, as on an ordinary Raspberry Pi OS."""
    return _built(provision, "edge-lab")


def _built(provision: Provision, name: str) -> Path:
    # Not the checkout's own out/: this image lets the tests' lab key in, not the user's.
    out = STATE / "out"
    done = provision("image", "build", f"images/{name}.yaml", "-o", str(out), timeout_s=3000)
    return Path(done.stdout.strip())
