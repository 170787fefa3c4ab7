"""``make demo``: from a clean checkout to two virtual devices that are provisioned and checked.

Every step is an ordinary ``provision`` command, run as a user would. Timings go into a table and into out/demo.json.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from hatfleet.common.paths import state_dir

ROOT = Path(__file__).resolve().parents[1]
PROVISION = str(Path(sys.executable).parent / "provision")
DEVICES = ("edge-01", "edge-02")
console = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Step:
    """One command of the demo, and what must be true of its report afterwards."""

    title: str
    arguments: tuple[str, ...]
    changes_nothing: bool = False


STEPS = (
    Step("build the image edge-virt", ("image", "build", "images/edge-virt.yaml")),
    Step("boot two virtual devices", ("lab", "up", "-n", str(len(DEVICES)))),
    Step("apply", ("apply", "-i", "lab")),
    Step("check", ("check", "-i", "lab")),
    Step("apply again: changes nothing", ("apply", "-i", "lab"), changes_nothing=True),
)


def main() -> int:
    """Run the steps; on Ctrl-C or a failure leave no device running."""
    results: list[tuple[str, float]] = []
    try:
        if any((state_dir() / "lab" / name).is_dir() for name in DEVICES):
            console.print(
                f"[dim]removing {' and '.join(DEVICES)} of an earlier run: the demo starts with new devices[/dim]"
            )
            clean_up()
        for number, step in enumerate(STEPS, 1):
            console.print(
                f"\n[bold]{number}/{len(STEPS)} {step.title}[/bold]  [dim]provision {' '.join(step.arguments)}[/dim]"
            )
            started = time.monotonic()
            code = run(step)
            results.append((step.title, time.monotonic() - started))
            if code != 0:
                console.print(f"[red]the demo stops here: exit status {code}[/red]")
                clean_up()
                return code
    except KeyboardInterrupt:
        console.print("\n[red]interrupted[/red]: stopping the virtual devices")
        clean_up()
        return 130
    summary(results)
    return 0


def run(step: Step) -> int:
    """Run one step and return its exit status; a second apply that changes something is a failure."""
    arguments = list(step.arguments)
    report = ROOT / "out" / "demo-apply.json"
    if step.changes_nothing:
        report.unlink(missing_ok=True)
        arguments += ["--report", str(report)]
    process = subprocess.Popen([PROVISION, *arguments], cwd=ROOT)
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.wait()  # it got the same Ctrl-C and ends its own children
        raise
    if code == 0 and step.changes_nothing:
        states = [host["state"] for host in json.loads(report.read_text())["hosts"]]
        if states != ["ok"] * len(DEVICES):
            console.print(f"[red]the second apply was not without changes: {', '.join(states)}[/red]")
            return 1
    return code


def clean_up() -> None:
    """Take down those of the demo's devices that there are."""
    for name in DEVICES:
        if (state_dir() / "lab" / name).is_dir():
            subprocess.run([PROVISION, "lab", "down", name], cwd=ROOT, check=False, capture_output=True)


def summary(results: list[tuple[str, float]]) -> None:
    """Print the table, and what to type next."""
    table = Table("step", box=None, pad_edge=False)
    table.add_column("seconds", justify="right")
    for title, seconds in results:
        table.add_row(title, f"{seconds:.1f}")
    table.add_row("[bold]all[/bold]", f"[bold]{sum(seconds for _, seconds in results):.1f}[/bold]")
    console.print()
    console.print(table)
    (ROOT / "out").mkdir(exist_ok=True)
    (ROOT / "out" / "demo.json").write_text(json.dumps(dict(results), indent=2) + "\n")
    activate = "" if shutil.which("provision") else "source .venv/bin/activate\n  "
    console.print(
        "\nTwo devices are running. Type next:\n"
        f"  {activate}provision inventory -i lab                  [dim]what there is[/dim]\n"
        "  provision lab ssh edge-01                   [dim]damage something, such as: sudo hostname broken[/dim]\n"
        "  provision check -i lab                      [dim]see what it breaks[/dim]\n"
        "  provision plan -i lab                       [dim]see the repair as a diff[/dim]\n"
        "  provision apply -i lab                      [dim]repair it[/dim]\n"
        "  provision lab down --all                    [dim]stop and remove the virtual devices[/dim]"
    )


if __name__ == "__main__":
    sys.exit(main())
