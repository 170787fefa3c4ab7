"""What the side-by-side measurement says: a table of medians, and the bars that we set ourselves."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.delay_proxy import Counters
from bench.meter import Usage
from bench.tables import print_table

OURS = "hatfleet"


@dataclass(frozen=True)
class Sample:
    """One run of one tool over all nodes."""

    tool: str
    route: str
    run: str
    repeat: int
    usage: Usage
    node_cpu_s: float
    """Processor time on all nodes together."""
    machine_cpu_s: float
    """Processor time of everything on this machine; more than controller, nodes and proxy is somebody else's."""
    sessions: int
    """SSH sessions that all nodes together started."""
    traffic: Counters
    """What went through the proxy, over all nodes; zero on loopback."""
    commands: int | None
    """Commands on all nodes together, as hatfleet's own trace counts them; None for other tools."""
    changes: int


@dataclass(frozen=True)
class Bar:
    """A promise: with nothing to change, ours takes at most this part of another tool's wall time."""

    route: str
    tool: str
    at_most: float


#: From the issue that asked for this measurement.
BARS = (
    Bar("loopback", "ansible-core", 0.04),
    Bar("delayed", "ansible-core", 0.04),
    Bar("loopback", "pyinfra -y", 0.6),
    Bar("delayed", "pyinfra -y", 0.35),
)
COMMANDS_PER_HOST = 6
NOTHING_TO_CHANGE = "nothing to change"

Figure = Callable[[Sample], float]


def median(samples: Sequence[Sample], figure: Figure) -> float:
    """Return the median of a figure."""
    return statistics.median(figure(sample) for sample in samples)


def print_report(samples: Sequence[Sample], *, hosts: int, markdown: bool) -> bool:
    """Print the table and the bars on standard output; return whether every bar that was measured is kept."""
    groups: dict[tuple[str, str, str], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.route, sample.run, sample.tool), []).append(sample)
    headings = [
        "route",
        "run",
        "tool",
        "wall s",
        "controller CPU s",
        "nodes CPU s",
        "peak PSS MB",
        "MB sent",
        "MB received",
        "SSH sessions per host",
        "turns per host",
        "commands per host",
    ]
    rows = [[*key, *_figures(groups[key], hosts)] for key in sorted(groups, key=_order(groups))]
    print_table(headings, rows, words=3, markdown=markdown)
    verdicts = _verdicts(groups, hosts)
    if verdicts:
        print()
        print_table(
            ["bar", "measured", "allowed", "kept"],
            [[*row[:3], "yes" if row[3] else "NO"] for row in verdicts],
            words=1,
            markdown=markdown,
        )
    foreign = max(_foreign_share(sample) for sample in samples)
    print(f"\nOther processes used up to {foreign:.0%} of the machine during a run ({os.cpu_count()} processors).")
    return all(kept for *_, kept in verdicts)


def _order(
    groups: dict[tuple[str, str, str], list[Sample]],
) -> Callable[[tuple[str, str, str]], tuple[bool, bool, int]]:
    place = {key: number for number, key in enumerate(groups)}
    return lambda key: (key[0] != "loopback", key[1] == NOTHING_TO_CHANGE, place[key])


def _figures(group: Sequence[Sample], hosts: int) -> list[str]:
    walls = [sample.usage.wall_s for sample in group]
    through_proxy = any(sample.traffic.connections for sample in group)
    commands = [sample.commands for sample in group if sample.commands is not None]

    def counted(figure: Figure, digits: int) -> str:
        return f"{median(group, figure):.{digits}f}" if through_proxy else ""

    return [
        f"{statistics.median(walls):.2f} ({min(walls):.2f} to {max(walls):.2f})",
        f"{median(group, lambda sample: sample.usage.cpu_s):.2f}",
        f"{median(group, lambda sample: sample.node_cpu_s):.2f}",
        f"{median(group, lambda sample: sample.usage.peak_pss_bytes) / 1e6:.0f}",
        counted(lambda sample: sample.traffic.up_bytes / 1e6, 2),
        counted(lambda sample: sample.traffic.down_bytes / 1e6, 2),
        f"{median(group, lambda sample: sample.sessions) / hosts:.1f}",
        counted(lambda sample: sample.traffic.turns / hosts, 1),
        f"{statistics.median(commands) / hosts:.1f}" if commands else "",
    ]


def _verdicts(groups: dict[tuple[str, str, str], list[Sample]], hosts: int) -> list[tuple[str, str, str, bool]]:
    verdicts = []

    def wall(route: str, tool: str) -> float | None:
        group = groups.get((route, NOTHING_TO_CHANGE, tool))
        return median(group, lambda sample: sample.usage.wall_s) if group else None

    for bar in BARS:
        ours, theirs = wall(bar.route, OURS), wall(bar.route, bar.tool)
        if ours is not None and theirs is not None:
            what = f"nothing to change, {bar.route}: wall time beside {bar.tool}"
            verdicts.append((what, f"{ours / theirs:.3f}", f"{bar.at_most:g}", ours / theirs <= bar.at_most))
    for (route, run, tool), group in groups.items():
        commands = [sample.commands for sample in group if sample.commands is not None]
        if tool == OURS and run == NOTHING_TO_CHANGE and commands:
            most = max(commands) / hosts
            what = f"nothing to change, {route}: commands per host"
            verdicts.append((what, f"{most:.1f}", f"{COMMANDS_PER_HOST}", most <= COMMANDS_PER_HOST))
    return verdicts


def _foreign_share(sample: Sample) -> float:
    ours = sample.usage.cpu_s + sample.node_cpu_s
    return max(0.0, sample.machine_cpu_s - ours) / (sample.usage.wall_s * (os.cpu_count() or 1))
