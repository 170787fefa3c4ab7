"""The meter counts everything a command starts, also what the command leaves behind, and ends that."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from bench import procfs
from bench.meter import Usage, measure

BURN = "import time\nend = time.process_time() + {0}\nwhile time.process_time() < end: pass\n"


def _measure(folder: Path, script: str) -> Usage:
    return measure(["/bin/sh", "-c", script], cwd=folder, env={"PATH": os.environ["PATH"]}, output=folder / "output")


def test_exit_code_time_and_output_are_the_commands(tmp_path: Path) -> None:
    usage = _measure(tmp_path, "echo out; echo err >&2; sleep 0.3; exit 3")
    assert usage.exit_code == 3
    assert 0.3 <= usage.wall_s < 2
    assert usage.cpu_s < 0.2
    assert (tmp_path / "output").read_text() == "out\nerr\n"


def test_processor_time_of_grandchildren_counts(tmp_path: Path) -> None:
    (tmp_path / "burn.py").write_text(BURN.format(0.4))
    assert _measure(tmp_path, f"(({sys.executable} burn.py))").cpu_s >= 0.4


def test_what_is_left_behind_is_counted_and_ended(tmp_path: Path) -> None:
    (tmp_path / "burn.py").write_text(BURN.format(0.3) + "time.sleep(60)\n")
    script = f"setsid {sys.executable} burn.py & echo $! >pid; sleep 1.5"
    usage = _measure(tmp_path, script)
    assert usage.wall_s < 10
    assert usage.cpu_s >= 0.3
    assert int((tmp_path / "pid").read_text()) not in procfs.processes()


def test_memory_of_the_whole_tree_counts(tmp_path: Path) -> None:
    hold = f"{sys.executable} -c 'import time; x = b\"x\" * 40_000_000; time.sleep(1)'"
    usage = _measure(tmp_path, f"{hold} & {hold} & wait")
    assert usage.peak_pss_bytes > 80_000_000


def test_a_tree_is_what_a_process_started_and_nothing_else() -> None:
    running = {
        1: procfs.Process(1, 0, 0.0),
        2: procfs.Process(2, 1, 0.0),
        3: procfs.Process(3, 2, 0.0),
        4: procfs.Process(4, 1, 0.0),
    }
    assert {process.pid for process in procfs.tree(2, running)} == {2, 3}
    assert procfs.tree(5, running) == []


def test_own_processor_time_grows() -> None:
    before = procfs.processes()[os.getpid()].cpu_s
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    assert procfs.processes()[os.getpid()].cpu_s > before
