"""The engine, through a real worker process and a real SSH connection, with roles written for it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from hatfleet.common.errors import ExitCode, InputError
from hatfleet.fleet.engine.lease import Lease
from hatfleet.fleet.job import HostJob, Job, Mode
from hatfleet.fleet.results import Event, HostState, OpStarted, RunReport, Status
from hatfleet.fleet.runner import run_job
from tests.ssh_server import SshServer

MakeRole = Callable[[str, str], Path]
MakeJob = Callable[..., Job]

TWO_FILES = """
    def image(settings):
        first = ops.file(name="first", path=settings.root + "/a", content="one\\n", mode="0640", **OWNER)
        ops.on_change(name="follow", triggers=[first], command=f"echo ran >> {settings.root}/log")

    def device(settings, device):
        ops.file(name="second", path=settings.root + "/b", content=device.name + "\\n", **OWNER)
"""


@pytest.fixture(autouse=True)
def owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the operations keep the owner they find: the tests may not run as root."""
    import grp
    import pwd

    user, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    monkeypatch.setattr(sys.modules[__name__], "OWNER", f"OWNER = dict(owner={user!r}, group={group!r})\n")


OWNER = ""


def statuses(report: RunReport) -> dict[str, Status]:
    return {op.name: op.status for op in report.hosts[0].operations}


def role(make_role: MakeRole, code: str, name: str = "demo") -> None:
    make_role(name, OWNER + textwrap.dedent(code))


def test_plan_shows_the_diff_and_changes_nothing(make_role: MakeRole, make_job: MakeJob, tmp_path: Path) -> None:
    role(make_role, TWO_FILES)
    report = run_job(make_job("demo", mode=Mode.PLAN))
    assert statuses(report) == dict.fromkeys(("first", "follow", "second"), Status.CHANGED)
    assert "+one" in report.hosts[0].operations[0].changes[0].diff
    assert list((tmp_path / "target").iterdir()) == []
    assert report.exit_code is ExitCode.OK


def test_apply_then_apply_again_changes_nothing(make_role: MakeRole, make_job: MakeJob, tmp_path: Path) -> None:
    role(make_role, TWO_FILES)
    first, second = run_job(make_job("demo")), run_job(make_job("demo"))
    assert first.hosts[0].state is HostState.CHANGED
    assert second.hosts[0].state is HostState.OK
    assert set(statuses(second).values()) == {Status.OK}
    target = tmp_path / "target"
    assert ((target / "a").read_text(), (target / "b").read_text()) == ("one\n", "node-1\n")
    assert (target / "a").stat().st_mode & 0o777 == 0o640
    assert (target / "log").read_text() == "ran\n"


def test_only_what_was_damaged_is_repaired(make_role: MakeRole, make_job: MakeJob, tmp_path: Path) -> None:
    role(make_role, TWO_FILES)
    run_job(make_job("demo"))
    (tmp_path / "target" / "b").write_text("damaged")
    report = run_job(make_job("demo"))
    assert statuses(report) == {"first": Status.OK, "follow": Status.OK, "second": Status.CHANGED}


def test_failing_operation_stops_its_host_with_the_reason(
    make_role: MakeRole, make_job: MakeJob, tmp_path: Path
) -> None:
    code = """
    def image(settings):
        ops.file(name="bad", path=settings.root + "/a", content="x", validate="echo not like this >&2; false", **OWNER)
        ops.file(name="after", path=settings.root + "/b", content="x", **OWNER)
    """
    role(make_role, code)
    report = run_job(make_job("demo"))
    assert report.exit_code is ExitCode.FAILED
    assert statuses(report) == {"bad": Status.FAILED}
    assert "not like this" in report.hosts[0].error
    assert list((tmp_path / "target").iterdir()) == [], "neither the file nor a temporary one may be left"


