"""The work that every tool is measured with: 24 tasks that a role for small devices might have, none needs systemd.

They are data. Each tool's module in ``bench/tools`` writes them down in the tool's own words, and the end state that
all tools must reach is computed from them here.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import jinja2


@dataclass(frozen=True)
class Packages:
    """Packages that are installed, or with ``wanted=False`` are not; the nodes are so from the start."""

    names: tuple[str, ...]
    wanted: bool = True


@dataclass(frozen=True)
class Directory:
    path: str
    mode: str = "0755"


@dataclass(frozen=True)
class File:
    path: str
    content: str
    mode: str = "0644"


@dataclass(frozen=True)
class Template:
    """A file made from a Jinja template, which every tool renders itself."""

    path: str
    source: str
    values: Mapping[str, object]
    mode: str = "0644"

    @property
    def content(self) -> str:
        """What every tool must make of it."""
        environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
        return environment.from_string(self.source).render(**self.values)

    @property
    def file_name(self) -> str:
        """A name for the template's own file."""
        return self.path.strip("/").replace("/", "-") + ".j2"


@dataclass(frozen=True)
class Link:
    path: str
    target: str


@dataclass(frozen=True)
class Absent:
    """A file that is planted on the nodes and must go."""

    path: str


@dataclass(frozen=True)
class User:
    login: str
    home: str
    shell: str


Task = Packages | Directory | File | Template | Link | Absent | User

_SYSCTL = """\
# Kernel parameters of the measured role.
kernel.dmesg_restrict = 1
kernel.kptr_restrict = 2
kernel.unprivileged_bpf_disabled = 1
net.ipv4.conf.all.accept_redirects = 0
net.ipv4.conf.all.log_martians = 1
net.ipv4.conf.all.rp_filter = 1
net.ipv4.conf.all.send_redirects = 0
net.ipv4.tcp_syncookies = 1
net.ipv6.conf.all.accept_redirects = 0
"""

_SERVICE = """\
[Unit]
Description={{ description }}
After=network-online.target

[Service]
ExecStart=/usr/local/sbin/bench-agent --interval {{ interval_s }}
User={{ account }}
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths={% for path in writable %}{{ path }} {% endfor %}/run/bench

[Install]
WantedBy=multi-user.target
"""

_AGENT = """\
#!/bin/sh
# Writes the load of the machine, at an interval.
set -eu
while :; do
    read -r load _ </proc/loadavg
    echo "$load" >/var/lib/bench/load
    sleep "${2:-10}"
done
"""

_SETTINGS = "# {{ title }}\n" + "".join(f"{name} = {{{{ {name} }}}}\n" for name in ("host", "port", "level"))

TASKS: tuple[Task, ...] = (
    Packages(("openssh-server", "passwd")),
    Packages(("ca-certificates", "tar", "gzip")),
    Packages(("telnetd",), wanted=False),
    Directory("/etc/bench"),
    Directory("/etc/bench/conf.d"),
    Directory("/var/lib/bench", mode="0750"),
    Directory("/usr/local/share/bench"),
    File("/etc/sysctl.d/90-bench.conf", _SYSCTL),
    File("/etc/bench/modules.conf", "".join(f"install {name} /bin/false\n" for name in ("dccp", "sctp", "rds"))),
    File("/etc/issue.net", "Authorised use only.\n"),
    File("/etc/profile.d/bench.sh", "export TMOUT=900\nreadonly TMOUT\n"),
    File("/etc/security/limits.d/90-bench.conf", "* hard core 0\n"),
    File("/usr/local/sbin/bench-agent", _AGENT, mode="0755"),
    File("/etc/bench/secret", "not really\n", mode="0600"),
    File("/usr/local/share/bench/table.csv", "".join(f"{row},{row * row}\n" for row in range(1500))),
    Template(
        "/etc/systemd/system/bench-agent.service",
        _SERVICE,
        {"description": "Agent", "interval_s": 10, "account": "bench", "writable": ["/var/lib/bench"]},
    ),
    Template(
        "/etc/bench/agent.conf", _SETTINGS, {"title": "Agent", "host": "192.0.2.1", "port": 8086, "level": "warn"}
    ),
    Template(
        "/etc/bench/conf.d/10-local.conf", _SETTINGS, {"title": "Local", "host": "::1", "port": 1, "level": "off"}
    ),
    Template("/etc/motd", "{{ owner }}: {{ purpose }}\n", {"owner": "Lab", "purpose": "measurements"}),
    Link("/etc/bench/current.conf", "agent.conf"),
    Link("/usr/local/bin/bench-agent", "/usr/local/sbin/bench-agent"),
    Absent("/etc/bench-old.conf"),
    Absent("/etc/profile.d/bench-old.sh"),
    User("bench", home="/var/lib/bench-home", shell="/usr/sbin/nologin"),
)


@dataclass(frozen=True)
class Found:
    """What is at a path: its kind, mode, owner, content or link target. ``stamp`` changes whenever it is written."""

    kind: str
    mode: int = 0
    owner: tuple[int, int] = (0, 0)
    content: str = ""
    stamp: tuple[int, int] = field(default=(0, 0), compare=False)


State = dict[str, Found | str]


def plant(root: Path) -> None:
    """Put on a node what the tasks are to remove."""
    for task in TASKS:
        if isinstance(task, Absent):
            _at(root, task.path).write_text("old\n")


def declared_state() -> State:
    """Return the state that the tasks declare."""
    state: State = {}
    for task in TASKS:
        match task:
            case Directory():
                state[task.path] = Found("directory", int(task.mode, 8))
            case File() | Template():
                state[task.path] = Found("file", int(task.mode, 8), content=task.content)
            case Link():
                state[task.path] = Found("link", 0o777, content=task.target)
            case Absent():
                state[task.path] = Found("absent")
            case User():
                state[f"user {task.login}"] = f"{task.home}:{task.shell}"
            case Packages():
                pass
    return state


def actual_state(root: Path) -> State:
    """Return the state of a node, as :func:`declared_state` writes it."""
    accounts = {
        line.split(":", 1)[0]: line.split(":", 5)[5] for line in _at(root, "/etc/passwd").read_text().splitlines()
    }
    state: State = {}
    for task in TASKS:
        if isinstance(task, User):
            state[f"user {task.login}"] = accounts.get(task.login, "absent")
        elif not isinstance(task, Packages):
            state[task.path] = find(_at(root, task.path))
    return state


def find(path: Path) -> Found:
    """Look at a path, without following a link."""
    try:
        seen = path.lstat()
    except FileNotFoundError:
        return Found("absent")
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
    kind = kinds.get(stat.S_IFMT(seen.st_mode), "other")
    content = ""
    if kind == "file":
        content = path.read_text(errors="replace")
    elif kind == "link":
        content = str(path.readlink())
    stamp = (seen.st_ino, seen.st_mtime_ns) if kind != "directory" else (0, 0)
    return Found(kind, stat.S_IMODE(seen.st_mode), (seen.st_uid, seen.st_gid), content, stamp)


def stamps(state: State) -> dict[str, tuple[int, int]]:
    """Return which file is at every path and when it was written: equal before and after when nothing was written."""
    return {path: found.stamp for path, found in state.items() if isinstance(found, Found)}


def _at(root: Path, path: str) -> Path:
    return root / path.lstrip("/")
