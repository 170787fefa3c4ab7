from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from hatfleet.cli.lab import lab as lab_command
from hatfleet.common.errors import InputError, MissingToolError
from hatfleet.common.site import Site
from hatfleet.fleet.inventory.load import inventory_paths, load_inventory, select_hosts
from hatfleet.fleet.resolve import resolve_hosts
from hatfleet.lab import access, lifecycle, machine, process, qemu
from hatfleet.lab.device import Device, device_names, devices, lab_dir, load_device
from hatfleet.lab.firmware import BootFiles
from hatfleet.lab.images import check_unchanged, find_image
from hatfleet.lab.inventory import inventory_dir, known_hosts_file, update_inventory
from tests.unit.lab_tiny import some_key


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def record(name: str, *, port: int = 2201, host_key: str | None = f"ssh-ed25519 {some_key()}") -> Device:
    device = Device(
        name=name,
        image=Path("/image.img"),
        image_identity="1:1",
        user="admin",
        memory_mib=64,
        cpus=1,
        port=port,
        host_key=host_key,
    )
    device.save()
    return device


@pytest.fixture
def impostor() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for child in started:
        child.kill()
        child.wait()


def run_as(name: str, *arguments: str) -> subprocess.Popen[bytes]:
    """A process that looks like another program on its command line."""
    code = "import sys; print(flush=True); import time; time.sleep(60)"
    child = subprocess.Popen([name, "-c", code, *arguments], executable=sys.executable, stdout=subprocess.PIPE)
    assert child.stdout
    child.stdout.readline()
    return child


# --- names and records ---


def test_devices_are_numbered_from_one() -> None:
    assert device_names("edge", 2) == ["edge-01", "edge-02"]


@pytest.mark.parametrize("count", [0, -1, 100])
def test_a_count_out_of_range_is_an_error_that_says_the_range(count: int) -> None:
    with pytest.raises(InputError) as caught:
        device_names("edge", count)
    assert "1 to 99" in str(caught.value.hint)


@pytest.mark.parametrize("prefix", ["", "Edge", "-edge", "../x", "a/b", "edge 1", "x" * 40])
def test_a_prefix_that_is_no_host_name_is_refused(prefix: str) -> None:
    with pytest.raises(InputError, match="cannot begin a device name"):
        device_names(prefix, 1)


def test_records_are_read_back_as_written_and_listed_by_name() -> None:
    second, first = record("edge-02", port=2202), record("edge-01")
    assert devices() == [first, second]


def test_folders_without_a_record_are_no_devices() -> None:
    (lab_dir() / "edge-03").mkdir(parents=True)
    (lab_dir() / "inventory").mkdir()
    assert devices() == []


def test_an_unknown_device_is_an_error_with_the_nearest_name() -> None:
    record("edge-01")
    with pytest.raises(InputError) as caught:
        load_device("egde-01")
    assert "edge-01" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["../edge-01", "/etc", "", "locks", "edge-01/../edge-02"])
def test_a_name_cannot_leave_the_lab(name: str) -> None:
    record("edge-01")
    with pytest.raises(InputError):
        load_device(name)
    with pytest.raises(InputError):
        lifecycle.down([name])


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"name": "edge-01", "port": "x"}'])
def test_a_damaged_record_is_an_error_that_names_the_file_and_down_still_removes_it(content: str) -> None:
    record("edge-01").folder.joinpath("device.json").write_text(content)
    with pytest.raises(InputError, match=r"device\.json: the record"):
        load_device("edge-01")
    assert lifecycle.down(["edge-01"]) == ["edge-01"]
    assert devices() == []


def test_down_with_one_unknown_name_removes_nothing() -> None:
    device = record("edge-01")
    with pytest.raises(InputError):
        lifecycle.down(["edge-01", "edge-09"])
    assert device.folder.is_dir()


# --- ports ---


def test_a_free_port_can_be_listened_on_and_is_not_a_taken_one() -> None:
    port = machine.free_port()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
    even = range(0, 65536, 2)
    assert all(machine.free_port(taken=even) % 2 for _ in range(10))


def test_the_command_line_of_the_boot_partition_comes_first_and_commas_in_paths_are_escaped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "a,b"))
    boot = BootFiles(Path("vmlinuz"), Path("initrd"), "root=/dev/vda2 ro", partition=2)
    words = qemu.arguments(record("edge-01"), boot, Path("device.dtb"), qemu.Lines(8, 9))
    given = words[words.index("-append") + 1]
    assert given.split()[:2] == ["root=/dev/vda2", "ro"]
    assert "a,,b" in words[words.index("-drive") + 1]
    assert "kvm" not in " ".join(words)


# --- whose process is it ---


def test_a_process_that_names_our_pid_file_is_ours_and_can_be_killed(
    tmp_path: Path, impostor: list[subprocess.Popen[bytes]]
) -> None:
    pid_file = tmp_path / "qemu.pid"
    impostor.append(run_as("qemu-system-aarch64", "-pidfile", str(pid_file)))
    pid_file.write_text(f"{impostor[0].pid}\n")
    assert process.running_pid(pid_file) == impostor[0].pid
    assert process.kill(pid_file)
    assert process.running_pid(pid_file) is None
    assert process.wait_ended(pid_file, 0)


