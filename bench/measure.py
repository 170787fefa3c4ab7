"""``make bench``: the figures of docs/benchmarks.md, from a running lab.

Boots one virtual device a few times and applies to it, first and unchanged. The whole demo is timed by
``make demo`` itself (out/demo.json).
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
PROVISION = str(Path(sys.executable).parent / "provision")
DEVICE = "bench-01"
RUNS = 3

console = Console(stderr=True, highlight=False)


def provision(*arguments: str) -> float:
    """Run a command that must succeed, and return its seconds."""
    started = time.monotonic()
    done = subprocess.run([PROVISION, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"provision {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return time.monotonic() - started


def main() -> None:
    """Measure, print a table and write out/bench.json."""
    target = ("-i", "lab", "-l", DEVICE)
    seconds: dict[str, list[float]] = {}

    def measure(what: str, *arguments: str) -> None:
        console.print(f"[dim]{what}: provision {' '.join(arguments)}[/dim]")
        seconds.setdefault(what, []).append(provision(*arguments))

    provision("image", "build", "images/edge-virt.yaml")
    try:
        for _ in range(RUNS):
            measure("new device: boot to SSH", "lab", "up", "-n", "1", "--name", "bench")
            measure("first apply", "apply", *target)
            for _ in range(RUNS):
                measure("apply without changes", "apply", *target)
                measure("plan without changes", "plan", *target)
            measure("check, all controls", "check", *target)
            measure("reboot to SSH", "lab", "reboot", DEVICE)
            provision("lab", "down", DEVICE)
    finally:
        subprocess.run([PROVISION, "lab", "down", DEVICE], cwd=ROOT, capture_output=True, check=False)
    table = Table("measured", "runs", "min s", "median s", "max s", box=None, pad_edge=False)
    for what, values in seconds.items():
        figures = (min(values), statistics.median(values), max(values))
        table.add_row(what, str(len(values)), *(f"{value:.1f}" for value in figures))
    Console(highlight=False).print(table)
    (ROOT / "out" / "bench.json").write_text(json.dumps(seconds, indent=2) + "\n")


if __name__ == "__main__":
    main()
