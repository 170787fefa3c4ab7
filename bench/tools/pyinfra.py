"""pyinfra's own command line, without change detection (``-y``), its fastest way."""

from __future__ import annotations

import re
from pathlib import Path

from bench.tools.base import Access, Invocation, Tool
from bench.work import TASKS, Absent, Directory, File, Link, Packages, Task, Template, User
from hatfleet.common.errors import HatfleetError


class Pyinfra(Tool):
    """``pyinfra -y``."""

    name = "pyinfra -y"

    def write(self, folder: Path, access: Access) -> Invocation:
        """Write an inventory and a deploy."""
        (folder / "known_hosts").write_text(access.known_hosts)
        common = {
            "ssh_hostname": "127.0.0.1",
            "ssh_user": "root",
            "ssh_key": str(access.key_file),
            "ssh_known_hosts_file": str(folder / "known_hosts"),
            "ssh_strict_host_key_checking": "yes",
        }
        hosts = [(name, {"ssh_port": port}) for name, port in access.by_name.items()]
        (folder / "inventory.py").write_text(f"nodes = ({hosts!r}, {common!r})\n")
        head = "from io import StringIO\nfrom pyinfra.operations import apt, files, server\n\n"
        calls = "".join(f"{_call(number, task)}\n" for number, task in enumerate(TASKS, 1))
        (folder / "deploy.py").write_text(head + calls)
        for task in TASKS:
            if isinstance(task, Template):
                (folder / task.file_name).write_text(task.source)
        argv = (str(self.programs / "pyinfra"), "-y", "inventory.py", "deploy.py")
        return Invocation(argv, folder, {"HOME": str(folder), "PYINFRA_PROGRESS": "off"})

    def changes(self, folder: Path, output: str) -> int:  # noqa: ARG002
        """Read the last line of its table: operations, and how many of them succeeded, failed, changed nothing."""
        total = re.search(r"Grand total\s+\d+\s+(\d+|-)\s+-\s+(?:\d+|-)\s", output)
        if total is None:
            raise HatfleetError("pyinfra printed no total, or one with errors")
        return 0 if total[1] == "-" else int(total[1])


def _call(number: int, task: Task) -> str:
    name = f"name='task {number}'"
    match task:
        case Packages(names, wanted):
            return f"apt.packages({name}, packages={list(names)!r}, present={wanted!r})"
        case Directory(path, mode):
            return f"files.directory({name}, path={path!r}, mode={mode!r}, user='root', group='root')"
        case File(path, content, mode):
            return (
                f"files.put({name}, src=StringIO({content!r}), dest={path!r}, mode={mode!r}, user='root', group='root')"
            )
        case Template(path, _, values, mode):
            rights = f"mode={mode!r}, user='root', group='root'"
            return f"files.template({name}, src={task.file_name!r}, dest={path!r}, {rights}, **{dict(values)!r})"
        case Link(path, target):
            return f"files.link({name}, path={path!r}, target={target!r})"
        case Absent(path):
            return f"files.file({name}, path={path!r}, present=False)"
        case User(login, home, shell):
            return f"server.user({name}, user={login!r}, home={home!r}, shell={shell!r})"
