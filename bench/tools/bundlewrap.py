"""bundlewrap, with a shared connection per node as its documentation advises."""

from __future__ import annotations

import re
from pathlib import Path

from bench.tools.base import Access, Invocation, Tool, write_ssh_config
from bench.work import TASKS, Absent, Directory, File, Link, Packages, Template, User
from hatfleet.common.errors import HatfleetError

WORKERS = 10


class Bundlewrap(Tool):
    """``bw apply``."""

    name = "bundlewrap"

    def write(self, folder: Path, access: Access) -> Invocation:
        """Write a repository with one bundle."""
        ssh_config = write_ssh_config(folder, access)
        node: dict[str, object] = {"bundles": ["bench"], "os": "debian", "os_version": (12,), "username": "root"}
        # We log in as root; its default would be sudo.
        node["cmd_wrapper_outer"] = "sh -c {}"
        (folder / "nodes.py").write_text(f"nodes = {dict.fromkeys(access.by_name, node)!r}\n")
        (folder / "groups.py").write_text("groups = {}\n")
        (folder / "requirements.txt").write_text("bundlewrap\n")
        bundle = folder / "bundles" / "bench"
        (bundle / "files").mkdir(parents=True)
        (bundle / "items.py").write_text("".join(f"{kind} = {items!r}\n" for kind, items in _items().items()))
        for task in TASKS:
            if isinstance(task, Template):
                # It renders with Jinja's default, which drops one newline at the end.
                (bundle / "files" / task.file_name).write_text(task.source + "\n")
        argv = (str(self.programs / "bw"), "apply", "-p", str(WORKERS), *access.by_name)
        openssh = {"BW_SSH_ARGS": f"-F {ssh_config}", "BW_SCP_ARGS": f"-F {ssh_config}"}
        return Invocation(argv, folder, {"HOME": str(folder), "BW_REPO_PATH": str(folder)} | openssh)

    def changes(self, folder: Path, output: str) -> int:  # noqa: ARG002
        """Add up what it says of every node."""
        ended = re.findall(r"completed after .* (\d+) fixed, 0 skipped, 0 failed\)", output)
        if not ended or len(ended) != output.count("completed after"):
            raise HatfleetError("bundlewrap completed no node, or one with failures")
        return sum(int(fixed) for fixed in ended)


def _items() -> dict[str, dict[str, dict[str, object]]]:
    items: dict[str, dict[str, dict[str, object]]] = {
        "pkg_apt": {},
        "directories": {},
        "files": {},
        "symlinks": {},
        "users": {},
    }
    for task in TASKS:
        match task:
            case Packages(names, wanted):
                items["pkg_apt"] |= {name: {"installed": wanted} for name in names}
            case Directory(path, mode):
                items["directories"][path] = {"mode": mode}
            case File(path, content, mode):
                items["files"][path] = {"content": content, "mode": mode}
            case Template(path, _, values, mode):
                source = {"source": task.file_name, "content_type": "jinja2", "context": dict(values)}
                items["files"][path] = {**source, "mode": mode}
            case Link(path, target):
                items["symlinks"][path] = {"target": target}
            case Absent(path):
                items["files"][path] = {"delete": True}
            case User(login, home, shell):
                items["users"][login] = {"home": home, "shell": shell}
    return items
