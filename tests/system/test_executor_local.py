"""Worker processes: each batch once, never more hosts at work than allowed, and no way to end that loses a failure.

Most workers here are scripts of a few lines that keep to the contract up to the point that a test is about.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hatfleet.common.errors import ExitCode
from hatfleet.fleet.executors import local as executor_local
from hatfleet.fleet.executors.base import STOP_GRACE_S
from hatfleet.fleet.executors.local import LocalExecutor
from hatfleet.fleet.job import HostJob, Job, Mode
from hatfleet.fleet.results import Event, HostFinished, HostStarted, HostState, RunReport
from hatfleet.fleet.rollout import Amount, Rollout
from hatfleet.fleet.runner import run_job
from tests.ssh_server import SshServer

#: What every scripted worker begins with: say() prints an event, each host of a job ends as its name says.
WORKER = """
import json, os, signal, sys, time

def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)

def work(host):
    say("connected", host=host)
    say("host-finished", host=host, state=host.partition("-")[0], seconds=0.1)

def jobs():
    for line in sys.stdin:
        yield [host["name"] for host in json.loads(line)["hosts"]]
        say("job-finished")
"""


def script(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", WORKER + textwrap.dedent(code))


GOOD = script("""
    for hosts in jobs():
        for host in hosts:
            work(host)
""")


def job(*names: str) -> Job:
    hosts = tuple(HostJob(name=name, rootfs=Path("target"), roles=()) for name in names)
    return Job(mode=Mode.APPLY, site=Path(), hosts=hosts)


def run(
    command: tuple[str, ...],
    *names: str,
    forks: int = 50,
    on_event: Callable[[Event], None] = lambda event: None,
    rollout: Rollout | None = None,
) -> RunReport:
    return run_job(job(*names), on_event, rollout=rollout, executor=LocalExecutor(forks, command))


def states(report: RunReport) -> dict[str, str]:
    return {host.name: host.state.value for host in report.hosts}


def many(number: int, state: str = "ok") -> list[str]:
    return [f"{state}-{index}" for index in range(number)]


@pytest.mark.parametrize("forks", [1, 3, 50])
def test_every_host_is_done_once_by_few_workers(forks: int, tmp_path: Path) -> None:
    worker = script(f"""
        for hosts in jobs():
            for host in hosts:
                work(host)
                print(os.getpid(), host, file=open({str(tmp_path / "log")!r}, "a"))
    """)
    report = run(worker, *many(40), forks=forks)
    assert report.exit_code is ExitCode.OK
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert sorted(host for _, host in lines) == sorted(many(40))
    assert len({pid for pid, _ in lines}) <= min(forks, executor_local.MAX_WORKERS)


@pytest.mark.parametrize("forks", [1, 2, 5, 7])
def test_never_more_hosts_than_forks_are_at_work(forks: int) -> None:
    at_work: set[str] = set()
    most = 0

    def count(event: Event) -> None:
        nonlocal most
        if isinstance(event, HostStarted):
            at_work.add(event.host)
        elif isinstance(event, HostFinished):
            at_work.discard(event.host)
        most = max(most, len(at_work))

    run(GOOD, *many(30), forks=forks, on_event=count)
    assert 0 < most <= forks


def test_a_slow_host_does_not_hold_up_the_rest() -> None:
    """The slow host shares a worker with others; the hosts of later batches must go on without it."""
    order: list[str] = []
    worker = script("""
        for hosts in jobs():
            for host in sorted(hosts, key=lambda host: host == "ok-0"):
                time.sleep(2.0 if host == "ok-0" else 0)
                work(host)
    """)
    run(worker, *many(60), forks=8, on_event=lambda e: order.append(e.host) if isinstance(e, HostFinished) else None)
    assert order[-1] == "ok-0"
    assert len(order) == 60


@pytest.mark.parametrize(
    ("death", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "ended by SIGKILL"),
        ("sys.exit('the disk is full')", "ended with exit status 1 (the disk is full)"),
        ("sys.exit(0)", "ended with exit status 0"),
        ("print('garbage', flush=True); time.sleep(60)", "not an event"),
        ("say('connected', host='ok-2', surprise=1); time.sleep(60)", "not an event"),
        ("continue", "left this host out"),
    ],
)
def test_a_broken_worker_costs_its_batch_only(death: str, reason: str) -> None:
    worker = script(f"""
        for hosts in jobs():
            for host in hosts:
                if host == "ok-2":
                    {death}
                work(host)
    """)
    report = run(worker, *many(6), forks=1)
    assert report.exit_code is ExitCode.FAILED
    assert states(report) == dict.fromkeys(many(6), "ok") | {"ok-2": "failed"}
    assert reason in report.hosts[2].error


def test_what_was_done_before_a_crash_stays_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor_local, "MAX_WORKERS", 1)  # one batch with all hosts
    worker = script("""
        for hosts in jobs():
            work(hosts[0])
            say("connected", host=hosts[1])
            os.abort()
    """)
    assert states(run(worker, "changed-1", "ok-2", "ok-3")) == {
        "changed-1": "changed",
        "ok-2": "failed",
        "ok-3": "failed",
    }


def test_a_worker_that_hangs_on_exit_is_ended_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor_local, "END_GRACE_S", 0.2)
    worker = script("""
        for hosts in jobs():
            work(hosts[0])
        time.sleep(60)
    """)
    started = time.monotonic()
    assert run(worker, "ok-1").exit_code is ExitCode.OK
    assert time.monotonic() - started < 10


def test_a_worker_that_does_not_start_fails_every_host() -> None:
    report = run((sys.executable, "-c", "raise SystemExit('no module')"), *many(5), forks=2)
    assert set(states(report).values()) == {"failed"}
    assert "no module" in report.hosts[0].error


def test_max_fail_skips_the_rest_and_says_why() -> None:
    ends, rest = {"ok-1": "ok", "failed-2": "failed", "unreachable-3": "unreachable"}, many(9, "changed")
    report = run(GOOD, *ends, *rest, forks=1, rollout=Rollout(max_fail=Amount(1)))
    assert states(report) == ends | dict.fromkeys(rest, "skipped")
    assert "2 of 12 hosts failed, --max-fail allows 1" in report.stopped
    assert report.exit_code is ExitCode.FAILED


def test_as_many_failures_as_allowed_stop_nothing() -> None:
    report = run(GOOD, "failed-1", *many(5), forks=1, rollout=Rollout(max_fail=Amount(1)))
    assert not report.stopped
    assert "skipped" not in states(report).values()


def test_failures_add_up_over_the_stages() -> None:
    names = ["failed-1", "ok-2", "failed-3", "ok-4", "ok-5"]
    report = run(GOOD, *names, rollout=Rollout(serial=(Amount(2),), max_fail=Amount(1)))
    assert states(report)["ok-4"] == "ok", "the stage in which the limit is passed is finished"
    assert states(report)["ok-5"] == "skipped"
    assert [stage.hosts for stage in report.stages] == [("failed-1", "ok-2"), ("failed-3", "ok-4")]


def test_a_stage_starts_when_the_one_before_is_done() -> None:
    log: list[tuple[str, str]] = []
    run(GOOD, *many(7), on_event=lambda event: log.append((event.event, event.host)), rollout=Rollout((Amount(3),)))
    first_of_second = log.index(("host-started", "ok-3"))
    assert all(log.index(("host-finished", host)) < first_of_second for host in many(3))


INTERRUPTED_RUN = """
import sys
from hatfleet.fleet.executors.local import LocalExecutor
from hatfleet.fleet.runner import run_job
from tests.system.test_executor_local import job
report = run_job(job("ok-1", "ok-2"), lambda event: print(event.event, event.host, flush=True),
                 executor=LocalExecutor(1, (sys.executable, "-c", sys.argv[1])))
