"""What tests ask of booted devices."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from typing import Any

from tests.conftest import Provision


def listed(provision: Provision) -> dict[str, dict[str, str]]:
    """Return what is known of each device of the lab, by name."""
    return {row["name"]: row for row in json.loads(provision("lab", "list", "--json").stdout)}


def on_devices(provision: Provision) -> Callable[..., str]:
    """Return what runs a shell script as root on a device and returns what it printed."""

    def run(device: str, script: str, *, expect: int | None = 0) -> str:
        return provision("lab", "ssh", device, "--", "sudo", "sh", "-c", shlex.quote(script), expect=expect).stdout

    return run


def json_of(provision: Provision) -> Callable[..., Any]:
    """Return what runs a provision command with --json and returns its output, decoded; of apply its last line."""

    def run(*arguments: str, expect: int | None = 0) -> Any:
        output = provision(*arguments, "--json", expect=expect).stdout
        return json.loads(output.splitlines()[-1] if arguments[0] == "apply" else output)

    return run