def test_role_that_raises_fails_its_host_only_by_name(make_role: MakeRole, make_job: MakeJob) -> None:
    role(make_role, "def image(settings):\n    raise ValueError('the role is wrong')\n")
    report = run_job(make_job("demo"))
    assert report.hosts[0].state is HostState.FAILED
    assert "the role is wrong" in report.hosts[0].error


def test_unreachable_host_does_not_stop_the_others(make_role: MakeRole, make_job: MakeJob, server: SshServer) -> None:
    role(make_role, TWO_FILES)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    key = f"[127.0.0.1]:{port} {server.host_key.get_name()} {server.host_key.get_base64()}\n"
    with (server.folder / "known_hosts").open("a") as known:
        known.write(key)
    gone = HostJob(name="node-2", connection=server.connection.model_copy(update={"port": port}), roles=())
    report = run_job(make_job("demo", hosts=(gone,)))
    assert [host.state for host in report.hosts] == [HostState.CHANGED, HostState.UNREACHABLE]
    assert report.exit_code is ExitCode.UNREACHABLE


def test_operations_of_different_hosts_keep_their_own_names(
    make_role: MakeRole, make_job: MakeJob, server: SshServer
) -> None:
    code = """
    def device(settings, device):
        ops.file(name=f"file of {device.name}", path=f"{settings.root}/{device.name}", content="x", **OWNER)
    """
    role(make_role, code)
    connection = server.connection.model_copy(update={"lease_file": f"{server.folder}/other-lease"})
    other = HostJob(name="node-2", connection=connection, roles=())
    report = run_job(make_job("demo", hosts=(other,)))
    assert [[op.name for op in host.operations] for host in report.hosts] == [["file of node-1"], ["file of node-2"]]


def test_connection_lost_in_mid_run_is_a_failure_not_a_success(
    make_role: MakeRole, make_job: MakeJob, server: SshServer
) -> None:
    code = """
    def image(settings):
        first = ops.file(name="first", path=settings.root + "/a", content="x", **OWNER)
        ops.on_change(name="slow", triggers=[first], command="sleep 30")
        ops.file(name="never", path=settings.root + "/b", content="x", **OWNER)
    """
    role(make_role, code)

    def cut(event: Event) -> None:
        if isinstance(event, OpStarted) and event.name == "slow":
            server.cut()

    report = run_job(make_job("demo"), cut)
    assert report.exit_code is ExitCode.FAILED
    assert statuses(report) == {"first": Status.CHANGED, "slow": Status.FAILED}


def test_killed_worker_is_a_failure_of_every_unfinished_host(make_role: MakeRole, make_job: MakeJob) -> None:
    code = """
    import os, signal

    def image(settings):
        os.kill(os.getpid(), signal.SIGKILL)
    """
    role(make_role, code)
    report = run_job(make_job("demo"))
    assert report.hosts[0].state is HostState.FAILED
    assert "worker process ended" in report.hosts[0].error


def test_interrupt_ends_the_worker_and_is_reported(make_role: MakeRole, make_job: MakeJob, tmp_path: Path) -> None:
    code = """
    def image(settings):
        first = ops.file(name="first", path=settings.root + "/a", content="x", **OWNER)
        ops.on_change(name="slow", triggers=[first], command="sleep 60")
    """
    role(make_role, code)
    job = tmp_path / "job.json"
    job.write_text(make_job("demo").model_dump_json())
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from hatfleet.fleet.job import Job\n"
        "from hatfleet.fleet.runner import run_job\n"
        "def stop(event):\n"
        "    if event.event == 'op-started' and event.name == 'slow':\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "report = run_job(Job.model_validate_json(Path(sys.argv[1]).read_text()), stop)\n"
        "print(report.hosts[0].state.value)\n"
        "sys.exit(report.exit_code)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, job], capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout.strip(), done.returncode) == ("interrupted", 128 + signal.SIGINT)


def test_role_that_does_not_load_is_bad_input(make_role: MakeRole, make_job: MakeJob) -> None:
    role(make_role, "import nonsense_that_is_not_there\n")
    with pytest.raises(InputError, match="does not load"):
        run_job(make_job("demo"))


