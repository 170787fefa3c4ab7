"""Nodes to measure on share nothing with this machine but what they read, and end with who made them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import procfs
from bench.nodes import Nodes
from hatfleet.common.paths import cache_dir
from hatfleet.fleet.job import Connection
from hatfleet.fleet.ssh import CommandOutput, open_client, run_command

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("sshd", path="/usr/sbin") is None, reason="needs root and openssh-server"
)


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not tmp_path: nodes see the root file system only, and /tmp may be another.
    place = cache_dir() / "tests" / f"nodes-{os.getpid()}"
    yield place
    shutil.rmtree(place, ignore_errors=True)


def _run(nodes: Nodes, number: int, command: str) -> CommandOutput:
    node = nodes.nodes[number]
    known_hosts = nodes.key_file.with_name("known_hosts")
    known_hosts.write_text(f"[127.0.0.1]:{node.port} {node.host_key}\n")
    connection = Connection(
        address="127.0.0.1", port=node.port, user="root", key_file=nodes.key_file, known_hosts=known_hosts, become=False
    )
    client = open_client(connection)
    try:
        return run_command(client, command)
    finally:
        client.close()


def test_nodes_are_private_and_begin_anew(folder: Path) -> None:
    with Nodes(2, folder) as nodes:
        marker = f"/etc/bench-{os.getpid()}"
        assert (
            _run(nodes, 0, f"echo mine >{marker}; ls -A ~ /home; hostname").stdout == b"/home:\n\n/root:\n.ssh\nn0001\n"
        )
        assert (nodes.root(nodes.nodes[0]) / marker.lstrip("/")).read_text() == "mine\n"
        assert not Path(marker).exists()
        assert _run(nodes, 1, f"test -e {marker}").rc == 1
        assert _run(nodes, 0, "sysctl -w kernel.hostname=changed || hostname").stdout.endswith(b"n0001\n")
        assert nodes.sessions() == 4 - 1
        before = nodes.cpu_s()
        _run(nodes, 0, "yes | head -c 200000000 | sha256sum")
        assert nodes.cpu_s() > before + 0.1
        nodes.restart()
        assert _run(nodes, 0, f"test -e {marker}").rc == 1


def test_nodes_end_when_their_maker_is_killed(folder: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from bench.nodes import Nodes\n"
        "nodes = Nodes(1, Path(sys.argv[1])); nodes.start(); print('up', flush=True); time.sleep(60)\n"
    )
    root = Path(__file__).resolve().parents[2]
    maker = subprocess.Popen([sys.executable, "-c", script, str(folder)], cwd=root, stdout=subprocess.PIPE)
    assert maker.stdout is not None
    assert maker.stdout.readline() == b"up\n"
    running = [process.pid for process in procfs.tree(maker.pid, procfs.processes())]
    assert len(running) > 2
    os.kill(maker.pid, signal.SIGKILL)
    maker.communicate()
    deadline = time.monotonic() + 5
    while any((procfs.PROC / str(pid)).exists() for pid in running) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in running if (procfs.PROC / str(pid)).exists()]
