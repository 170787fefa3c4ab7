"""Nodes to measure on: an sshd each, on a loopback port of its own, in a file system view of its own.

A node sees this machine's files through an overlay whose writable half is memory that ends with the node, has its
own processes, host name, /root, /home, /run and /tmp, and no systemd. It cannot change this machine. The kernel
ends it, with everything that it runs, when the process that made it ends, however that ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from bench import procfs
from hatfleet.common.errors import HatfleetError, InputError
from hatfleet.common.files import write_atomic
from hatfleet.common.run import require_tool

#: How long a node may take until its sshd answers, seconds; a thousand start at once in bench.scale.
START_LIMIT_S = 120.0

SSHD_CONFIG = """\
HostKey /etc/ssh/bench_host_key
ListenAddress 127.0.0.1
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM yes
PrintMotd no
PidFile none
Subsystem sftp /usr/lib/openssh/sftp-server
# VERBOSE writes a line for every session; that is how sessions are counted.
LogLevel VERBOSE
"""

# Runs in the new namespaces. /proc/sys is read-only because most of it is the running kernel of this machine.
_SETUP = """\
set -eu
folder=$1 name=$2 port=$3
hostname "$name"
mount -t tmpfs -o mode=0755,size=256m tmpfs "$folder/view"
cd "$folder/view"
mkdir upper work root
mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work overlay root
cd root
for private in root home run tmp; do mount -t tmpfs -o mode=0755 tmpfs "$private"; done
chmod 0700 root
chmod 1777 tmp
mount --bind /dev dev
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mkdir run/sshd
install -d -m 0700 root/.ssh
install -m 0600 "$folder/../key.pub" root/.ssh/authorized_keys
install -m 0644 "$folder/../sshd_config" etc/ssh/bench_sshd_config
install -m 0600 "$folder/host_key" etc/ssh/bench_host_key
set -- "$4" -D -f /etc/ssh/bench_sshd_config -E /run/sshd.log -p "$port"
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot . "$@"
"""


@dataclass(frozen=True)
class Node:
    """A node: its name, the port of its sshd on 127.0.0.1, and its public host key."""

    name: str
    port: int
    host_key: str


class Nodes:
    """Some nodes; use it as a context manager.

    Args:
        count: How many.
        folder: An empty place for keys and mount points. It must lie on the root file system, which nodes see.

    Raises:
        InputError: we are not root, or the folder lies on another file system.
        MissingToolError: openssh-server is not installed.
        HatfleetError: on start, when a node does not come up; the message says why.
    """

    def __init__(self, count: int, folder: Path) -> None:
        if os.geteuid() != 0:
            raise InputError("nodes to measure on need root", hint="run the same command with sudo")
        folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        if folder.stat().st_dev != Path("/").stat().st_dev:
            raise InputError(f"{folder} is not on the root file system", hint="set XDG_CACHE_HOME to a folder that is")
        self._sshd = require_tool("sshd", "openssh-server")
        self._folder = folder.resolve()
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.key_file = self._folder / "key"
        (self._folder / "key.pub").write_text(_make_key(self.key_file) + "\n")
        (self._folder / "sshd_config").write_text(SSHD_CONFIG)
        self.nodes = tuple(self._declare(f"n{number:04d}", port) for number, port in enumerate(_free_ports(count), 1))

    def __enter__(self) -> Nodes:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start every node, as new, and wait until all of them answer."""
        try:
            for node in self.nodes:
                self._running[node.name] = self._start(node)
            deadline_s = time.monotonic() + START_LIMIT_S
            for node in self.nodes:
                self._await(node, deadline_s)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every node and everything that runs in it; nothing stays mounted. Safe to call twice."""
        running, self._running = self._running, {}
        inits = [_init_of(process.pid) for process in running.values()]
        for process in running.values():
            process.kill()
        for process in running.values():
            process.communicate()
        # unshare is gone at once; its child, the first process of the node, only after all the others.
        for pid in inits:
            while pid is not None and (procfs.PROC / str(pid)).exists():
                time.sleep(0.01)

    def restart(self) -> None:
        """Throw away all that was changed on the nodes."""
        self.stop()
        self.start()

    def crash(self) -> None:
        """Kill everything that runs on the nodes at once, but for their listening sshd; files stay as they are."""
        running = procfs.processes()
        inits = [self._init(node) for node in self.nodes]
        for pid in {part.pid for init in inits for part in procfs.tree(init, running)} - set(inits):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def root(self, node: Node) -> Path:
        """Return the folder through which this machine sees a node's root. Do not follow links below it."""
        return procfs.PROC / str(self._init(node)) / "root"

    def cpu_s(self) -> float:
        """Return the processor time that all nodes have used since their start, seconds."""
        running = procfs.processes()
        return sum(part.cpu_s for node in self.nodes for part in procfs.tree(self._init(node), running))

    def sessions(self) -> int:
        """Return how many SSH sessions (commands, subsystems, shells) were started on all nodes."""
        logs = (self.root(node) / "run" / "sshd.log" for node in self.nodes)
        return sum(log.read_text(errors="replace").count("Starting session: ") for log in logs)

    def _declare(self, name: str, port: int) -> Node:
        (self._folder / name / "view").mkdir(parents=True, exist_ok=True)
        return Node(name, port, _make_key(self._folder / name / "host_key"))

    def _start(self, node: Node) -> subprocess.Popen[bytes]:
        setpriv, unshare = require_tool("setpriv", "util-linux"), require_tool("unshare", "util-linux")
        namespaces = ("--mount", "--propagation", "private", "--uts", "--ipc", "--pid", "--fork", "--kill-child")
        setup = ("/bin/sh", "-c", _SETUP, "sh", str(self._folder / node.name), node.name, str(node.port), self._sshd)
        return subprocess.Popen(
            [setpriv, "--pdeathsig", "KILL", unshare, *namespaces, *setup],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # Ctrl-C is for the one who measures.
            process_group=0,
        )

    def _await(self, node: Node, deadline_s: float) -> None:
        while True:
            process = self._running[node.name]
            if process.poll() is not None:
                assert process.stderr is not None
                said = process.stderr.read().decode(errors="replace").strip()
                raise HatfleetError(f"node {node.name} does not start: {said or process.returncode}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", node.port), timeout=1) as sock:
                if sock.recv(4) == b"SSH-":
                    return
            if time.monotonic() > deadline_s:
                raise HatfleetError(f"node {node.name} does not answer on port {node.port}")
            time.sleep(0.02)

    def _init(self, node: Node) -> int:
        pid = _init_of(self._running[node.name].pid)
        if pid is None:
            raise HatfleetError(f"node {node.name} is not running")
        return pid


def _init_of(unshare: int) -> int | None:
    """Return the first process of a node: the only child of its ``unshare``."""
    with contextlib.suppress(OSError):
        children = (procfs.PROC / str(unshare) / "task" / str(unshare) / "children").read_text().split()
        return int(children[0]) if children else None
    return None


def _make_key(path: Path) -> str:
    """Write a new Ed25519 private key and return its public half as one line."""
    key = Ed25519PrivateKey.generate()
    write_atomic(path, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()), mode=0o600)
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, below those that the kernel gives to outgoing connections."""
    free: list[int] = []
    for port in range(20000, 32768):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            free.append(port)
        if len(free) == count:
            return free
    raise HatfleetError(f"there are not {count} free ports on 127.0.0.1")
