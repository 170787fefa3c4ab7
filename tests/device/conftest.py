"""One virtual device in a lab of its own, beside that of the fleet's tests, which may run at the same time."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hatfleet.common.labkey import lab_key_file
from tests import conftest
from tests.booted import json_of, on_devices
from tests.conftest import Provision, command_line

STATE = conftest.STATE / "device"


@pytest.fixture(scope="session")
def provision() -> Provision:
    """The command line, with another lab; its key is the same, since it is the key that images let in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(conftest.STATE))
        theirs = lab_key_file()
        patch.setenv("XDG_STATE_HOME", str(STATE))
        ours = lab_key_file()
    if ours.read_bytes() != theirs.read_bytes():
        shutil.copy2(theirs, ours)
        ours.with_suffix(".pub").unlink()
    return command_line(STATE)


@pytest.fixture(scope="package")
def device(provision: Provision, edge_lab_image: Path) -> Iterator[str]:
    """A device whose root file system can be written to."""
    provision("lab", "down", "--all", expect=None)
    provision("lab", "up", "-n", "1", "--name", "solo", "--cpus", "2", "--image", str(edge_lab_image))
    yield "solo-01"
    provision("lab", "down", "--all", expect=None)


@pytest.fixture(scope="package")
def applied(provision: Provision, device: str) -> str:
    """The device, after a first apply."""
    provision("apply", "-i", "lab")
    return device


@pytest.fixture(scope="session")
def on_device(provision: Provision) -> Callable[..., str]:
    """Run a shell script as root on a device and return what it printed."""
    return on_devices(provision)


@pytest.fixture(scope="session")
def run_json(provision: Provision) -> Callable[..., Any]:
    """Run a provision command with --json and return its output, decoded."""
    return json_of(provision)
