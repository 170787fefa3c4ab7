"""Reading a target in one command, for real on files of the test; and what may not be forgotten or mixed up."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from hatfleet.ops.gather import Failed, Gathering, new_mark
from hatfleet.ops.reads import PackagesRead, PackageState, PathRead, PathState, ShellRead, TextRead, UnitRead, UnitState
from hatfleet.ops.steps import OperationError
from tests.unit.target import LocalTarget


def test_path_states_are_told_apart_in_one_command(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    (tmp_path / "e").write_text("")
    (tmp_path / "d").mkdir()
    (tmp_path / "l").symlink_to("nowhere")
    os.mkfifo(tmp_path / "p")
    target = LocalTarget()
    states = target.ask(*(PathRead(str(tmp_path / name), content=True) for name in ("f", "e", "d", "l", "p", "none")))
    assert [state.kind for state in states] == ["file", "file", "directory", "link", "other", "absent"]
    assert states[0].sha256 == hashlib.sha256(b"x").hexdigest()
    assert states[3].target == "nowhere"
    assert len(target.scripts) == 1


def test_rights_are_read_as_people_write_them(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    (tmp_path / "f").chmod(0o4750)
    (state,) = LocalTarget().ask(PathRead(str(tmp_path / "f")))
    assert (state.mode, state.owner) == ("4750", (tmp_path / "f").owner())


@pytest.mark.parametrize("name", ["a b'$(touch pwned)", "new\nline", "*", "back\\slash", "ümläut"])
def test_a_hostile_file_name_is_only_a_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("content")
    read = PathRead(str(tmp_path / name), content=True)
    (state,) = LocalTarget().ask(read)
    assert (state.kind, state.size, state.sha256) == ("file", 7, hashlib.sha256(b"content").hexdigest())
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_content_comes_back_byte_by_byte(tmp_path: Path) -> None:
    content = bytes(range(256)) * 300
    (tmp_path / "f").write_bytes(content)
    assert LocalTarget().ask(TextRead(str(tmp_path / "f"))) == [content]


def test_scripts_cannot_disturb_each_other(tmp_path: Path) -> None:
    first, second, third, fourth = (
        ShellRead("cd /; exit_me() { exit 3; }; x=1; exec echo one"),
        ShellRead('echo "${x-unset}"; cat; pwd >/dev/null'),
        ShellRead("echo to stderr >&2; exit 7"),
        ShellRead("printf 'no end of line'"),
    )
    answers = LocalTarget().ask(first, second, third, fourth)
    assert answers[0] == ["one"]
    assert answers[1] == ["unset"]
    assert isinstance(answers[2], Failed)
    assert "to stderr" in answers[2].why
    assert answers[3] == ["no end of line"]


def test_output_cannot_pass_for_another_section() -> None:
    guess = "\n".join(f"hatfleet-{'0' * 24} {key} 0" for key in ("paths", "shell0", "shell1"))
    first, second = ShellRead(f"printf '{guess}\\n'"), ShellRead("echo real")
    answers = LocalTarget().ask(first, second)
    assert answers[0] == guess.splitlines()
    assert answers[1] == ["real"]


def test_equal_reads_are_made_once() -> None:
    gathering = Gathering([ShellRead("echo x"), ShellRead("echo x"), PathRead("/a"), PathRead("/a")], live=True)
    assert gathering.script(new_mark()).count("echo x") == 1


def test_a_cut_answer_is_an_error() -> None:
    gathering = Gathering([ShellRead("echo x"), ShellRead("echo y")], live=True)
    mark = new_mark()
    with pytest.raises(OperationError, match="no 'shell1' in the answer"):
        gathering.answers(f"x\n\n{mark} shell0 0\ny".encode(), mark)


def test_units_are_found_by_any_of_their_names() -> None:
    gathering = Gathering([UnitRead("sshd.service"), UnitRead("none.service"), UnitRead("m.service")], live=True)
    mark = new_mark()
    output = (
        "Names=sshd.service ssh.service\nLoadState=loaded\nUnitFileState=enabled\nActiveState=active\n"
        "ConditionResult=yes\nConditionTimestampMonotonic=1\nNeedDaemonReload=yes\n\n"
        "Names=m.service\nLoadState=masked\nUnitFileState=enabled\nActiveState=inactive\n"
        "ConditionResult=no\nConditionTimestampMonotonic=5\nNeedDaemonReload=no\n"
    )
    answers = gathering.answers(f"{output}\n{mark} units 0\n".encode(), mark)
    assert answers[UnitRead("sshd.service")] == UnitState("enabled", "active", needs_reload=True)
    assert answers[UnitRead("m.service")] == UnitState("masked", "inactive", condition_failed=True)
    assert answers[UnitRead("none.service")] == UnitState("")


def test_packages_are_asked_for_together_and_answered_apart() -> None:
    first, second = PackagesRead(("dpkg", "not-a-package-at-all")), PackagesRead(("coreutils",))
    target = LocalTarget()
    answers = target.ask(first, second)
    assert [set(answer) for answer in answers] == [{"dpkg"}, {"coreutils"}]
    show = ["dpkg-query", "-W", "-f", "${Version}", "dpkg"]
    version = subprocess.run(show, capture_output=True, text=True, check=True).stdout
    assert answers[0]["dpkg"] == PackageState("installed", "install", version)
    assert target.scripts[0].count("dpkg-query") == 1


def test_a_package_that_was_never_installed_has_no_version() -> None:
    read = PackagesRead(("gone", "held", "left", "unknown"))
    gathering, mark = Gathering([read], live=False), "mark"
    said = "held installed hold 1:2.0-1+b1\nleft config-files deinstall 2\ngone:arm64 not-installed unknown \n"
    assert gathering.answers(f"{said}\n{mark} packages 0\n".encode(), mark)[read] == {
        "held": PackageState("installed", "hold", "1:2.0-1+b1"),
        "left": PackageState("config-files", "deinstall", "2"),
        "gone": PackageState("not-installed", "unknown", ""),
    }


def test_what_a_changed_file_may_touch() -> None:
    changed = "/etc/systemd/system/a.service"
    assert PathRead(changed).depends_on(changed, below=False)
    assert PathRead("/etc/systemd/system").depends_on(changed, below=False), "a file makes its folders"
    assert PathRead(f"{changed}/below").depends_on(changed, below=True)
    assert not PathRead(f"{changed}/below").depends_on(changed, below=False)
    assert not PathRead("/etc/systemd/system/a").depends_on(changed, below=True)
    assert TextRead(f"{changed}/below").depends_on(changed, below=True)
    assert UnitRead("any.service").depends_on(changed, below=False)
    assert not UnitRead("any.service").depends_on("/etc/motd", below=True)
    assert not PackagesRead(("x",)).depends_on(changed, below=True)
    assert ShellRead("anything").depends_on("/etc/motd", below=False)


def test_state_of_a_missing_path_has_no_rights() -> None:
    assert LocalTarget().ask(PathRead("/nonexistent/a")) == [PathState("absent")]