print({host.name: (host.state.value, host.error) for host in report.hosts})
sys.exit(report.exit_code)
"""

SLOW = script("""
    signal.signal(signal.SIGINT, lambda *_: (print("told", file=sys.stderr), sys.exit(130)))
    for hosts in jobs():
        say("connected", host=hosts[0])
        say("op-started", host=hosts[0], role="demo", name="slow")
        time.sleep(60)
""")

DEAF = script("""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for hosts in jobs():
        say("connected", host=hosts[0])
        say("op-started", host=hosts[0], role="demo", name="slow")
        time.sleep(60)
""")


def start(worker: tuple[str, ...]) -> subprocess.Popen[str]:
    """Start a run in a process of its own, and wait until its worker is in the middle of an operation."""
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED_RUN, worker[2]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    while "op-started" not in (line := process.stdout.readline()):
        assert line, "the run ended before its worker was at work"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_lets_the_worker_end_and_says_how_far_each_host_was(number: signal.Signals) -> None:
    process = start(SLOW)
    process.send_signal(number)
    output, errors = process.communicate(timeout=10)
    assert process.returncode == 130, errors
    assert "interrupted during demo: slow, after 0 operations" in output
    assert "interrupted before it was started" in output
    assert "Traceback" not in errors


def test_a_second_ctrl_c_ends_a_worker_that_does_not_listen_at_once() -> None:
    process = start(DEAF)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=10)
    assert time.monotonic() - started < STOP_GRACE_S - 1
    assert process.returncode == 130
    assert "interrupted during demo: slow" in output


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_real_worker_ends_with_a_parent_that_is_killed(
    make_role: Callable[[str, str], Path], make_job: Callable[..., Job], tmp_path: Path, server: SshServer
) -> None:
    code = f"""
    import os, pathlib
    def image(settings):
        pathlib.Path({str(tmp_path / "pid")!r}).write_text(str(os.getpid()))
        ops.require(script="sleep 60", message="")
    """
    make_role("demo", code)
    (tmp_path / "job.json").write_text(make_job("demo").model_dump_json())
    program = (
        "import sys; from pathlib import Path\n"
        "from hatfleet.fleet.job import Job; from hatfleet.fleet.runner import run_job\n"
        "run_job(Job.model_validate_json(Path(sys.argv[1]).read_text()))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, tmp_path / "job.json"])
    until = time.monotonic() + 20
    while not (tmp_path / "pid").exists() and time.monotonic() < until:
        time.sleep(0.05)
    worker = int((tmp_path / "pid").read_text())
    assert alive(worker)
    parent.kill()
    parent.wait()
    while alive(worker) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(worker)


def test_a_crash_in_a_role_costs_one_batch_of_a_real_run(
    make_role: Callable[[str, str], Path], make_job: Callable[..., Job], server: SshServer
) -> None:
    code = """
    import os
    def device(settings, device):
        if device.name == "node-2":
            os.abort()
    """
    make_role("demo", code)
    others = tuple(HostJob(name=f"node-{n}", connection=server.connection, roles=()) for n in (2, 3))
    report = run_job(make_job("demo", hosts=others), executor=LocalExecutor(forks=1))
    assert states(report) == {"node-1": "ok", "node-2": "failed", "node-3": "ok"}
    assert "ended by SIGABRT" in report.hosts[1].error
    assert report.hosts[1].state is HostState.FAILED
