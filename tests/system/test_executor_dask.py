"""Runs on a local Dask cluster with TLS: the same results as on this machine, whoever dies, and nothing to read."""

from __future__ import annotations

import getpass
import grp
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hatfleet.common.errors import ExitCode, InputError, UnreachableError
from hatfleet.common.site import Site
from hatfleet.fleet.executors.cluster import DaskExecutor, connect
from hatfleet.fleet.executors.cluster_task import Greeting, check_greetings
from hatfleet.fleet.executors.content import content_digest
from hatfleet.fleet.job import HostJob, Job, Mode
from hatfleet.fleet.results import Event, HostState, OpStarted, RunReport, Status
from hatfleet.fleet.runner import run_job
from tests.ssh_server import SshServer
from tests.system.dask_cluster import Cluster, dask_cluster, make_certificates

MakeRole = Callable[[str, str], Path]
MakeJob = Callable[..., Job]

#: Writes a file; where that is new, something takes a while.
SLOW_ROLE = f"""
    OWNER = dict(owner={getpass.getuser()!r}, group={grp.getgrgid(os.getgid()).gr_name!r})

    def device(settings, device):
        # A folder each: the "devices" share one disk, and an operation clears away what a crash left in its folder.
        first = ops.file(name="first", path=f"{{settings.root}}/{{device.name}}/first", content="x", **OWNER)
        ops.on_change(name="slow", triggers=[first], command="sleep 5")
        ops.file(name="last", path=f"{{settings.root}}/{{device.name}}/last", content="x", **OWNER)
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with dask_cluster(tmp_path_factory.mktemp("dask") / "cluster", workers=2) as running:
        yield running


def executor(cluster: Cluster, job: Job) -> DaskExecutor:
    return DaskExecutor(connect(cluster.address, *cluster.tls), Site(job.site), forks=50)


def others(server: SshServer, number: int) -> tuple[HostJob, ...]:
    return tuple(
        HostJob(
            name=f"node-{n}",
            connection=server.connection.model_copy(update={"lease_file": f"{server.folder}/lease-{n}"}),
            roles=(),
        )
        for n in range(2, number + 1)
    )


def outcome(report: RunReport) -> list[object]:
    """What two runs of the same job must have in common: everything but times."""
    return [
        (host.name, host.state, host.error, [op.model_dump(exclude={"seconds"}) for op in host.operations])
        for host in report.hosts
    ]


def children(process: subprocess.Popen[bytes]) -> list[int]:
    tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
    return [int(pid) for path in tasks for pid in path.read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(done: Callable[[], bool], seconds: float = 15) -> None:
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_cluster_gives_the_same_report_as_this_machine(
    cluster: Cluster, make_role: MakeRole, make_job: MakeJob, server: SshServer
) -> None:
    code = """
    def device(settings, device):
        if device.name == "node-3":
            raise ValueError("this one fails")
        ops.directory(name="folder", path=f"{settings.root}/{device.name}")
    """
    make_role("demo", code)
    job = make_job("demo", mode=Mode.PLAN, hosts=others(server, 3))
    local, remote = run_job(job), run_job(job, executor=executor(cluster, job))
    assert outcome(local) == outcome(remote)
    assert [host.state for host in remote.hosts].count(HostState.FAILED) == 1
    assert local.exit_code == remote.exit_code == ExitCode.FAILED
    assert [stage.hosts for stage in local.stages] == [stage.hosts for stage in remote.stages]


def test_bad_input_is_an_error_there_too(cluster: Cluster, make_role: MakeRole, make_job: MakeJob) -> None:
    make_role("demo", "import nonsense_that_is_not_there\n")
    job = make_job("demo")
    with pytest.raises(InputError, match="does not load"):
        run_job(job, executor=executor(cluster, job))


def test_what_the_scheduler_sees_of_a_job_cannot_be_read(
    cluster: Cluster, make_role: MakeRole, make_job: MakeJob
) -> None:
    """The scheduler's whole memory is searched: it knows the batch by its topic, and nothing that is in it."""
    secret, name = f"correct-horse-{os.urandom(8).hex()}", f"battery-staple-{os.urandom(8).hex()}"
    make_role("demo", "def device(settings, device):\n    ops.absent(name='x', path='/nowhere/' + settings.root)\n")
    job = make_job("demo")
    run = job.hosts[0].roles[0].model_copy(update={"settings": {"root": secret}})
    host = job.hosts[0].model_copy(update={"name": name, "roles": (run,)})
    job = job.model_copy(update={"hosts": (host,)})
    found: set[bytes] = set()

    def search(event: Event) -> None:
        if event.event != "host-started":
            words = rb"correct-horse-[0-9a-f]{16}|battery-staple-[0-9a-f]{16}|hatfleet-[0-9a-f]{32}"
            found.update(re.findall(words, memory(cluster.scheduler.pid)))

    report = run_job(job, search, executor=executor(cluster, job))
    assert report.exit_code is ExitCode.OK
    assert found, "the search finds nothing, whatever there is"
    assert all(word.startswith(b"hatfleet-") for word in found), found
    assert secret.encode() in memory(os.getpid()), "the search must be able to find a secret"


