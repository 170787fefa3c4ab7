"""The same checks by ``provision check`` and by testinfra itself: ``python -m bench.checks``.

Both run one checks.py, against ten nodes on which the measured work is done. One of its checks must fail: a tool that
passes everything has not looked. A time only counts when both say the same of every check on every node.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from bench.command import ROOT, end_with, scratch, write_result
from bench.meter import Usage, measure
from bench.nodes import Nodes
from bench.tables import print_table
from bench.tools import Access, Ours
from bench.tools.base import ENVIRONMENT, write_ssh_config
from bench.tools.ours import INVENTORY, PROVISION, environment
from bench.work import TASKS, Absent, Directory, File, Link, Packages, Task, Template, User
from hatfleet.common.errors import ExitCode, HatfleetError
from hatfleet.common.progress import say

#: From the issue that asked for this measurement: our wall time beside testinfra's ``ssh://``.
AT_MOST = 0.1

HEAD = '''"""Checks of the measured work."""
from hatfleet.compliance import control

'''

#: Passed or not, by node and number of the check.
Results = dict[tuple[str, int], bool]


@dataclass(frozen=True)
class Sample:
    """One run of all checks on all nodes."""

    runner: str
    usage: Usage
    checks: int


def checks_source() -> str:
    """Return a checks.py with a check for every task, and one that must fail."""
    bodies = [*(_body(task) for task in TASKS), ["assert host.file('/nowhere').exists"]]
    return HEAD + "".join(_check(number, lines) for number, lines in enumerate(bodies, 1))


def _check(number: int, lines: list[str]) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return f"\n@control('BENCH-{number:03}', 'Task {number} is done')\ndef test_{number:03}(host):\n{body}\n"


def _body(task: Task) -> list[str]:
    match task:
        case Packages(names, wanted):
            return [f"assert host.package({name!r}).is_installed is {wanted}" for name in names]
        case Directory(path, mode):
            return [f"at = host.file({path!r})", "assert at.is_directory", f"assert at.mode == 0o{mode}"]
        case File(path=path, mode=mode) | Template(path=path, mode=mode):
            return [
                f"at = host.file({path!r})",
                "assert at.is_file and at.user == 'root'",
                f"assert at.mode == 0o{mode}",
                f"assert at.content_string == {task.content!r}",
            ]
        case Link(path, target):
            return [f"at = host.file({path!r})", f"assert at.is_symlink and at.linked_to.endswith({target!r})"]
        case Absent(path):
            return [f"assert not host.file({path!r}).exists"]
        case User(login, home, shell):
            return [f"at = host.user({login!r})", f"assert (at.home, at.shell) == ({home!r}, {shell!r})"]


def run_ours(folder: Path) -> tuple[Usage, Results]:
    """Run the checks with our command line."""
    report = folder / "ours.xml"
    argv = [*PROVISION, "check", "-i", INVENTORY, "--junit", str(report)]
    usage = _measure(argv, folder, environment(folder), ExitCode.CHECK_FAILED)
    suites = ET.parse(report).getroot().iter("testsuite")
    cases = {(suite.get("name", ""), case) for suite in suites for case in suite.iter("testcase")}
    return usage, {(host, _number(case.get("name", ""))): not _wrong(case) for host, case in cases}


def run_testinfra(folder: Path, access: Access, *, shared: bool) -> tuple[Usage, Results]:
    """Run the checks with testinfra's ``ssh://``; ``shared``: its user has set a ControlPath in ssh_config."""
    report = folder / "testinfra.xml"
    config = write_ssh_config(folder, access, shared=shared)
    hosts = ",".join(f"ssh://{name}" for name in access.by_name)
    argv = [sys.executable, "-m", "pytest", "-q", "--noconftest", "-p", "no:cacheprovider", "-c", "/dev/null"]
    argv += [f"--rootdir={folder}", "--import-mode=importlib", "-o", "python_files=checks.py", f"--junit-xml={report}"]
    argv += [f"--hosts={hosts}", f"--ssh-config={config}", str(folder / "roles" / INVENTORY / "checks.py")]
    usage = _measure(argv, folder, {"PYTHONPATH": str(ROOT), "HOME": str(folder)}, 1)
    cases = list(ET.parse(report).getroot().iter("testcase"))
    return usage, {(_host(case.get("name", "")), _number(case.get("name", ""))): not _wrong(case) for case in cases}