def test_a_supervisor_is_ours_by_its_module_and_its_own_pid_file(
    tmp_path: Path, impostor: list[subprocess.Popen[bytes]]
) -> None:
    pid_file, other = tmp_path / "supervisor.pid", tmp_path / "other.pid"
    impostor.append(run_as("python", process.SUPERVISOR, "edge-01", str(pid_file)))
    for path in (pid_file, other):
        path.write_text(f"{impostor[0].pid}\n")
    assert process.running_pid(pid_file) == impostor[0].pid
    assert process.running_pid(other) is None
    assert not process.send(other, signal.SIGKILL)
    assert process.send(pid_file, signal.SIGKILL)
    assert impostor[0].wait(10) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("program", "argument"), [("qemu-system-aarch64", "other.pid"), ("sleepy", "qemu.pid"), ("sleepy", "other.pid")]
)
def test_a_recycled_process_id_is_never_killed(
    tmp_path: Path, impostor: list[subprocess.Popen[bytes]], program: str, argument: str
) -> None:
    pid_file = tmp_path / "qemu.pid"
    impostor.append(run_as(program, str(tmp_path / argument)))
    pid_file.write_text(str(impostor[0].pid))
    assert process.running_pid(pid_file) is None
    assert not process.kill(pid_file)
    assert impostor[0].poll() is None


def test_a_zombie_is_not_running(tmp_path: Path, impostor: list[subprocess.Popen[bytes]]) -> None:
    pid_file = tmp_path / "qemu.pid"
    impostor.append(run_as("qemu-system-aarch64", str(pid_file)))
    pid_file.write_text(str(impostor[0].pid))
    impostor[0].kill()
    os.waitid(os.P_PID, impostor[0].pid, os.WEXITED | os.WNOWAIT)
    assert process.running_pid(pid_file) is None


@pytest.mark.parametrize("content", ["", "x", "-1", "0", "99999999999999999999", "1 2", "4194305"])
def test_a_damaged_pid_file_means_not_running(tmp_path: Path, content: str) -> None:
    pid_file = tmp_path / "qemu.pid"
    pid_file.write_text(content)
    assert process.running_pid(pid_file) is None


# --- images ---


def write_build(site: Path, name: str, platform: str = "virt", age_s: int = 0) -> Path:
    folder = site / "out" / name
    folder.mkdir(parents=True)
    image = folder / f"{name}-1.img"
    image.write_bytes(b"x")
    manifest = folder / "manifest.json"
    manifest.write_text(
        json.dumps(
            {"name": name, "platform": platform, "image": image.name, "sha256": name * 8, "admin_user": "ops", "x": 1}
        )
    )
    os.utime(manifest, (1_700_000_000 - age_s, 1_700_000_000 - age_s))
    return image


def test_the_newest_build_for_virtual_devices_is_the_default(tmp_path: Path) -> None:
    write_build(tmp_path, "old", age_s=100)
    newest = write_build(tmp_path, "new", age_s=50)
    write_build(tmp_path, "board", platform="rpi5")
    found = find_image(Site(tmp_path), None)
    assert (found.path, found.user, found.identity) == (newest, "ops", "sha256:" + "new" * 8)


def test_without_a_build_the_error_says_how_to_build(tmp_path: Path) -> None:
    write_build(tmp_path, "board", platform="rpi5")
    with pytest.raises(InputError) as caught:
        find_image(Site(tmp_path), None)
    assert "provision image build" in str(caught.value.hint)


def test_an_image_for_another_platform_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="an image for rpi5"):
        find_image(Site(tmp_path), write_build(tmp_path, "board", platform="rpi5"))


def test_an_image_that_changed_under_a_device_is_noticed(tmp_path: Path) -> None:
    image = tmp_path / "x.img"
    image.write_bytes(b"one")
    known = find_image(Site(tmp_path), image)
    device = record("edge-01").model_copy(update={"image": image, "image_identity": known.identity})
    check_unchanged(device)
    image.write_bytes(b"other")
    with pytest.raises(InputError, match="has changed"):
        check_unchanged(device)
    image.unlink()
    with pytest.raises(InputError, match="is gone"):
        check_unchanged(device)


def test_a_manifest_that_is_none_is_an_error_that_names_it(tmp_path: Path) -> None:
    write_build(tmp_path, "bad").with_name("manifest.json").write_text("{")
    with pytest.raises(InputError, match=r"manifest\.json"):
        find_image(Site(tmp_path), None)


# --- inventory ---