def memory(pid: int) -> bytes:
    """Return what a process has in writable memory."""
    parts = []
    with Path(f"/proc/{pid}/mem").open("rb", 0) as handle:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights = line.split()[:2]
            start, end = (int(part, 16) for part in span.split("-"))
            if rights.startswith("rw") and end - start < 1 << 28:
                handle.seek(start)
                try:
                    parts.append(handle.read(end - start))
                except OSError:
                    continue
    return b"".join(parts)


def test_a_killed_workers_batch_is_taken_over_by_one_that_came_later(
    tmp_path: Path, make_role: MakeRole, make_job: MakeJob, server: SshServer
) -> None:
    """The new worker cannot open what was sealed before it came: the batch must be sealed anew."""
    make_role("demo", textwrap.dedent(SLOW_ROLE))
    job = make_job("demo", hosts=others(server, 2))
    killed: list[int] = []

    def kill(event: Event) -> None:
        if isinstance(event, OpStarted) and event.name == "slow" and not killed:
            killed.extend(children(worker))
            worker.kill()
            lonely.start_worker()

    with dask_cluster(tmp_path / "lonely", workers=1) as lonely:
        worker = lonely.processes[1]
        report = run_job(job, kill, executor=executor(lonely, job))
    assert [host.state for host in report.hosts] == [HostState.CHANGED] * 2, outcome(report)
    for host in report.hosts:
        assert {op.name for op in host.operations} == {"first", "slow", "last"}
    statuses = {(host.name, op.name): op.status for host in report.hosts for op in host.operations}
    assert statuses["node-1", "first"] is Status.CHANGED, "changed by the worker that was killed, and still reported"
    assert killed
    wait_until(lambda: not any(alive(pid) for pid in killed))


def test_another_worker_takes_over_when_one_is_killed(cluster: Cluster, make_role: MakeRole, make_job: MakeJob) -> None:
    make_role("demo", textwrap.dedent(SLOW_ROLE))
    job = make_job("demo")

    killed: list[subprocess.Popen[bytes]] = []

    def kill(event: Event) -> None:
        if isinstance(event, OpStarted) and event.name == "slow" and not killed:
            killed.extend(process for process in cluster.processes[1:] if process.poll() is None and children(process))
            killed[0].kill()

    report = run_job(job, kill, executor=executor(cluster, job))
    assert report.hosts[0].state is HostState.CHANGED, outcome(report)
    assert len(killed) == 1
    cluster.start_worker()