def test_operations_of_pyinfra_keep_their_place_among_ours(
    make_role: MakeRole, make_job: MakeJob, tmp_path: Path
) -> None:
    code = """
    from pyinfra.operations import files, server

    def image(settings):
        ops.file(name="ours", path=settings.root + "/a", content="x", **OWNER)
        copied = server.shell(name="theirs", commands=[f"cp {settings.root}/a {settings.root}/b"])
        link = files.link(name="their link", path=settings.root + "/l", target=settings.root + "/b")
        ops.on_change(name="follow", triggers=[link], command=f"echo ran >> {settings.root}/log")
    """
    role(make_role, code)
    first, second = run_job(make_job("demo")), run_job(make_job("demo"))
    assert list(statuses(first).items()) == [
        ("ours", Status.CHANGED),
        ("theirs", Status.CHANGED),
        ("their link", Status.CHANGED),
        ("follow", Status.CHANGED),
    ]
    assert statuses(second) == {
        "ours": Status.OK,
        "theirs": Status.CHANGED,
        "their link": Status.OK,
        "follow": Status.OK,
    }
    assert (tmp_path / "target" / "b").read_text() == "x"
    assert (tmp_path / "target" / "log").read_text() == "ran\n"


def test_a_failing_operation_of_pyinfra_stops_its_host(make_role: MakeRole, make_job: MakeJob, tmp_path: Path) -> None:
    code = """
    from pyinfra.operations import server

    def image(settings):
        server.shell(name="theirs", commands=["echo not like this >&2; false"])
        ops.file(name="ours", path=settings.root + "/a", content="x", **OWNER)
    """
    role(make_role, code)
    report = run_job(make_job("demo"))
    assert statuses(report) == {"theirs": Status.FAILED}
    assert "not like this" in report.hosts[0].error
    assert list((tmp_path / "target").iterdir()) == []


