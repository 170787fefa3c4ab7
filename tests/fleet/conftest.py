"""Two virtual devices, booted once for this folder; what is written to them stays, as on a Raspberry Pi OS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.booted import json_of, on_devices
from tests.conftest import Provision

DEVICES = ("edge-01", "edge-02")


@pytest.fixture(scope="package")
def lab_devices(provision: Provision, edge_lab_image: Path) -> Iterator[tuple[str, ...]]:
    """Boot the devices, apply once, and take them down at the end."""
    provision("lab", "down", "--all", expect=None)
    # Two processors each: often only one of them is at work.
    provision("lab", "up", "-n", str(len(DEVICES)), "--cpus", "2", "--image", str(edge_lab_image))
    yield DEVICES
    provision("lab", "down", "--all", expect=None)


@pytest.fixture(scope="package")
def applied(provision: Provision, lab_devices: tuple[str, ...]) -> tuple[str, ...]:
    """The devices, after a first apply."""
    provision("apply", "-i", "lab")
    return lab_devices


@pytest.fixture(scope="session")
def on_device(provision: Provision) -> Callable[..., str]:
    """Run a shell script as root on a device and return what it printed."""
    return on_devices(provision)


@pytest.fixture(scope="session")
def run_json(provision: Provision) -> Callable[..., Any]:
    """Run a provision command with --json and return its output, decoded."""
    return json_of(provision)