def _measure(argv: list[str], folder: Path, env: dict[str, str], expected: int) -> Usage:
    output = folder / "output.txt"
    usage = measure(argv, cwd=folder, env={**ENVIRONMENT, **env}, output=output)
    if usage.exit_code != expected:
        raise HatfleetError(f"exit status {usage.exit_code} instead of {expected}:\n{output.read_text()[-2000:]}")
    return usage


def _number(name: str) -> int:
    """Return the number in ``BENCH-007`` or ``test_007[ssh://n0001]``."""
    return int(name.removeprefix("BENCH-").removeprefix("test_")[:3])


def _host(name: str) -> str:
    return name.partition("://")[2].rstrip("]")


def _wrong(case: ET.Element) -> list[ET.Element]:
    return [part for part in case if part.tag in ("failure", "error", "skipped")]


def measure_checks(nodes: Nodes, repeats: int, folder: Path) -> list[Sample]:
    """Do the work on the nodes, then run its checks in turns.

    Raises:
        HatfleetError: a run failed, or the runners do not agree.
    """
    access = Access(nodes.nodes, tuple(node.port for node in nodes.nodes), nodes.key_file)
    apply = Ours(Path()).write(folder, access)
    (folder / "roles" / INVENTORY / "checks.py").write_text(checks_source())
    _measure(list(apply.argv), folder, dict(apply.env), ExitCode.OK)
    wanted = {(node.name, number): number <= len(TASKS) for node in nodes.nodes for number in range(1, len(TASKS) + 2)}
    runners: dict[str, Callable[[], tuple[Usage, Results]]] = {
        "provision check": lambda: run_ours(folder),
        "testinfra ssh://": lambda: run_testinfra(folder, access, shared=False),
        "testinfra ssh://, ControlPath set": lambda: run_testinfra(folder, access, shared=True),
    }
    samples = []
    for repeat in range(1, repeats + 1):
        for name, runner in runners.items():
            usage, results = runner()
            if results != wanted:
                wrong = sorted(key for key in wanted.keys() | results.keys() if wanted.get(key) != results.get(key))
                raise HatfleetError(f"{name}: {len(wrong)} results are not as they must be, first {wrong[:3]}")
            samples.append(Sample(name, usage, len(results)))
            say(f"{repeat}. {name}: {len(results)} checks in {usage.wall_s:.1f} s")
    return samples


def print_report(samples: list[Sample], *, markdown: bool) -> bool:
    """Print medians on standard output; return whether the bar is kept."""
    by_runner: dict[str, list[Sample]] = {}
    for sample in samples:
        by_runner.setdefault(sample.runner, []).append(sample)
    walls = {name: statistics.median(sample.usage.wall_s for sample in group) for name, group in by_runner.items()}
    ours = walls["provision check"]
    rows = []
    for name, group in by_runner.items():
        cpu = statistics.median(sample.usage.cpu_s for sample in group)
        peak = statistics.median(sample.usage.peak_pss_bytes for sample in group) / 1e6
        figures = (f"{walls[name]:.2f}", f"{cpu:.2f}", f"{peak:.0f}", f"{ours / walls[name]:.3f}")
        rows.append([name, str(group[0].checks), *figures])
    headings = ["runner", "checks", "wall s", "controller CPU s", "peak PSS MB", "ours beside it"]
    print_table(headings, rows, words=1, markdown=markdown)
    ratio = ours / walls["testinfra ssh://"]
    verdict = "kept" if ratio <= AT_MOST else "NOT kept"
    print(f"\nBar: at most {AT_MOST:g} of testinfra ssh://, measured {ratio:.3f}: {verdict}")
    return ratio <= AT_MOST


def main() -> bool:
    """Measure, print, and write out/bench-checks.json."""
    parser = argparse.ArgumentParser(prog="python -m bench.checks", description=__doc__)
    parser.add_argument("--hosts", type=int, default=10, help="nodes (10)")
    parser.add_argument("--repeats", type=int, default=3, help="repeats; figures are medians (3)")
    parser.add_argument("--markdown", action="store_true", help="print the table as it stands in docs/benchmarks.md")
    given = parser.parse_args()
    with scratch("checks") as folder:
        site = folder / "site"
        site.mkdir()
        with Nodes(given.hosts, folder / "nodes") as nodes:
            samples = measure_checks(nodes, given.repeats, site)
    write_result("checks", [asdict(sample) for sample in samples])
    return print_report(samples, markdown=given.markdown)


if __name__ == "__main__":
    end_with(main)
