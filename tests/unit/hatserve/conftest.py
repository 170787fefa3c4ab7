"""Fixtures of the tests of what runs on a device."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.fakes.chip import CHIP, Chip
from tests.unit.hatserve.machine_tree import Machine

FAKES = Path(__file__).parents[2] / "fakes"


@pytest.fixture
def chip(monkeypatch: pytest.MonkeyPatch) -> Iterator[Chip]:
    """The fake hailo_platform in place of the real one, and the chip behind it, as it is after a boot."""
    monkeypatch.syspath_prepend(str(FAKES))
    CHIP.reset()
    yield CHIP
    for name in [name for name in sys.modules if name.partition(".")[0] == "hailo_platform"]:
        del sys.modules[name]


@pytest.fixture
def fake_module(chip: Chip) -> ModuleType:
    """The fake's module with all classes and exceptions."""
    from hailo_platform.pyhailort import pyhailort

    return pyhailort


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A simulated machine."""
    return Machine(tmp_path / "machine", monkeypatch)
