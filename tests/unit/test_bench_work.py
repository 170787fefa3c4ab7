"""The measured work is the same for every tool, and every tool's words are understood."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import work
from bench.nodes import Node
from bench.tools import Access, Ansible, Bundlewrap, Ours, Pyinfra, Tool
from hatfleet.common.errors import HatfleetError

ACCESS = Access((Node("n1", 20001, "ssh-ed25519 AAAA"),), (30001,), Path("/nowhere/key"))


def _reach(root: Path) -> None:
    """Bring a folder to the declared state."""
    for path, found in work.declared_state().items():
        if not isinstance(found, work.Found):
            continue
        target = root / path.lstrip("/")
        if found.kind == "absent":
            target.unlink(missing_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if found.kind == "link":
            target.symlink_to(found.content)
        elif found.kind == "directory":
            target.mkdir(exist_ok=True)
        else:
            target.write_text(found.content)
        if found.kind != "link":
            target.chmod(found.mode)


@pytest.fixture
def node(tmp_path: Path) -> Path:
    (tmp_path / "etc" / "profile.d").mkdir(parents=True)
    (tmp_path / "etc" / "passwd").write_text("bench:x:1001:1001::/var/lib/bench-home:/usr/sbin/nologin\n")
    work.plant(tmp_path)
    _reach(tmp_path)
    return tmp_path


def test_there_are_24_tasks_and_a_node_that_has_them_done_is_as_declared(node: Path) -> None:
    assert len(work.TASKS) == 24
    assert work.actual_state(node) == work.declared_state()


@pytest.mark.parametrize(
    "damage",
    [
        lambda root: (root / "etc/issue.net").write_text("half"),
        lambda root: (root / "etc/bench/secret").chmod(0o644),
        lambda root: (root / "etc/bench-old.conf").touch(),
        lambda root: (root / "etc/bench/current.conf").unlink(),
        lambda root: (root / "etc/passwd").write_text("bench:x:1:1::/home/bench:/bin/sh\n"),
    ],
)
def test_whatever_is_not_done_is_seen(node: Path, damage: object) -> None:
    assert callable(damage)
    damage(node)
    assert work.actual_state(node) != work.declared_state()


def test_a_file_that_is_written_again_with_the_same_content_is_seen(node: Path) -> None:
    before = work.stamps(work.actual_state(node))
    assert work.stamps(work.actual_state(node)) == before
    path = node / "etc/issue.net"
    content = path.read_text()
    path.unlink()
    (node / "other").touch()
    path.write_text(content)
    assert work.actual_state(node) == work.declared_state()
    assert work.stamps(work.actual_state(node)) != before


@pytest.mark.parametrize("tool", [Ours(Path("/bin")), Pyinfra(Path("/bin")), Bundlewrap(Path("/bin"))])
def test_every_task_of_a_tool_compiles(tool: Tool, tmp_path: Path) -> None:
    tool.write(tmp_path, ACCESS)
    sources = list(tmp_path.rglob("*.py"))
    assert sources
    for source in sources:
        compile(source.read_text(), str(source), "exec")


def test_the_playbook_has_every_task(tmp_path: Path) -> None:
    programs = tmp_path / "venv" / "bin"
    Ansible(programs).write(tmp_path, ACCESS)
    (play,) = json.loads((tmp_path / "play.yaml").read_text())
    assert len(play["tasks"]) == len(work.TASKS)


@pytest.mark.parametrize(
    ("tool", "output", "changes"),
    [
        (Ansible(Path()), "n1 : ok=24   changed=21   unreachable=0    failed=0    skipped=0\n", 21),
        (Ansible(Path()), "n1 : ok=24   changed=0    unreachable=0    failed=0    skipped=0\n", 0),
        (Bundlewrap(Path()), "i n1  completed after 16s  (3 OK, 24 fixed, 0 skipped, 0 failed)\n", 24),
        (Pyinfra(Path()), "    Grand total   48      42        -       6           \n", 42),
        (Pyinfra(Path()), "    Grand total   48      -         -       48          \n", 0),
    ],
)
def test_what_a_tool_says_it_changed_is_read(tool: Tool, output: str, changes: int, tmp_path: Path) -> None:
    assert tool.changes(tmp_path, output) == changes


@pytest.mark.parametrize(
    ("tool", "output"),
    [
        (Ansible(Path()), ""),
        (Ansible(Path()), "n1 : ok=8 changed=5 unreachable=0 failed=1\n"),
        (Ansible(Path()), "n1 : ok=8 changed=5 unreachable=0 failed=0\nn2 : ok=0 changed=0 unreachable=1 failed=0\n"),
        (Bundlewrap(Path()), "i n1  completed after 1s  (0 OK, 0 fixed, 0 skipped, 1 failed)\n"),
        (Pyinfra(Path()), "    Grand total   48      41        1       6           \n"),
        (Pyinfra(Path()), "Traceback"),
    ],
)
def test_a_failure_is_never_read_as_no_change(tool: Tool, output: str, tmp_path: Path) -> None:
    with pytest.raises(HatfleetError):
        tool.changes(tmp_path, output)