def test_the_inventory_is_one_that_provision_reads(tmp_path: Path) -> None:
    record("edge-01", port=2201)
    record("edge-02", port=2202)
    record("edge-03", port=2203, host_key=None)
    update_inventory()
    site = Site(tmp_path)
    inventory = load_inventory(inventory_paths(site, ["lab"]))
    hosts = select_hosts(inventory, "lab")
    assert hosts == ["edge-01", "edge-02"], "a device that never came up has no host key and is no host"
    connections = [job.connection for job in resolve_hosts(site, inventory, hosts, ())]
    assert [(each.address, each.port, each.user, each.become) for each in connections if each] == [
        ("127.0.0.1", 2201, "admin", True),
        ("127.0.0.1", 2202, "admin", True),
    ]
    assert {each.known_hosts for each in connections if each} == {known_hosts_file()}
    found = subprocess.run(
        ["ssh-keygen", "-F", "[127.0.0.1]:2202", "-f", known_hosts_file()], capture_output=True, text=True, check=True
    )
    assert some_key() in found.stdout


def test_the_lab_key_stays_among_the_admin_keys() -> None:
    record("edge-01")
    update_inventory()
    group = yaml.safe_load((inventory_dir() / "hosts.yaml").read_text())["all"]["children"]["lab"]
    key_file = Path(group["hosts"]["edge-01"]["ansible_ssh_private_key_file"])
    assert group["vars"]["base"]["admin"]["authorized_keys"] == [key_file.with_suffix(".pub").read_text().strip()]


def test_an_empty_lab_has_no_inventory() -> None:
    record("edge-01")
    update_inventory()
    lifecycle.down()
    assert not (inventory_dir() / "hosts.yaml").exists()
    assert not known_hosts_file().exists()


def test_ssh_verifies_the_pinned_key_and_offers_the_lab_key_only() -> None:
    command = access.ssh_command(record("edge-01"), ["uname", "-a"])
    assert command[-2:] == ["uname", "-a"]
    assert "admin@127.0.0.1" in command
    options = [command[index + 1] for index, word in enumerate(command) if word == "-o"]
    assert {"StrictHostKeyChecking=yes", "IdentitiesOnly=yes", "GlobalKnownHostsFile=/dev/null"} <= set(options)
    assert f'UserKnownHostsFile="{known_hosts_file()}"' in options


# --- the command line ---


def invoke(*arguments: str) -> tuple[int, str, BaseException | None]:
    result = CliRunner().invoke(lab_command, arguments)
    return result.exit_code, result.stdout, result.exception


def test_list_as_json_says_what_runs() -> None:
    record("edge-01")
    code, output, _ = invoke("list", "--json")
    assert code == 0
    (row,) = json.loads(output)
    assert (row["name"], row["state"], row["port"]) == ("edge-01", "stopped", 2201)


def test_an_empty_list_is_empty_json() -> None:
    assert json.loads(invoke("list", "--json")[1]) == []


def test_down_needs_names_or_all() -> None:
    assert invoke("down")[0] == 2
    assert invoke("down", "--all", "edge-01")[0] == 2


def test_ssh_to_a_device_that_is_off_says_how_to_start_it() -> None:
    record("edge-01")
    error = invoke("ssh", "edge-01")[2]
    assert isinstance(error, InputError)
    assert "lab start edge-01" in str(error.hint)


@pytest.mark.parametrize("command", ["ssh", "console", "start", "stop", "reboot", "down"])
def test_every_command_refuses_an_unknown_device(command: str) -> None:
    assert isinstance(invoke(command, "edge-01")[2], InputError)


@pytest.mark.parametrize("action", ["cut", "reset"])
def test_power_refuses_an_unknown_device(action: str) -> None:
    assert isinstance(invoke("power", "edge-01", action)[2], InputError)


def test_a_device_that_is_off_cannot_be_reset() -> None:
    record("edge-01")
    error = invoke("power", "edge-01", "reset")[2]
    assert isinstance(error, InputError)
    assert "lab start edge-01" in str(error.hint)


def test_the_tryboot_flag_does_not_go_with_a_power_cut() -> None:
    record("edge-01")
    assert invoke("power", "edge-01", "cut", "--tryboot")[0] == 2


def test_missing_qemu_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hatfleet.common.run.shutil.which", lambda tool, path: None)
    with pytest.raises(MissingToolError) as caught:
        lifecycle.up(1, site=Site(tmp_path))
    assert "qemu-system-arm" in str(caught.value.hint)


def test_more_memory_than_there_is_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    image = write_build(tmp_path, "edge")
    with pytest.raises(InputError, match="not enough memory"):
        lifecycle.up(1, image=image, memory_mib=10**9, site=Site(tmp_path))
    assert devices() == []


def test_down_with_an_empty_list_removes_nothing() -> None:
    record("edge-01")
    assert lifecycle.down([]) == []
    assert len(devices()) == 1


def test_console_prints_what_was_said_and_follow_ends_when_the_device_is_off() -> None:
    record("edge-01").console_log.write_bytes(b"one\r\n\x1b[31mtwo\x1b[0m\r\nunfinished")
    assert invoke("console", "edge-01")[1] == "one\ntwo\nunfinished\n"
    assert invoke("console", "edge-01", "--follow")[1] == "one\ntwo\nunfinished\n"
