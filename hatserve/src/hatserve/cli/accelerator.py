"""``hatserve accelerator``: how the accelerator is, and bringing it back."""

from __future__ import annotations

import argparse
import json

from hatserve.accelerator.config import load_config
from hatserve.accelerator.probe import probe
from hatserve.accelerator.status import State, Status, as_data
from hatserve.cli.common import add_system_options, print_table, system_of


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the commands of this group."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    status = commands.add_parser(
        "status",
        help="tell how the accelerator is",
        description="Tell how the accelerator is: there, driven, answering, of one version, at full speed. A chip "
        "whose firmware may still be loading is waited for. Exit code 0: ok; 1: absent, degraded or wedged.",
    )
    status.set_defaults(run=_status)
    add_system_options(status)


def _status(arguments: argparse.Namespace) -> int:
    system = system_of(arguments)
    status = probe(system, load_config(system))
    if arguments.json:
        print(json.dumps(as_data(status), indent=2))
    else:
        print_table(_rows(status))
    return 0 if status.state is State.OK else 1


def _rows(status: Status) -> list[tuple[str, str]]:
    rows = [("state", status.state.value), *(("", reason) for reason in status.reasons)]
    rows += [("wanted", status.expected), ("found", ", ".join(status.found) or "nothing")]
    look = status.look
    if look is not None:
        device, versions = look.device, look.versions
        rows.append(("device", f"{device.bus} {device.address} ({device.id})"))
        rows.append(("driver", f"{device.driver or 'none'}{'' if look.module_loaded else ' (not loaded)'}"))
        rows += [("node", f"{node.path} {node.mode} {node.group}") for node in look.nodes] or [("node", "none")]
        if device.link_speed_gts is not None:
            rows.append(("link", f"{device.link_speed_gts:g} GT/s x{device.link_width}"))
        rows.append(("versions", ", ".join(f"{name} {value}" for name, value in versions.known().items()) or "unknown"))
        rows += [("held by", f"{holder.name} (process {holder.pid})") for holder in look.holders]
        if look.chip_c is not None:
            rows.append(("chip", f"{look.chip_c:.1f} °C"))
    if status.soc_c is not None:
        rows.append(("board", f"{status.soc_c:.1f} °C"))
    return rows
