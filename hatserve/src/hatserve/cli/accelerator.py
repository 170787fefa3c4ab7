"""``hatserve accelerator``: how the accelerator is, and bringing it back."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from hatserve.accelerator.config import load_config
from hatserve.accelerator.probe import probe
from hatserve.accelerator.recovery import Recovery, recover
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
    again = commands.add_parser(
        "recover",
        help="bring a wedged accelerator back",
        description="Bring a wedged accelerator back: reset the chip and load its firmware anew; if that does not "
        "help, restart the device. Both only so often a day (max_resets_per_day, max_reboots_per_day in "
        "/etc/hatserve/accelerator.json), counted in /var/lib/hatserve/recovery.jsonl. Does nothing when the "
        "accelerator is well. Exit code 0: it is well; 1: it is not, or not yet.",
    )
    again.set_defaults(run=_recover)
    again.add_argument("--dry-run", action="store_true", help="only say what would be done")
    add_system_options(again)


def _status(arguments: argparse.Namespace) -> int:
    system = system_of(arguments)
    status = probe(system, load_config(system))
    if arguments.json:
        print(json.dumps(as_data(status), indent=2))
    else:
        print_table(_rows(status))
    return 0 if status.state is State.OK else 1


def _recover(arguments: argparse.Namespace) -> int:
    system = system_of(arguments)
    recovery = recover(system, load_config(system), dry_run=arguments.dry_run)
    if arguments.json:
        print(json.dumps(_recovery_data(recovery), indent=2))
    else:
        rows = [("outcome", recovery.outcome.value), ("", recovery.reason)]
        print_table([*rows, *((step.step, step.result) for step in recovery.steps)])
    return 0 if recovery.status.state is State.OK else 1


def _recovery_data(recovery: Recovery) -> dict[str, Any]:
    return {
        "outcome": recovery.outcome.value,
        "reason": recovery.reason,
        "steps": [asdict(step) for step in recovery.steps],
        "status": as_data(recovery.status),
    }


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
