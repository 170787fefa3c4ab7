"""The same work by every tool, side by side in one run: ``python -m bench.engine``.

Tools take turns, so that a load that comes and goes meets all of them. Each repeat starts with new nodes and has a
first run and one with nothing to change, on loopback and through a line with a delay. A figure only counts when it is
of work done: after the first run every node must be in the declared state, and the second must leave every file as
it is and say so.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

from bench import procfs, work
from bench.command import end_with, scratch, write_result
from bench.delay_proxy import Counters, Proxy
from bench.engine_report import Sample, print_report
from bench.meter import measure
from bench.nodes import Nodes
from bench.tools import Access, Ansible, Bundlewrap, Invocation, Ours, Pyinfra, Tool
from bench.tools.base import ENVIRONMENT
from bench.venvs import tools_venv
from hatfleet.common.errors import HatfleetError
from hatfleet.common.progress import say

LOOPBACK, DELAYED = "loopback", "delayed"
FIRST, SECOND = "first", "nothing to change"


def all_tools(programs: Path) -> list[Tool]:
    """Return every tool that can be measured."""
    return [Ours(programs), Pyinfra(programs), Bundlewrap(programs), Ansible(programs), Ansible(programs, mitogen=True)]


@dataclass(frozen=True)
class Place:
    """Where a tool works in one repeat: the nodes, the proxy in between if there is one, a folder of its own."""

    repeat: int
    route: str
    nodes: Nodes
    proxy: Proxy | None
    folder: Path

    @property
    def access(self) -> Access:
        """How the tool reaches the nodes."""
        nodes = self.nodes.nodes
        ports = self.proxy.listening if self.proxy else [node.port for node in nodes]
        return Access(nodes, tuple(ports), self.nodes.key_file)

    def states(self) -> list[work.State]:
        """Return the state of every node."""
        return [work.actual_state(self.nodes.root(node)) for node in self.nodes.nodes]

    def traffic(self) -> Counters:
        """Return what went through the proxy since the last call, over all nodes; nothing on loopback."""
        counted = self.proxy.take_counters() if self.proxy else []
        return Counters(
            connections=sum(route.connections for route in counted),
            up_bytes=sum(route.up_bytes for route in counted),
            down_bytes=sum(route.down_bytes for route in counted),
            turns=sum(route.turns for route in counted),
        )


def measure_tool(tool: Tool, place: Place) -> list[Sample]:
    """Measure a tool on new nodes: its first run, then one with nothing to change.

    Raises:
        HatfleetError: the tool failed, or did not do the work.
    """
    place.nodes.restart()
    for node in place.nodes.nodes:
        work.plant(place.nodes.root(node))
    invocation = tool.write(place.folder, place.access)
    first = _run(tool, FIRST, place, invocation)
    after_first = place.states()
    _check_state(tool, after_first)
    second = _run(tool, SECOND, place, invocation)
    if second.changes or [work.stamps(state) for state in place.states()] != [work.stamps(s) for s in after_first]:
        raise HatfleetError(f"{tool.name}: the second run changed something (it says {second.changes} changes)")
    return [first, second]


def _run(tool: Tool, run: str, place: Place, invocation: Invocation) -> Sample:
    trace, output = place.folder / "trace.jsonl", place.folder / "output.txt"
    trace.unlink(missing_ok=True)
    place.traffic()
    node_cpu, sessions, machine_cpu = place.nodes.cpu_s(), place.nodes.sessions(), procfs.machine_cpu_s()
    usage = measure(invocation.argv, cwd=invocation.cwd, env={**ENVIRONMENT, **invocation.env}, output=output)
    machine_cpu = procfs.machine_cpu_s() - machine_cpu
    node_cpu = place.nodes.cpu_s() - node_cpu
    traffic = place.traffic()
    said = output.read_text(errors="replace")
    if usage.exit_code != 0:
        raise HatfleetError(f"{tool.name} ended with exit status {usage.exit_code}:\n{said[-2000:]}")
    return Sample(
        tool=tool.name,
        route=place.route,
        run=run,
        repeat=place.repeat,
        usage=usage,
        node_cpu_s=node_cpu,
        machine_cpu_s=machine_cpu,
        sessions=place.nodes.sessions() - sessions,
        traffic=traffic,
        commands=len(trace.read_text().splitlines()) if trace.exists() else None,
        changes=tool.changes(place.folder, said),
    )


def _check_state(tool: Tool, states: list[work.State]) -> None:
    declared = work.declared_state()
    for number, state in enumerate(states, 1):
        wrong = [f"{key}: {state.get(key)}" for key, wanted in declared.items() if state.get(key) != wanted]
        if wrong:
            raise HatfleetError(f"{tool.name} did not bring node {number} to the declared state: {'; '.join(wrong)}")


def measure_all(
    tools: list[Tool], *, routes: list[str], hosts: int, repeats: int, delay_s: float, folder: Path
) -> list[Sample]:
    """Measure every tool on every route, taking turns."""
    samples = []
    nodes = Nodes(hosts, folder / "nodes")
    try:
        for repeat, route, tool in product(range(1, repeats + 1), routes, tools):
            with ExitStack() as stack:
                own = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder, prefix="run-")))
                ports = [node.port for node in nodes.nodes]
                proxy = stack.enter_context(Proxy(ports, delay_s=delay_s)) if route == DELAYED else None
                measured = measure_tool(tool, Place(repeat, route, nodes, proxy, own))
            samples += measured
            walls = ", ".join(f"{sample.run} {sample.usage.wall_s:.2f} s" for sample in measured)
            say(f"{repeat}. {route}, {tool.name}: {walls}")
    finally:
        nodes.stop()
    return samples


def main() -> bool:
    """Measure, print, and write out/bench-engine.json."""
    parser = argparse.ArgumentParser(prog="python -m bench.engine", description=__doc__)
    parser.add_argument("--hosts", type=int, default=10, help="nodes (10)")
    parser.add_argument("--repeats", type=int, default=3, help="repeats; figures are medians (3)")
    parser.add_argument("--delay-ms", type=float, default=20.0, help="delay of one way, milliseconds (20)")
    parser.add_argument("--tools", nargs="*", help="only tools whose name contains one of these words")
    parser.add_argument("--routes", nargs="*", default=[LOOPBACK, DELAYED], choices=[LOOPBACK, DELAYED])
    parser.add_argument("--markdown", action="store_true", help="print the table as it stands in docs/benchmarks.md")
    given = parser.parse_args()
    tools = all_tools(tools_venv() / "bin")
    with scratch("engine") as folder:
        samples = measure_all(
            [tool for tool in tools if not given.tools or any(word in tool.name for word in given.tools)],
            routes=given.routes,
            hosts=given.hosts,
            repeats=given.repeats,
            delay_s=given.delay_ms / 1000,
            folder=folder,
        )
    result = {"hosts": given.hosts, "delay_ms": given.delay_ms, "samples": [asdict(sample) for sample in samples]}
    write_result("engine", result)
    return print_report(samples, hosts=given.hosts, markdown=given.markdown)


if __name__ == "__main__":
    end_with(main)
