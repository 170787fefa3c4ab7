"""What the real Ansible says about the fixture inventories, recorded beside them.

Run ``python -m tests.unit.golden`` with ansible-core on the PATH (``pip install 'ansible-core>=2.19,<2.20'``) to record
anew, after adding an inventory or a pattern.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.unit.inventories import INVENTORIES

#: Inventories as ``-i`` names them, and the folder that holds what Ansible said about them.
LISTED: tuple[tuple[tuple[str, ...], str], ...] = (
    (("valid-aliases",), "valid-aliases"),
    (("valid-depth",), "valid-depth"),
    (("valid-diamond",), "valid-diamond"),
    (("valid-folders",), "valid-folders"),
    (("valid-json",), "valid-json"),
    (("valid-levels",), "valid-levels"),
    (("valid-merge-order",), "valid-merge-order"),
    (("valid-patterns",), "valid-patterns"),
    (("valid-ports",), "valid-ports"),
    (("valid-priorities",), "valid-priorities"),
    (("valid-ranges",), "valid-ranges"),
    (("valid-same-folder", "valid-same-folder/more.yaml"), "valid-same-folder"),
    (("valid-scalars",), "valid-scalars"),
    (("valid-merge-order", "valid-second-source"), "valid-second-source"),
    (("valid-merge-order", "valid-second-source", "valid-third-source"), "valid-third-source"),
    (("valid-ungrouped",), "valid-ungrouped"),
    (("valid-unicode",), "valid-unicode"),
)

PATTERNS = (
    *("all", "*", "stray", "ungrouped", "rack-a", "racks", "domain.example", "www.example.org"),
    *("pi-a*", "pi-?0[12]*", "*.example.org", "rack-*", "pi*", "a*", "pi-a0[!1-4]"),
    *("~pi-[ab]0[13]", "~rack-[bc]$", "~.*03", "~(pi-a|pi-b)01", "!~.*01", "rack-a:&~.*1"),
    *("rack-a:rack-b", "rack-a,rack-b", "rack-a rack-b", " rack-a , stray ", "rack-a,,stray"),
    *("rack-a:&canary", "rack-a:!canary", "prod:&canary:!pi-a01", "!prod", "&canary", "!canary:&prod", "&prod,&canary"),
    *("prod,!rack-a", "!rack-a,prod", "rack-a:&rack-b", "racks:!rack-*"),
    *(
        "rack-a[0]",
        "rack-a[-1]",
        "rack-a[-6]",
        "rack-a[0:2]",
        "rack-a[2:]",
        "rack-a[4:9]",
        "rack-a[1:1]",
        "rack-a[0:0]",
    ),
    *(
        "rack-a[1-2]",
        "racks[0]",
        "racks[6]",
        "racks[5:7]",
        "canary[0]",
        "all[0]",
        "ungrouped[0]",
        "prod[-1]",
        "prod[0:6]",
    ),
    *(
        "rack-*[0]",
        "rack-*[6:7]",
        "pi-a*[1]",
        "pi*[-1]",
        "pi*[0:3]",
        "stray[0]",
        "rack-b:!rack-b[0]",
        "rack-a[0]:rack-b[0]",
    ),
    *("rack-a[9]", "rack-a[-9]", "nobody", "no*", "~no", "nobody[0]", "rack-a[7:9]"),
)

#: Runs in Ansible's own interpreter: ansible-inventory itself, many times for the price of loading it once.
_SAY = """
import json, os, sys
from ansible.cli.inventory import main

for arguments, output in json.load(sys.stdin):
    if os.fork() == 0:
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT), 1)
        sys.exit(main(["ansible-inventory", *arguments]))
    os.wait()
"""

#: One process for all patterns: the same calls as for --limit.
_MATCH = """
import json, sys
from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader

init_plugin_loader()
manager, found = InventoryManager(loader=DataLoader(), sources=[sys.argv[1]]), {}
for pattern in json.load(sys.stdin):
    try:
        manager.subset(pattern)
        found[pattern] = [host.name for host in manager.get_hosts("all")]
    except AnsibleError:
        found[pattern] = []
json.dump(found, sys.stdout)
"""


def program() -> Path | None:
    """Return the real ansible-inventory, from the PATH or beside this Python; None without one."""
    path = os.pathsep.join([os.environ.get("PATH", ""), str(Path(sys.executable).parent)])
    found = shutil.which("ansible-inventory", path=path)
    return Path(found) if found else None


def hosts_file(name: str) -> Path:
    """Return the hosts file of a fixture inventory given as in LISTED."""
    path = INVENTORIES / name
    return path if path.is_file() else next(path.glob("hosts.*"))


@dataclass(frozen=True)
class Said:
    """What ansible-inventory says about one entry of LISTED."""

    listed: dict[str, Any]
    """The JSON of ``--list``."""
    drawn: str
    """The tree of ``--graph``."""


def said(ansible_inventory: Path) -> dict[str, Said]:
    """Return what ansible-inventory says about all of LISTED, by folder."""
    with tempfile.TemporaryDirectory() as out:
        runs = []
        for names, folder in LISTED:
            sources = [part for name in names for part in ("-i", str(hosts_file(name)))]
            runs += [([*sources, view], f"{out}/{folder}{view}") for view in ("--list", "--graph")]
        _ansible(ansible_inventory, _SAY, stdin=json.dumps(runs))
        found = {}
        for _, folder in LISTED:
            listed = json.loads(Path(f"{out}/{folder}--list").read_text())
            listed["_meta"].pop("profile", None)
            found[folder] = Said(listed, Path(f"{out}/{folder}--graph").read_text().strip() + "\n")
        return found


def matched(ansible_inventory: Path, name: str) -> dict[str, list[str]]:
    """Return the hosts of every pattern as ``--limit`` selects them; none where Ansible reports an error."""
    found: dict[str, list[str]] = json.loads(
        _ansible(ansible_inventory, _MATCH, str(hosts_file(name)), stdin=json.dumps(PATTERNS))
    )
    return found


def _ansible(ansible_inventory: Path, code: str, *arguments: str, stdin: str) -> str:
    interpreter = ansible_inventory.read_text().splitlines()[0].removeprefix("#!").strip()
    with tempfile.TemporaryDirectory() as home:
        # A home of its own: the user's ansible.cfg and plugins have no say.
        environment = {"HOME": home, "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "ANSIBLE_NOCOLOR": "1"}
        done = subprocess.run(
            [interpreter, "-c", code, *arguments],
            input=stdin,
            cwd=home,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    return done.stdout


def main() -> None:
    ansible_inventory = program()
    if ansible_inventory is None:
        sys.exit("ansible-inventory is not on the PATH")
    for folder, answer in said(ansible_inventory).items():
        text = json.dumps(answer.listed, indent=2, ensure_ascii=False)
        (INVENTORIES / folder / "ansible.json").write_text(text + "\n")
        (INVENTORIES / folder / "graph.txt").write_text(answer.drawn)
    found = matched(ansible_inventory, "valid-patterns")
    rows = ",\n".join(f"  {json.dumps(pattern)}: {json.dumps(hosts)}" for pattern, hosts in found.items())
    (INVENTORIES / "valid-patterns" / "patterns.json").write_text(f"{{\n{rows}\n}}\n")


if __name__ == "__main__":
    main()
