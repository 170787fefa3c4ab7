"""hatfleet: a site with one role."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench.command import ROOT
from bench.tools.base import Access, Invocation, Tool
from bench.work import TASKS, Absent, Directory, File, Link, Packages, Task, Template, User
from hatfleet.fleet.results import RunReport, Status

INVENTORY = "bench"


class Ours(Tool):
    """``provision apply``."""

    name = "hatfleet"

    def write(self, folder: Path, access: Access) -> Invocation:
        """Write a site; round trips are traced into ``trace.jsonl``."""
        write_site(folder, {"bench": _role()})
        write_templates(folder / "roles" / "bench" / "templates")
        write_inventory(folder, access)
        arguments = ("apply", "-i", INVENTORY, "--report", str(folder / "report.json"))
        trace = {"HATFLEET_TRACE": str(folder / "trace.jsonl")}
        return Invocation((*PROVISION, *arguments), folder, environment(folder) | trace)

    def changes(self, folder: Path, output: str) -> int:  # noqa: ARG002  # the report says it better
        """Count the operations that changed something in the run's report."""
        report = RunReport.model_validate_json((folder / "report.json").read_text())
        return sum(host.count(Status.CHANGED) for host in report.hosts)


#: Our command line, as this checkout has it.
PROVISION = (sys.executable, "-m", "hatfleet.cli.main")


def environment(folder: Path) -> dict[str, str]:
    """Return what our command line needs to run from this checkout and keep its reports in a site's folder."""
    return {"PYTHONPATH": str(ROOT), "HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")}


def write_site(folder: Path, roles: dict[str, str], settings: str = "    pass\n") -> None:
    """Write a site whose deploy ``site`` runs these roles (name and source); all have the same settings model."""
    (folder / "deploys").mkdir(parents=True, exist_ok=True)
    (folder / "deploys" / "site.py").write_text(f"ROLES = {tuple(roles)!r}\n")
    head = "from hatfleet.fleet.settings import RoleSettings\n\n\nclass Settings(RoleSettings):\n"
    for name, source in roles.items():
        role = folder / "roles" / name
        role.mkdir(parents=True, exist_ok=True)
        (role / "settings.py").write_text(head + settings)
        (role / "__init__.py").write_text(source)


def write_inventory(folder: Path, access: Access) -> None:
    """Write the inventory ``bench`` with all nodes and their host keys."""
    inventory = folder / "inventory" / INVENTORY
    inventory.mkdir(parents=True, exist_ok=True)
    hosts = {name: {"ansible_port": port} for name, port in access.by_name.items()}
    common = {
        "ansible_host": "127.0.0.1",
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(access.key_file),
    }
    # JSON is YAML.
    (inventory / "hosts.yaml").write_text(json.dumps({"all": {"hosts": hosts, "vars": common}}, indent=1))
    (inventory / "known_hosts").write_text(access.known_hosts)


def _role() -> str:
    calls = "".join(f"    {_call(number, task)}\n" for number, task in enumerate(TASKS, 1))
    return (
        f'"""The measured work."""\nfrom hatfleet import ops\n\n\ndef device(settings, context):\n{calls}'
        "\n\ndef render(template, **values):\n    return ops.render(role_file=__file__, template=template, **values)\n"
    )


def _call(number: int, task: Task) -> str:
    name = f"name='task {number}'"
    match task:
        case Packages(names, wanted):
            return f"ops.{'packages' if wanted else 'packages_absent'}({name}, names={names!r})"
        case Directory(path, mode):
            return f"ops.directory({name}, path={path!r}, mode={mode!r})"
        case File(path, content, mode):
            return f"ops.file({name}, path={path!r}, content={content!r}, mode={mode!r})"
        case Template(path, _, values, mode):
            content = f"render({task.file_name!r}, **{dict(values)!r})"
            return f"ops.file({name}, path={path!r}, content={content}, mode={mode!r})"
        case Link(path, target):
            return f"ops.link({name}, path={path!r}, target={target!r})"
        case Absent(path):
            return f"ops.absent({name}, path={path!r})"
        case User(login, home, shell):
            return f"ops.user({name}, login={login!r}, home={home!r}, shell={shell!r})"


def write_templates(folder: Path) -> None:
    """Write every template into a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for task in TASKS:
        if isinstance(task, Template):
            (folder / task.file_name).write_text(task.source)
