"""A small root file system in which the gate finds nothing, to plant things in."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hatfleet.image.gate import Allow, Finding, RecipeFacts, Report, judge

#: The account of the recipe; it owns the tree when the tests do not run as root.
ADMIN = "operator"

_PASSWD = """\
root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
{admin}:x:{uid}:{gid}::/home/{admin}:/bin/bash
"""


@dataclass(frozen=True)
class Tree:
    root: Path

    def put(self, path: str, content: str | bytes = "", mode: int = 0o644) -> Path:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        target.chmod(mode)
        return target

    def link(self, path: str, to: str) -> Path:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(to)
        return target

    def installed(self, *packages: str) -> None:
        paragraphs = (f"Package: {name}\nEssential: yes\nStatus: install ok installed\n" for name in packages)
        self.put("/var/lib/dpkg/status", "\n".join(paragraphs))

    def judge(self, allow: Allow | None = None, *, roles: tuple[str, ...] = (), keys: tuple[str, ...] = ()) -> Report:
        facts = RecipeFacts(frozenset(roles), frozenset({ADMIN}), frozenset(keys), allow or Allow())
        return judge(self.root, facts)

    def findings(self, allow: Allow | None = None, **facts: tuple[str, ...]) -> list[Finding]:
        return list(self.judge(allow, **facts).findings)

    def rules(self) -> list[tuple[str, str]]:
        """Rule and path of every finding."""
        return [(finding.rule, finding.path) for finding in self.findings()]


def make_tree(folder: Path) -> Tree:
    folder.mkdir()
    tree = Tree(folder)
    uid, gid = os.getuid() or 1000, os.getgid() or 1000
    tree.put("/etc/passwd", _PASSWD.format(admin=ADMIN, uid=uid, gid=gid))
    tree.put("/etc/group", f"root:x:0:\ndaemon:x:1:\nnogroup:x:65534:\n{ADMIN}:x:{gid}:\n")
    tree.put("/etc/shadow", f"root:*:20000::::::\ndaemon:*:20000::::::\n{ADMIN}:!:20000::::::\n", mode=0o640)
    tree.put("/etc/gshadow", f"root:*::\n{ADMIN}:!::\n", mode=0o640)
    tree.put("/etc/machine-id", "uninitialized\n")
    tree.put("/usr/bin/true", b"\x7fELF\x02\x01\x01" + bytes(200), mode=0o755)
    (tree.root / "tmp").mkdir()
    (tree.root / "tmp").chmod(0o1777)
    return tree
