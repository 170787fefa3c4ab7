"""``hatserve board``: the board around the accelerator."""

from __future__ import annotations

import argparse
import json

from hatserve.accelerator.config import load_config
from hatserve.board.status import Board, as_data, read_board
from hatserve.cli.common import add_system_options, print_table, system_of


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the commands of this group."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    status = commands.add_parser(
        "status",
        help="tell model, HAT+, boot loader, throttling and clocks",
        description="Tell what the board is and how it is: model, HAT+, boot loader, PCIe settings, throttling, "
        "temperature, clocks. What cannot be found out is unknown, with the reason. Exit code 0: nothing is wrong; "
        "1: something is.",
    )
    status.set_defaults(run=_status)
    add_system_options(status)


def _status(arguments: argparse.Namespace) -> int:
    system = system_of(arguments)
    board = read_board(system, load_config(system))
    if arguments.json:
        print(json.dumps(as_data(board), indent=2))
    else:
        print_table(_rows(board))
    return 0 if board.ok else 1


def _rows(board: Board) -> list[tuple[str, str]]:
    rows = [("state", "ok" if board.ok else "degraded"), *(("", reason) for reason in board.reasons)]
    if board.model:
        rows.append(("model", board.model))
    if board.hat:
        rows.append(("HAT+", ", ".join(f"{key} {value}" for key, value in board.hat.items() if value)))
    if board.eeprom:
        rows.append(("boot loader", f"{board.eeprom.date or 'date unknown'} ({board.eeprom.version or 'unknown'})"))
    if board.eeprom_settings is not None or board.config_lines is not None:
        settings = [f"{key}={value}" for key, value in (board.eeprom_settings or {}).items()]
        rows.append(("PCIe", ", ".join([*settings, *(board.config_lines or [])]) or "no settings"))
    if board.throttle:
        rows.append(("throttling", ", ".join(board.throttle.names()) or "none, now or since the start"))
    if board.soc_c is not None:
        rows.append(("temperature", f"{board.soc_c:.1f} °C"))
    for cpu in board.cpu:
        if cpu.frequency_mhz is not None:
            rows.append(("CPU", f"{cpu.frequency_mhz:.0f} MHz ({cpu.governor or 'no governor'})"))
    return [*rows, *(("unknown", f"{name}: {why}") for name, why in board.unknown.items())]