def test_a_host_that_another_operator_changes_is_left_alone(
    make_role: MakeRole, make_job: MakeJob, tmp_path: Path, server: SshServer
) -> None:
    role(make_role, TWO_FILES)
    job = make_job("demo").model_copy(update={"lease_wait_s": 1.0})
    with subprocess.Popen(["/bin/sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None and other.stdout is not None
        other.stdin.write(f"( {Lease('ben@admin-2', 600, file=server.connection.lease_file).script}\n)\necho rc $?\n")
        other.stdin.flush()
        assert other.stdout.readline() == "rc 0\n"
        report = run_job(job)
        assert report.hosts[0].state is HostState.LOCKED
        assert "ben@admin-2 is changing this device" in report.hosts[0].error
        assert report.exit_code is ExitCode.FAILED
        assert list((tmp_path / "target").iterdir()) == []
        assert run_job(job.model_copy(update={"mode": Mode.PLAN})).hosts[0].state is HostState.CHANGED, (
            "a plan may look"
        )
    assert run_job(job).hosts[0].state is HostState.CHANGED


def test_a_plan_and_an_unchanged_apply_cost_few_commands(
    make_role: MakeRole, make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
    def image(settings):
        for number in range(24):
            ops.file(name=str(number), path=f"{settings.root}/{number}", content=str(number), **OWNER)
    """
    role(make_role, code)
    run_job(make_job("demo"))
    trace = tmp_path / "trace"
    monkeypatch.setenv("HATFLEET_TRACE", str(trace))
    assert run_job(make_job("demo")).hosts[0].state is HostState.OK
    assert len(trace.read_text().splitlines()) == 1


FOLLOWED = """
    def image(settings):
        first = ops.file(name="first", path=settings.root + "/a", content="x", **OWNER)
        ops.on_change(name="gate", triggers=[], command="true")
        ops.file(name="second", path=settings.root + "/b", content="x", validate=GATE, **OWNER)
        ops.on_change(name="follow", triggers=[first], command=f"echo ran >> {settings.root}/log")
"""


def test_what_follows_a_change_is_not_lost_with_the_run_that_made_it(
    make_role: MakeRole, make_job: MakeJob, tmp_path: Path, server: SshServer
) -> None:
    """The run fails between the change and what follows it; the next one finds the file as declared."""
    role(make_role, f"GATE = '[ -e {tmp_path}/open ]'\n" + textwrap.dedent(FOLLOWED))
    job = make_job("demo")
    assert statuses(run_job(job)) == {"first": Status.CHANGED, "gate": Status.OK, "second": Status.FAILED}
    log, follow_ups = tmp_path / "target" / "log", Path(server.connection.follow_ups_file)
    assert not log.exists()
    assert len(follow_ups.read_text().splitlines()) == 1
    (tmp_path / "open").touch()
    plan = run_job(job.model_copy(update={"mode": Mode.PLAN}))
    assert "an earlier run" in plan.hosts[0].operations[-1].changes[0].what
    second = statuses(run_job(job))
    assert (second["first"], second["follow"]) == (Status.OK, Status.CHANGED)
    assert (log.read_text(), follow_ups.read_text()) == ("ran\n", "")
    assert set(statuses(run_job(job)).values()) == {Status.OK}


def test_what_a_crash_of_the_device_left_behind_is_removed(
    make_role: MakeRole, make_job: MakeJob, tmp_path: Path
) -> None:
    role(make_role, TWO_FILES)
    left = tmp_path / "target" / ".hatfleet.abcdefgh"
    left.write_text("half a secr")
    run_job(make_job("demo"))
    assert not left.exists()


FOLDER = """
    import io, pathlib, tarfile

    class Tar:
        digest, about = "one", "1 MiB of nothing much"

        def __init__(self, root):
            self.root = pathlib.Path(root)

        def file(self):
            (self.root / "made").touch()
            if (self.root / "refuse").exists():
                raise ops.OperationError("the wheels cannot be fetched")
            path = self.root / "tar"
            with tarfile.open(path, "w:gz") as tar:
                member = tarfile.TarInfo("./content")
                # Far more than a shell takes as an argument, or SSH in one window; no mark or quote disturbs it.
                data = bytes(range(256)) * 16384
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
            return path

    def image(settings):
        laid = ops.tree(
            name="folder", path=settings.root + "/it", archive=Tar(settings.root), finish='echo done >"$new/finished"'
        )
        ops.on_change(name="follow", triggers=[laid], command=f"echo ran >> {settings.root}/log")
"""


def test_a_folder_is_sent_in_one_go_and_made_only_when_it_is_needed(
    make_role: MakeRole, make_job: MakeJob, tmp_path: Path
) -> None:
    role(make_role, FOLDER)
    target = tmp_path / "target"
    planned = run_job(make_job("demo", mode=Mode.PLAN)).hosts[0].operations[0]
    assert [change.what for change in planned.changes] == ["new folder: 1 MiB of nothing much"]
    assert list(target.iterdir()) == []
    assert statuses(run_job(make_job("demo"))) == dict.fromkeys(("folder", "follow"), Status.CHANGED)
    assert (target / "it" / "content").read_bytes() == bytes(range(256)) * 16384
    assert (target / "it" / "finished").exists()
    (target / "made").unlink()
    assert statuses(run_job(make_job("demo"))) == dict.fromkeys(("folder", "follow"), Status.OK)
    assert not (target / "made").exists()
    assert (target / "log").read_text() == "ran\n"


def test_a_folder_that_cannot_be_made_fails_the_host_and_changes_nothing_there(
    make_role: MakeRole, make_job: MakeJob, tmp_path: Path
) -> None:
    role(make_role, FOLDER)
    (tmp_path / "target" / "refuse").touch()
    report = run_job(make_job("demo"))
    assert report.hosts[0].state is HostState.FAILED
    assert report.hosts[0].error == "demo: folder: the wheels cannot be fetched"
    assert not (tmp_path / "target" / "it").exists()
