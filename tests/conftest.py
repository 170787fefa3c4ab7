"""Shared by all tests: the command line as a user runs it, and the one image of a run."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import pytest

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


@pytest.fixture(scope="session")
def provision() -> Provision:
    """The command line, with a state directory of the tests' own, kept between runs for the lab's key."""
    state = cache_dir() / "tests"
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
    out = cache_dir() / "tests" / "out"
    done = provision("image", "build", f"images/{name}.yaml", "-o", str(out), timeout_s=3000)
    return Path(done.stdout.strip())
