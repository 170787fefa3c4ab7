"""The wall around a root file system: what runs inside can neither see nor touch the machine that builds it."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hatfleet.common.errors import CommandError, HatfleetError
from hatfleet.fleet.connectors.holder import ENVIRONMENT, Holder

pytestmark = pytest.mark.image


@pytest.fixture(scope="module")
def holder(rootfs: Path) -> Iterator[Holder]:
    os.environ["FOO_SECRET"] = "leaked"
    try:
        with Holder(rootfs) as running:
            yield running
    finally:
        del os.environ["FOO_SECRET"]


def shell(holder: Holder, script: str) -> str:
    return holder.check(["/bin/sh", "-c", script]).stdout.decode()


def mounts_below(path: Path) -> list[str]:
    return [line for line in Path("/proc/mounts").read_text().splitlines() if str(path) in line]


def test_the_environment_is_ours_and_nothing_of_the_builders(holder: Holder) -> None:
    lines = dict(line.split("=", 1) for line in shell(holder, "env").splitlines())
    lines.pop("PWD", None)
    lines.pop("_", None)
    assert lines == ENVIRONMENT


def test_the_programs_inside_are_the_targets(holder: Holder) -> None:
    assert shell(holder, "uname -m; dpkg --print-architecture") == "aarch64\narm64\n"


def test_processes_mounts_and_network_are_their_own(holder: Holder) -> None:
    assert len(shell(holder, "ls -d /proc/[0-9]*").split()) < 10
    assert shell(holder, "cat /proc/net/dev").count(":") == 1  # the loopback device alone
    assert "/dev/pts" in shell(holder, "cat /proc/mounts")
    assert mounts_below(holder.root) == []


def test_the_builders_kernel_cannot_be_set(holder: Holder) -> None:
    before = Path("/proc/sys/vm/swappiness").read_text()
    assert holder.execute(["/bin/sh", "-c", "echo 1 >/proc/sys/vm/swappiness"]).returncode != 0
    assert holder.execute(["/bin/sh", "-c", "echo 1 >/sys/kernel/uevent_helper"]).returncode != 0
    assert Path("/proc/sys/vm/swappiness").read_text() == before
    name = os.uname().nodename
    holder.execute(["/bin/sh", "-c", "echo stolen >/proc/sys/kernel/hostname; hostname stolen"])
    assert os.uname().nodename == name


def test_services_are_not_started_by_packages(holder: Holder) -> None:
    assert holder.execute(["/usr/sbin/policy-rc.d"]).returncode == 101


def test_a_link_to_the_builder_leads_to_the_image(holder: Holder, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    shell(holder, f"ln -s {victim} /root/evil")
    written = holder.execute(["/bin/sh", "-c", 'cat >"$1"', "sh", "/root/evil"], stdin=b"owned")
    assert written.returncode != 0  # inside, that folder does not exist
    assert victim.read_text() == "untouched"
    climb = "../" * 30 + str(victim)
    assert holder.execute(["/bin/cat", f"/root/{climb}"]).returncode != 0


def test_a_failing_command_is_an_error_with_its_words(holder: Holder) -> None:
    with pytest.raises(CommandError, match="exit status 3:\n    sorry"):
        holder.check(["/bin/sh", "-c", "echo sorry >&2; exit 3"])


def test_a_command_that_takes_too_long_is_ended_with_its_children(holder: Holder) -> None:
    with pytest.raises(TimeoutError):
        holder.execute(["/bin/sh", "-c", "sleep 4242; true"], timeout_s=1)
    time.sleep(0.3)
    assert "4242" not in shell(holder, "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -v grep || true")


def test_a_hostile_mount_point_is_refused(tmp_path: Path) -> None:
    for name in ("proc", "sys", "dev", "run"):
        (tmp_path / name).mkdir()
    (tmp_path / "tmp").symlink_to("/etc")
    with pytest.raises(HatfleetError, match="not a symbolic link"):
        Holder(tmp_path).start()
    (tmp_path / "tmp").unlink()
    (tmp_path / "tmp").mkdir()
    (tmp_path / "usr").symlink_to("/usr")
    with pytest.raises(HatfleetError, match="behind a symbolic link"):
        Holder(tmp_path).start()


def test_stopping_takes_everything_away(rootfs: Path) -> None:
    policy = rootfs / "usr/sbin/policy-rc.d"
    with Holder(rootfs) as second:
        second.check(["/bin/sh", "-c", "sleep 5151 >/dev/null 2>&1 &"])
        assert "5151" in _all_commands()
    assert "5151" not in _all_commands()
    assert mounts_below(rootfs) == []
    with pytest.raises(HatfleetError, match="nothing holds"):
        second.execute(["/bin/true"])
    assert not policy.exists() or policy.stat().st_size == 0


def test_a_killed_owner_leaves_no_process_and_no_mount(rootfs: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom hatfleet.fleet.connectors.holder import Holder\n"
        f"holder = Holder(Path({str(rootfs)!r}))\nholder.start()\nprint('up', flush=True)\n"
        "holder.execute(['/bin/sleep', '6161'])\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert owner.stdout is not None and owner.stdout.readline() == b"up\n"
    _wait(lambda: "6161" in _all_commands())
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    _wait(lambda: "6161" not in _all_commands().replace(code, ""))
    assert mounts_below(rootfs) == []


def test_the_connector_runs_commands_and_moves_files(rootfs: Path) -> None:
    """In a process of its own, as the worker runs it: pyinfra keeps global state."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "connector_script.py"), str(rootfs)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "True aarch64",
        "True from stdin",
        "False ",
        "accepted True seven",
        "timeout",
        "file b'\\x00\\xffbinary'",
        "refused",
        "connect refused",
    ]


def test_stdin_is_what_pyinfra_means_by_it() -> None:
    from hatfleet.fleet.connectors.base import stdin_bytes

    assert stdin_bytes(None) == b""
    assert stdin_bytes("line") == b"line\n"
    assert stdin_bytes(["a", "b\n"]) == b"a\nb\n"
    assert stdin_bytes(b"\x00raw") == b"\x00raw"
    assert stdin_bytes(io.StringIO("x\ny")) == b"x\ny\n"


def _all_commands() -> str:
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            commands.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(commands)


def _wait(condition: object, limit_s: float = 15) -> None:
    assert callable(condition)
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s, "it did not happen"
        time.sleep(0.1)
