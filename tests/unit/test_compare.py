"""Comparing and changing many operations together: how few commands, in which order, with what memory."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from hatfleet import ops
from hatfleet.fleet.engine.compare import compare
from hatfleet.fleet.engine.declare import Declared
from hatfleet.fleet.engine.hostrun import HostRun
from hatfleet.fleet.job import HostJob, Mode
from hatfleet.fleet.results import Event, HostState, OpFinished, OpStarted, Status
from hatfleet.fleet.roles import Half
from hatfleet.ops import Command, Note, OperationError, PathRead, ShellRead, Steps, base, operation
from hatfleet.ops.steps import Declaration, Operation, declaring
from tests.unit.target import LocalTarget, compared, declared

OWNER: dict[str, Any] = {"owner": pwd.getpwuid(os.getuid()).pw_name, "group": grp.getgrgid(os.getgid()).gr_name}


def run(target: LocalTarget, call: Any) -> list[Event]:
    """Apply what a function declares to this machine; return the events."""
    events: list[Event] = []
    host = HostRun(HostJob(name="here", roles=()), Mode.APPLY, events.append)
    host.target = target
    declaration = Declaration(live=target.live)
    with declaring(declaration):
        call()
        host.declared = [Declared("demo", Half.IMAGE, one) for one in declaration.operations]
        host.compare()
        host.execute()
    host.finish()
    return events


def finished(events: list[Event]) -> dict[str, Status]:
    return {event.result.name: event.result.status for event in events if isinstance(event, OpFinished)}


def test_many_operations_with_nothing_to_do_read_once_and_change_nothing(tmp_path: Path) -> None:
    def role() -> None:
        for number in range(24):
            ops.file(path=f"{tmp_path}/{number}", content=str(number), name=str(number), **OWNER)

    run(LocalTarget(live=False), role)
    target = LocalTarget(live=False)
    events = run(target, role)
    assert set(finished(events).values()) == {Status.OK}
    assert len(target.scripts) == 1


def test_files_that_have_nothing_to_do_with_each_other_are_changed_in_one_command(tmp_path: Path) -> None:
    def role() -> None:
        ops.directory(path=f"{tmp_path}/d", **OWNER)
        for number in range(8):
            ops.file(path=f"{tmp_path}/d/{number}", content=str(number), name=str(number), **OWNER)

    target = LocalTarget(live=False)
    events = run(target, role)
    assert set(finished(events).values()) == {Status.CHANGED}
    assert sorted(path.read_text() for path in (tmp_path / "d").iterdir()) == [str(n) for n in range(8)]
    assert len(target.scripts) == 2, "one to read, one to change"


def test_what_lay_below_a_removed_folder_is_looked_at_again(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_text("x")
    (tmp_path / "d" / "f").chmod(0o644)

    def role() -> None:
        ops.absent(path=f"{tmp_path}/d", name="folder")
        ops.file(path=f"{tmp_path}/d/f", content="x", name="file", **OWNER)

    assert finished(run(LocalTarget(live=False), role)) == {"folder": Status.CHANGED, "file": Status.CHANGED}
    assert (tmp_path / "d" / "f").read_text() == "x"


def test_an_operation_sees_what_those_before_it_changed(tmp_path: Path) -> None:
    @operation()
    def count(*, folder: str) -> Steps:
        lines = yield ShellRead(f"ls {folder}")
        if "counted" not in lines:
            yield Note(folder, f"{len(lines)} files")
            yield Command(f"ls {folder} | wc -l >{folder}/counted")

    def role() -> None:
        ops.file(path=f"{tmp_path}/a", content="a", **OWNER)
        count(folder=str(tmp_path), name="first")
        count(folder=str(tmp_path), name="second")

    events = run(LocalTarget(live=False), role)
    assert finished(events) == {"file": Status.CHANGED, "first": Status.CHANGED, "second": Status.OK}
    changes = [
        event.result.changes[0].what for event in events if isinstance(event, OpFinished) and event.result.changes
    ]
    assert changes[1] == "1 files"


def test_a_trigger_holds_whatever_happens_between(tmp_path: Path) -> None:
    def role() -> None:
        first = ops.file(path=f"{tmp_path}/a", content="a", **OWNER)
        second = ops.file(path=f"{tmp_path}/b", content="b", name="same", **OWNER)
        ops.on_change(triggers=[first], command=f"echo x >>{tmp_path}/log", live_only=False, name="one")
        ops.on_change(triggers=[second], command=f"echo y >>{tmp_path}/log", live_only=False, name="two")

    (tmp_path / "b").write_text("b")
    (tmp_path / "b").chmod(0o644)
    assert finished(run(LocalTarget(live=False), role)) == {
        "file": Status.CHANGED,
        "same": Status.OK,
        "one": Status.CHANGED,
        "two": Status.OK,
    }
    assert (tmp_path / "log").read_text() == "x\n"


def test_the_first_failure_ends_the_batch_and_names_the_operation(tmp_path: Path) -> None:
    def role() -> None:
        ops.file(path=f"{tmp_path}/a", content="a", name="a", **OWNER)
        ops.file(path=f"{tmp_path}/b", content="b", name="b", validate="echo 'not this' >&2; false", **OWNER)
        ops.file(path=f"{tmp_path}/c", content="c", name="c", **OWNER)

    events = run(LocalTarget(live=False), role)
    assert finished(events) == {"a": Status.CHANGED, "b": Status.FAILED}
    assert [event.name for event in events if isinstance(event, OpStarted)] == ["a", "b"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    last = events[-1]
    assert last.event == "host-finished" and last.state is HostState.FAILED and "not this" in last.error


def test_two_commands_of_one_operation_stop_at_the_first_that_fails(tmp_path: Path) -> None:
    @operation()
    def both() -> Steps:
        yield Note("x", "y")
        yield Command("cat >&2; false", stdin=b"first said no")
        yield Command(f"touch {tmp_path}/second")

    events = run(LocalTarget(live=False), both)
    assert finished(events) == {"both": Status.FAILED}
    assert list(tmp_path.iterdir()) == []


def test_content_arrives_byte_by_byte(tmp_path: Path) -> None:
    content = bytes(range(256)) * 100 + b"\nhatfleet-EOF\n'\"$(x)"
    run(LocalTarget(live=False), lambda: ops.file(path=f"{tmp_path}/f", content=content, **OWNER))
    assert (tmp_path / "f").read_bytes() == content


def test_an_empty_file_is_a_file(tmp_path: Path) -> None:
    run(LocalTarget(live=False), lambda: ops.file(path=f"{tmp_path}/f", content="", **OWNER))
    assert (tmp_path / "f").read_bytes() == b""


def test_what_cannot_be_read_stops_before_anything_is_changed(tmp_path: Path) -> None:
    @operation()
    def unreadable() -> Steps:
        yield ShellRead("echo broken >&2; false")

    def role() -> None:
        ops.file(path=f"{tmp_path}/a", content="a", **OWNER)
        unreadable(name="the second")

    with pytest.raises(OperationError, match=r"the second: could not read .*broken"):
        run(LocalTarget(live=False), role)
    assert list(tmp_path.iterdir()) == []


def test_a_requirement_stops_before_anything_is_changed(tmp_path: Path) -> None:
    def role() -> None:
        ops.file(path=f"{tmp_path}/a", content="a", **OWNER)
        ops.require(script="echo bookworm", message="this is {found}")

    with pytest.raises(OperationError, match="this is bookworm"):
        run(LocalTarget(live=False), role)
    assert list(tmp_path.iterdir()) == []


def test_questions_that_follow_from_answers_travel_together(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_text("old")
    target = LocalTarget()
    found = compared(lambda: [ops.file(path=f"{tmp_path}/{name}", content="new", **OWNER) for name in "abc"], target)
    assert ["-old" in one.notes[0].diff for one in found] == [True] * 3
    assert len(target.scripts) == 2, "one for what is there, one for the old texts of the diffs"


def test_several_reads_at_once_are_answered_in_order() -> None:
    seen: list[Any] = []

    @operation()
    def two() -> Steps:
        answers = yield (ShellRead("echo 1"), PathRead("/nonexistent"))
        seen.extend(answers)

    compared(two)
    assert seen[0] == ["1"] and seen[1].kind == "absent"


def test_a_failing_prelude_leaves_everything_unread() -> None:
    target = LocalTarget()
    found = declared(lambda: ops.file(path="/nonexistent/x", content="x"))
    ended = compare(target, found, "echo who; exit 9\n")
    assert ended is not None and (ended.status, ended.stdout) == (9, b"who\n")
    assert not found[0].settled


def test_operations_outside_of_a_role_are_refused() -> None:
    with pytest.raises(OperationError, match="only be called by a role"):
        ops.file(path="/x", content="x")


def test_a_wrong_argument_is_found_where_it_is_written() -> None:
    with pytest.raises(TypeError, match="contnet"):
        declared(lambda: ops.file(path="/x", contnet="x"))


def test_the_digest_knows_every_argument() -> None:
    def digests(**arguments: Any) -> set[str]:
        return {one.digest() for one in declared(lambda: ops.file(path="/x", **arguments))}

    same = digests(content="x")
    assert same == digests(content="x")
    assert same.isdisjoint(digests(content="y") | digests(content="x", mode="0600"))
    assert digests(content=b"x").isdisjoint(digests(content=b"y"))


def test_an_operation_knows_what_it_may_change() -> None:
    (one,) = declared(lambda: ops.file(path="/etc/a", content=""))
    assert one.may_change(PathRead("/etc/a")) and not one.may_change(PathRead("/etc/b"))
    (anything,) = declared(lambda: ops.on_change(triggers=[], command="true"))
    assert isinstance(anything, Operation) and anything.may_change(PathRead("/etc/b"))


def test_a_file_of_the_device_is_written_into_its_state_and_the_images_link_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "STATE_FOLDER", str(tmp_path / "state"))
    link = tmp_path / "hostname"
    kept = Path(f"{tmp_path}/state{link}")
    kept.parent.mkdir(parents=True)
    link.symlink_to(kept)

    def role() -> None:
        ops.file(path=str(link), content="edge-01\n", name="host name", **OWNER)

    assert finished(run(LocalTarget(live=True), role)) == {"host name": Status.CHANGED}
    assert link.is_symlink()
    assert kept.read_text() == "edge-01\n"
    assert finished(run(LocalTarget(live=True), role)) == {"host name": Status.OK}


def test_any_other_link_at_the_path_of_a_file_is_replaced(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("not ours\n")
    link = tmp_path / "hostname"
    link.symlink_to(other)

    def role() -> None:
        ops.file(path=str(link), content="edge-01\n", name="host name", **OWNER)

    assert finished(run(LocalTarget(live=True), role)) == {"host name": Status.CHANGED}
    assert not link.is_symlink()
    assert other.read_text() == "not ours\n"