CLIENT = """
import sys
from pathlib import Path
from hatfleet.common.site import Site
from hatfleet.fleet.executors.cluster import DaskExecutor, connect
from hatfleet.fleet.job import Job
from hatfleet.fleet.runner import run_job
job = Job.model_validate_json(Path(sys.argv[1]).read_text())
executor = DaskExecutor(connect(sys.argv[2], *map(Path, sys.argv[3:])), Site(job.site), 50)
report = run_job(job, lambda event: print(event.event, getattr(event, "name", ""), flush=True), executor=executor)
print(report.hosts[0].state.value, report.hosts[0].error)
sys.exit(report.exit_code)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_runs_on_when_the_client_is_stopped(
    cluster: Cluster, make_role: MakeRole, make_job: MakeJob, tmp_path: Path, number: signal.Signals
) -> None:
    make_role("demo", textwrap.dedent(SLOW_ROLE))
    (tmp_path / "job.json").write_text(make_job("demo").model_dump_json())
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, tmp_path / "job.json", cluster.address, *cluster.tls],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert client.stdout
    while (line := client.stdout.readline()) and "op-started slow" not in line:
        pass
    workers = [pid for process in cluster.processes[1:] if process.poll() is None for pid in children(process)]
    assert workers
    client.send_signal(number)
    output, errors = client.communicate(timeout=15)
    if number is signal.SIGINT:
        assert client.returncode == ExitCode.INTERRUPTED, errors
        assert "interrupted during demo: slow, after 1 operations" in output
        assert "Traceback" not in errors
    wait_until(lambda: not any(alive(pid) for pid in workers))


def test_only_encrypted_schedulers_are_used() -> None:
    with pytest.raises(InputError, match="not encrypted"):
        connect("tcp://127.0.0.1:8786")


def test_a_missing_certificate_is_named(tmp_path: Path) -> None:
    make_certificates(tmp_path / "tls")
    with pytest.raises(InputError, match="--tls-cert is missing"):
        connect("tls://127.0.0.1:1", tmp_path / "tls/ca.pem")
    with pytest.raises(InputError, match="--tls-ca: there is no file"):
        connect("tls://127.0.0.1:1", tmp_path / "none.pem")


def test_a_certificate_of_another_ca_is_refused(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hatfleet.fleet.executors.cluster.ANSWER_S", 1)
    make_certificates(tmp_path / "tls")
    with pytest.raises(UnreachableError, match="does not answer"):
        connect(cluster.address, tmp_path / "tls/ca.pem", tmp_path / "tls/cert.pem", tmp_path / "tls/key.pem")


def test_workers_must_have_the_same_site() -> None:
    check_greetings({"tls://a": Greeting("age1…", "digest")}, "digest")
    with pytest.raises(UnreachableError, match="no worker"):
        check_greetings({}, "digest")
    with pytest.raises(InputError, match="tls://b has other roles"):
        check_greetings({"tls://a": Greeting("age1…", "digest"), "tls://b": Greeting("age1…", "other")}, "digest")
    with pytest.raises(InputError, match="cannot run hatfleet"):
        check_greetings({"tls://a": ModuleNotFoundError("No module named 'hatfleet'")}, "digest")


def test_any_change_of_a_role_changes_the_digest(make_role: MakeRole) -> None:
    site = Site(make_role("demo", "x = 1\n"))
    before = content_digest(site)
    assert content_digest(site) == before
    (site.root / "roles" / "demo" / "templates").mkdir()
    (site.root / "roles" / "demo" / "templates" / "motd.j2").write_text("hello")
    with_template = content_digest(site)
    (site.root / "roles" / "demo" / "__init__.py").write_text("x = 2\n")
    assert len({before, with_template, content_digest(site)}) == 3


def test_without_dask_the_error_says_how_to_install_it() -> None:
    code = (
        "import sys; sys.modules['distributed'] = None\n"
        "from pathlib import Path\n"
        "from hatfleet.cli.executor_options import make_executor\n"
        "from hatfleet.common.errors import InputError\n"
        "files = dict.fromkeys(('tls_ca', 'tls_cert', 'tls_key'))\n"
        "assert make_executor(Path(), forks=1, scheduler=None, **files)\n"
        "try: make_executor(Path(), forks=1, scheduler='tls://127.0.0.1:1', **files)\n"
        "except InputError as error: print(error.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "pip install 'hatfleet[dask]'"
