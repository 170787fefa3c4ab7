"""``provision hardware-test``."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from hatfleet.cli.complete import complete_hosts
from hatfleet.cli.options import choose_host, inventory_option, json_option
from hatfleet.common.errors import InputError
from hatfleet.common.progress import say
from hatfleet.common.site import Site


@click.command("hardware-test")
@click.argument("host", shell_complete=complete_hosts)
@inventory_option
@click.option(
    "--report",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where to keep the report: JSON in FILE, text beside it as .txt.  [default: out/hardware/HOST-TIME.json]",
)
@click.option("--reboot", is_flag=True, help="Also restart the device, and wait until its accelerator is well again.")
@json_option
def hardware_test(host: str, inventories: tuple[str, ...], file: Path | None, *, reboot: bool, as_json: bool) -> None:
    """Prove on a real device what no virtual one can prove.

    HOST is a Raspberry Pi 5 that `provision apply` has brought to its declared state. Asks its accelerator and its
    board, loads every core for a minute and looks whether it stays cool and unthrottled. Ends every point as passed,
    failed or not-applicable, and keeps the report with everything that the device said.

    \b
    provision hardware-test edge-01              two minutes; nothing is changed
    provision hardware-test edge-01 --reboot     and does it come back by itself?
    Exit code 0: passed; 5: a point failed; 6: no point applies, as on every virtual device.
    """
    from hatfleet.acceptance.hardware.evidence import collect
    from hatfleet.acceptance.hardware.points import judge
    from hatfleet.acceptance.hardware.report import HardwareReport, report_json, report_text, save

    if file is not None and file.suffix == ".txt":
        raise InputError(f"--report {file}: the text is kept there", hint="name the JSON file: --report FILE.json")
    connection = choose_host(host, inventories)
    started = datetime.now(UTC)
    evidence = collect(connection, reboot=reboot)
    report = HardwareReport(host, started, datetime.now(UTC), judge(evidence), evidence)
    kept = file or Site.find().root / "out" / "hardware" / f"{host}-{started:%Y%m%dT%H%M%SZ}.json"
    text = save(report, kept)
    click.echo(report_json(report) if as_json else report_text(report).rstrip())
    say(f"kept in {kept} and {text.name}")
    sys.exit(report.exit_code)
