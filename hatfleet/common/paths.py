"""Where hatfleet keeps its own files, by the XDG base directory specification."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Results that can be made again (``$XDG_CACHE_HOME/hatfleet``), keyed by content, safe to delete."""
    return _xdg("XDG_CACHE_HOME", ".cache")


def state_dir() -> Path:
    """State that should survive (``$XDG_STATE_HOME/hatfleet``): lab devices, the lab key, run reports."""
    return _xdg("XDG_STATE_HOME", ".local/state")


def config_dir() -> Path:
    """What the admin sets once (``$XDG_CONFIG_HOME/hatfleet``): the age identity."""
    return _xdg("XDG_CONFIG_HOME", ".config")


def _xdg(variable: str, default: str) -> Path:
    base = os.environ.get(variable, "")
    # The specification: a relative path in these variables is to be ignored.
    root = Path(base) if base.startswith("/") else Path.home() / default
    return root / "hatfleet"
