"""Interrupt ``provision apply`` at random instants: ``python -m bench.faults --instants 50``.

On nodes of its own, or with ``-i`` on the devices of an inventory (such as ``lab``), whose folder
/var/lib/hatfleet-faults it writes to. After every interruption no part of a file may be left, the next run must bring
the device to the declared state, one more must change nothing, and the check must pass.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from bench.command import end_with, scratch, write_result
from bench.delay_proxy import Proxy
from bench.nodes import Nodes
from bench.tables import print_table
from bench.tools import Access
from hatfleet.common.errors import InputError
from hatfleet.common.progress import say
from hatfleet.common.site import Site
from hatfleet.fleet.inventory.load import inventory_paths, load_inventory, select_hosts
from hatfleet.fleet.job import Connection
from hatfleet.fleet.resolve import resolve_hosts
from tests.faults.campaign import Result, kill_at
from tests.faults.inject import Fault
from tests.faults.site import FaultSite


def node_connections(nodes: Nodes, folder: Path) -> dict[str, Connection]:
    """Return how to reach nodes of our own."""
    access = Access(nodes.nodes, tuple(node.port for node in nodes.nodes), nodes.key_file)
    known_hosts = folder / "known_hosts"
    known_hosts.write_text(access.known_hosts)
    return {
        name: Connection(
            address="127.0.0.1", port=port, user="root", key_file=nodes.key_file, known_hosts=known_hosts, become=False
        )
        for name, port in access.by_name.items()
    }


def inventory_connections(inventory: str, limit: str | None) -> dict[str, Connection]:
    """Return how to reach the devices of an inventory.

    Raises:
        InputError: the inventory is unusable, or a device is not on this machine.
    """
    site = Site.find()
    loaded = load_inventory(inventory_paths(site, (inventory,)))
    jobs = resolve_hosts(site, loaded, select_hosts(loaded, limit), ())
    connections = {job.name: job.connection for job in jobs if job.connection is not None}
    for name, connection in connections.items():
        if connection.address not in ("127.0.0.1", "localhost"):
            raise InputError(
                f"{name} is at {connection.address}: the proxy leads to 127.0.0.1 only",
                hint="use virtual devices (-i lab), or leave -i out",
            )
    return connections


def print_report(results: list[Result], *, markdown: bool) -> None:
    """Print a row for every fault, then every damage."""
    rows = []
    for fault in Fault:
        these = [result for result in results if result.instant.fault is fault]
        if these:
            endings = ", ".join(sorted({str(result.status) for result in these}))
            part_way = sum(result.part_way > 0 for result in these)
            damaged = sum(bool(result.damage) for result in these)
            rows.append([fault.value, endings, str(len(these)), str(part_way), str(damaged)])
    headings = ["fault", "the run ended with", "instants", "of them part-way", "with damage"]
    print_table(headings, rows, words=2, markdown=markdown)
    for result in results:
        for what in result.damage:
            print(f"{result.instant}: {what}")


def main() -> bool:
    """Interrupt, print, and write out/bench-faults.json."""
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__)
    parser.add_argument("--instants", type=int, default=50, help="how many runs to interrupt (50)")
    parser.add_argument("--seed", type=int, default=1, help="of the random instants (1)")
    parser.add_argument("--hosts", type=int, default=3, help="nodes of its own (3)")
    parser.add_argument("--delay-ms", type=float, default=5.0, help="delay of one way, milliseconds (5)")
    parser.add_argument("-i", "--inventory", help="devices to use instead of nodes of its own, such as lab")
    parser.add_argument("-l", "--limit", help="only these of them")
    parser.add_argument("--markdown", action="store_true", help="print the table as it stands in docs/benchmarks.md")
    given = parser.parse_args()
    with scratch("faults") as folder, ExitStack() as stack:
        crash = None
        if given.inventory:
            connections = inventory_connections(given.inventory, given.limit)
        else:
            nodes = stack.enter_context(Nodes(given.hosts, folder / "nodes"))
            connections, crash = node_connections(nodes, folder), nodes.crash
        ports = [connection.port for connection in connections.values()]
        proxy = stack.enter_context(Proxy(ports, delay_s=given.delay_ms / 1000))
        site = FaultSite(folder / "site", connections, tuple(proxy.listening))
        results = kill_at(site, proxy, instants=given.instants, seed=given.seed, crash=crash, on_result=_say)
    write_result("faults", [asdict(result) for result in results])
    print_report(results, markdown=given.markdown)
    return not any(result.damage for result in results)


def _say(result: Result) -> None:
    say(f"{result.instant}: {'; '.join(result.damage) or 'nothing lost'}")


if __name__ == "__main__":
    end_with(main)
