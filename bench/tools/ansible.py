"""ansible-core, with what its documentation advises for speed: pipelining, shared connections, no fact gathering."""

from __future__ import annotations

import json
import re
from pathlib import Path

from bench.tools.base import Access, Invocation, Tool, write_ssh_config
from bench.work import TASKS, Absent, Directory, File, Link, Packages, Task, Template, User
from hatfleet.common.errors import HatfleetError

FORKS = 10


class Ansible(Tool):
    """``ansible-playbook``.

    Args:
        programs: Where the tool's own programs are.
        mitogen: Run it through mitogen's strategy.
    """

    def __init__(self, programs: Path, *, mitogen: bool = False) -> None:
        super().__init__(programs)
        self._mitogen = mitogen
        self.name = "ansible-core + mitogen" if mitogen else "ansible-core"

    def write(self, folder: Path, access: Access) -> Invocation:
        """Write a playbook, an inventory and ansible.cfg."""
        ssh_config = write_ssh_config(folder, access)
        common = {
            "ansible_user": "root",
            # Said, so that no time goes into finding it.
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_common_args": f"-F {ssh_config}",
            # What mitogen reads of the same.
            "ansible_host": "127.0.0.1",
            "ansible_ssh_private_key_file": str(access.key_file),
        }
        hosts = {name: {"ansible_port": port} for name, port in access.by_name.items()}
        (folder / "hosts.yaml").write_text(json.dumps({"all": {"hosts": hosts, "vars": common}}))
        tasks = [{"name": f"task {number}", **_task(task)} for number, task in enumerate(TASKS, 1)]
        play = [{"hosts": "all", "gather_facts": False, "tasks": tasks}]
        (folder / "play.yaml").write_text(json.dumps(play, indent=1))
        for task in TASKS:
            if isinstance(task, Template):
                (folder / task.file_name).write_text(task.source)
        (folder / "ansible.cfg").write_text(self._config(folder))
        argv = (str(self.programs / "ansible-playbook"), "-i", "hosts.yaml", "play.yaml")
        return Invocation(argv, folder, {"HOME": str(folder), "ANSIBLE_CONFIG": str(folder / "ansible.cfg")})

    def changes(self, folder: Path, output: str) -> int:  # noqa: ARG002
        """Add up what the recap says."""
        recap = re.findall(r"changed=(\d+)\s+unreachable=0\s+failed=0", output)
        if not recap or len(recap) != output.count("unreachable="):
            raise HatfleetError("ansible-playbook printed no recap, or one with failures")
        return sum(int(changed) for changed in recap)

    def _config(self, folder: Path) -> str:
        lines = [
            "[defaults]",
            f"forks = {FORKS}",
            f"local_tmp = {folder}/tmp",
            "stdout_callback = default",
        ]
        if self._mitogen:
            plugins = sorted(self.programs.parent.glob("lib/python3*/site-packages/ansible_mitogen/plugins/strategy"))
            lines += [f"strategy_plugins = {plugins[0]}", "strategy = mitogen_linear"]
        lines += [
            "[ssh_connection]",
            "pipelining = True",
            "ssh_args = -o ControlMaster=auto -o ControlPersist=60s",
            f"control_path_dir = {folder}",
        ]
        return "\n".join(lines) + "\n"


def _task(task: Task) -> dict[str, object]:
    match task:
        case Packages(names, wanted):
            return {"ansible.builtin.apt": {"name": list(names), "state": "present" if wanted else "absent"}}
        case Directory(path, mode):
            return {"ansible.builtin.file": {"path": path, "state": "directory", "mode": mode}}
        case File(path, content, mode):
            return {"ansible.builtin.copy": {"dest": path, "content": content, "mode": mode}}
        case Template(path, _, values, mode):
            return {
                "ansible.builtin.template": {"src": task.file_name, "dest": path, "mode": mode},
                "vars": dict(values),
            }
        case Link(path, target):
            return {"ansible.builtin.file": {"path": path, "src": target, "state": "link"}}
        case Absent(path):
            return {"ansible.builtin.file": {"path": path, "state": "absent"}}
        case User(login, home, shell):
            return {"ansible.builtin.user": {"name": login, "home": home, "shell": shell}}
