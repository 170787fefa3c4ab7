"""A run with nothing to change on more and more hosts: ``python -m bench.scale --hosts 100 300 1000``.

The hosts are real: an sshd each, with the measured work of 24 operations done. So the figures hold what SSH costs; how
much that is, is measured beside it, on one connection after the other. The nodes run on the same machine and take
most of the wall time: the controller's processor time and memory are the figures that carry over.
"""

from __future__ import annotations

import argparse
import resource
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.command import end_with, scratch, write_result
from bench.faults import node_connections
from bench.meter import Usage, measure
from bench.nodes import Nodes
from bench.tables import print_table
from bench.tools import Access, Invocation, Ours
from bench.tools.base import ENVIRONMENT
from hatfleet.common.errors import HatfleetError
from hatfleet.common.progress import say
from hatfleet.fleet.ssh import open_client

#: From the issue that asked for this measurement.
CPU_PER_HOST_MS = 30.0
PEAK_MB = 400.0
#: How much more a host may cost in the largest fleet than in the smallest: the fixed costs pull the other way.
GROWTH = 1.25
#: Connections that are made one after the other to learn what one costs.
CONNECTIONS = 20


@dataclass(frozen=True)
class Sample:
    """A run with nothing to change."""

    hosts: int
    usage: Usage
    node_cpu_s: float
    connection_cpu_ms: float
    """What it costs the controller to open one of these connections and close it again, host key look-up included."""

    @property
    def cpu_per_host_ms(self) -> float:
        """Processor time of the controller per host, milliseconds."""
        return self.usage.cpu_s / self.hosts * 1000


def measure_fleet(hosts: int, folder: Path) -> Sample:
    """Do the work on new nodes, then measure a run that has nothing to do.

    Raises:
        HatfleetError: a run failed, or the second changed something.
    """
    site = folder / "site"
    site.mkdir()
    with Nodes(hosts, folder / "nodes") as nodes:
        ours = Ours(Path())
        invocation = ours.write(site, Access(nodes.nodes, tuple(node.port for node in nodes.nodes), nodes.key_file))
        _run(invocation, site)
        node_cpu = nodes.cpu_s()
        usage = _run(invocation, site)
        node_cpu = nodes.cpu_s() - node_cpu
        if changes := ours.changes(site, ""):
            raise HatfleetError(f"the second run changed {changes} things")
        connection_cpu = _connection_cpu_ms(nodes, site)
    return Sample(hosts, usage, node_cpu, connection_cpu)


def _run(invocation: Invocation, folder: Path) -> Usage:
    output = folder / "output.txt"
    usage = measure(invocation.argv, cwd=invocation.cwd, env={**ENVIRONMENT, **invocation.env}, output=output)
    if usage.exit_code != 0:
        raise HatfleetError(f"exit status {usage.exit_code}:\n{output.read_text(errors='replace')[-2000:]}")
    return usage


def _connection_cpu_ms(nodes: Nodes, folder: Path) -> float:
    connections = list(node_connections(nodes, folder).values())[:CONNECTIONS]
    open_client(connections[0]).close()  # loads what is loaded once
    before = resource.getrusage(resource.RUSAGE_SELF)
    for connection in connections:
        open_client(connection).close()
    after = resource.getrusage(resource.RUSAGE_SELF)
    used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used_s / len(connections) * 1000


def print_report(samples: Sequence[Sample], *, markdown: bool) -> bool:
    """Print a row for every fleet, and the bars; return whether all are kept."""
    rows = [
        [
            str(sample.hosts),
            f"{sample.usage.wall_s:.1f}",
            f"{sample.usage.cpu_s:.1f}",
            f"{sample.cpu_per_host_ms:.1f}",
            f"{sample.connection_cpu_ms:.1f}",
            f"{sample.usage.peak_pss_bytes / 1e6:.0f}",
            f"{sample.node_cpu_s:.1f}",
        ]
        for sample in samples
    ]
    headings = ["hosts", "wall s", "controller CPU s", "per host ms", "of that SSH ms", "peak PSS MB", "nodes CPU s"]
    print_table(headings, rows, words=0, markdown=markdown)
    smallest, largest = min(samples, key=lambda s: s.hosts), max(samples, key=lambda s: s.hosts)
    growth = largest.cpu_per_host_ms / smallest.cpu_per_host_ms
    without_ssh = largest.cpu_per_host_ms - largest.connection_cpu_ms
    bars = [
        (f"{largest.hosts} hosts: controller CPU per host without SSH, ms", without_ssh, CPU_PER_HOST_MS),
        (f"{largest.hosts} hosts: peak memory, MB", largest.usage.peak_pss_bytes / 1e6, PEAK_MB),
        (f"CPU per host, {largest.hosts} hosts beside {smallest.hosts}", growth, GROWTH),
    ]
    print()
    verdicts = [[what, f"{found:.2f}", f"{most:g}", "yes" if found <= most else "NO"] for what, found, most in bars]
    print_table(["bar", "measured", "allowed", "kept"], verdicts, words=1, markdown=markdown)
    return all(found <= most for _, found, most in bars)


def main() -> bool:
    """Measure, print, and write out/bench-scale.json."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--hosts", type=int, nargs="+", default=[100, 300, 1000], help="sizes (100 300 1000)")
    parser.add_argument("--markdown", action="store_true", help="print the table as it stands in docs/benchmarks.md")
    given = parser.parse_args()
    samples = []
    with scratch("scale") as folder:
        for hosts in given.hosts:
            own = folder / str(hosts)
            own.mkdir()
            samples.append(measure_fleet(hosts, own))
            shutil.rmtree(own)
            say(f"{hosts} hosts: {samples[-1].usage.wall_s:.1f} s, {samples[-1].cpu_per_host_ms:.1f} ms CPU per host")
    write_result("scale", [asdict(sample) for sample in samples])
    return print_report(samples, markdown=given.markdown)


if __name__ == "__main__":
    end_with(main)
