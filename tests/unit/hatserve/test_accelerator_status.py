"""The accelerator's health on simulated machines: every state, and what brings it about."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hatserve.accelerator.config import load_config
from hatserve.accelerator.probe import probe
from hatserve.accelerator.status import State, Status, as_data
from hatserve.cli.main import main
from hatserve.system import System

from tests.unit.hatserve.machine_tree import Machine

UPLOADS = "\n".join(
    f"[{second:7.3f}] hailo1x 0001:01:00.0: {text}"
    for second, text in (
        (3.1, "Probing on: 1e60:45c4..."),
        (3.2, "Probing: Device enabled"),
        (9.4, "Timeout waiting for firmware file"),
        (9.5, "Failed writing SOC firmware on stage 2"),
        (9.6, "Firmware load failed"),
    )
)
LOST = "[HailoRT] [error] CHECK_SUCCESS failed with status=HAILO_COMMUNICATION_CLOSED(62)"
BUSY = "[HailoRT] [error] CHECK_SUCCESS failed with status=HAILO_OUT_OF_PHYSICAL_DEVICES(74)"


def look(machine: Machine, proc: Path | None = None, slept: list[float] | None = None) -> Status:
    system = System(machine.root, proc)
    return probe(system, load_config(system), sleep=(slept if slept is not None else []).append)


def remove_node(machine: Machine, name: str = "hailo0") -> None:
    (machine.root / "dev" / name).unlink()
    (machine.root / "sys/class/hailo_chardev" / name / "device").unlink()


def test_an_ai_hat_plus_2_in_order_is_ok(machine: Machine) -> None:
    machine.hat_plus_2()
    data = as_data(look(machine))
    assert (data["state"], data["reasons"]) == ("ok", ["the Hailo-10H answers, with firmware 5.1.1"])
    assert data["kind"] == {"expected": "hailo10h", "configured": True, "found": ["hailo10h"]}
    assert data["driver"] == {"wanted": "hailo1x_pci", "loaded": True, "bound": "hailo1x"}
    assert data["nodes"] == [{"path": "/dev/hailo0", "mode": "0660", "group": machine.group}]
    assert data["link"] == {"speed_gts": 8.0, "width": 1, "wanted_speed_gts": 8.0, "wanted_width": 1}
    assert data["firmware"] == {"version": "5.1.1", "architecture": "HAILO10H", "missing": []}
    assert data["versions"] == {
        "driver": "5.1.1",
        "firmware": "5.1.1",
        "library": "5.1.1",
        "command_line": "5.1.1",
        "bindings": "5.1.1",
        "equal": True,
        "odd": [],
    }
    assert data["temperature"]["soc_c"] == 48.3


def test_the_device_node_of_newer_drivers_is_found(machine: Machine) -> None:
    machine.hat_plus_2(driver="5.3.0")
    data = as_data(look(machine))
    assert data["state"] == "ok"
    assert [node["path"] for node in data["nodes"]] == ["/dev/h1x-0"]


def test_hailort_is_told_not_to_log_onto_a_read_only_root(machine: Machine) -> None:
    machine.hat_plus_2()
    look(machine)
    assert all(call.endswith("HAILORT_LOGGER_PATH=NONE") for call in machine.calls())
    assert machine.calls()


def test_it_is_found_by_its_number_wherever_it_is(machine: Machine) -> None:
    machine.configure(kind="hailo10h")
    machine.pci("1106:3483", "0000:01:00.0")
    machine.pci("1e60:45c4", "0000:02:00.0")
    data = as_data(look(machine))
    assert data["device"] == {"bus": "pci", "address": "0000:02:00.0", "id": "1e60:45c4"}


def test_no_accelerator_wanted_is_ok_and_says_so(machine: Machine) -> None:
    machine.configure(kind="none")
    status = look(machine)
    assert (status.state, status.reasons) == (State.OK, ("no accelerator is wanted: models run on the CPU",))
    assert as_data(status)["present"] is False


def test_an_accelerator_that_is_not_wanted_is_told(machine: Machine) -> None:
    machine.configure(kind="none")
    machine.pci("1e60:45c4")
    status = look(machine)
    assert status.state is State.OK
    assert "Hailo-10H (1e60:45c4) is there and not used" in status.reasons[0]


def test_without_a_configuration_what_is_found_counts(machine: Machine) -> None:
    assert look(machine).expected == "none"
    machine.pci("1e60:2864")
    status = look(machine)
    assert (status.expected, status.state) == ("hailo8", State.DEGRADED)
    assert as_data(status)["kind"]["configured"] is False


def test_a_wanted_accelerator_that_is_not_there_is_absent(machine: Machine) -> None:
    machine.configure(kind="hailo10h")
    status = look(machine)
    assert (status.state, status.reasons) == (State.ABSENT, ("no Hailo-10H (1e60:45c4) is on PCI",))


def test_another_chip_than_the_wanted_one_is_absent_and_named(machine: Machine) -> None:
    machine.configure(kind="hailo10h")
    machine.pci("1e60:2864")
    status = look(machine)
    assert status.state is State.ABSENT
    assert status.reasons == ("no Hailo-10H (1e60:45c4) is on PCI; there is Hailo-8 (1e60:2864) instead",)


def test_a_driver_that_is_not_loaded_is_degraded(machine: Machine) -> None:
    machine.hat_plus_2()
    remove_node(machine)
    (machine.root / "sys/bus/pci/devices/0001:01:00.0/driver").unlink()
    (machine.root / "sys/module/hailo1x_pci/version").unlink()
    (machine.root / "sys/module/hailo1x_pci").rmdir()
    status = look(machine)
    assert status.state is State.DEGRADED
    assert status.reasons == ("the driver hailo1x_pci is not loaded",)


def test_the_packages_of_the_other_family_are_named(machine: Machine) -> None:
    machine.configure(kind="hailo10h")
    machine.pci("1e60:45c4")
    machine.load("hailo_pci", "4.23.0")
    status = look(machine)
    assert status.state is State.DEGRADED
    assert "the loaded driver hailo_pci is for another family (Hailo-8); a Hailo-10H needs hailo1x_pci" in (
        status.reasons
    )


def test_a_driver_that_did_not_take_the_chip_is_degraded_with_the_kernels_words(machine: Machine) -> None:
    machine.hat_plus_2()
    remove_node(machine)
    (machine.root / "sys/bus/pci/devices/0001:01:00.0/driver").unlink()
    machine.program(
        "dmesg", "echo '[    3.1] hailo1x 0001:01:00.0: Failed to enable device err -5'; echo unrelated error"
    )
    status = look(machine)
    assert status.state is State.DEGRADED
    assert "is loaded and does not have the chip" in status.reasons[0]
    assert "Failed to enable device err -5" in status.reasons[0]


def test_a_firmware_upload_that_timed_out_is_wedged(machine: Machine) -> None:
    machine.hat_plus_2()
    remove_node(machine)
    (machine.root / "sys/bus/pci/devices/0001:01:00.0/driver").unlink()
    machine.program("dmesg", f"echo '{UPLOADS}'; echo '[  20.0] other: error'")
    slept: list[float] = []
    status = look(machine, slept=slept)
    assert status.state is State.WEDGED
    assert "Timeout waiting for firmware file" in status.reasons[0]
    assert slept == [], "the driver has given up: waiting does not help"


def test_a_timeout_before_the_drivers_last_try_is_not_why_it_failed(machine: Machine) -> None:
    machine.hat_plus_2()
    remove_node(machine)
    (machine.root / "sys/bus/pci/devices/0001:01:00.0/driver").unlink()
    later = "hailo1x 0001:01:00.0: Probing on: 1e60:45c4...\nhailo1x 0001:01:00.0: Probing: Failed init pcie resources"
    machine.program("dmesg", f"echo '{UPLOADS}\n{later}'")
    status = look(machine)
    assert status.state is State.DEGRADED
    assert "Failed init pcie resources" in status.reasons[0]


@pytest.mark.parametrize("words", ["SOC FIRST_STAGE firmware file, boot status 2", "vDMA boot data completion"])
def test_every_drivers_words_for_a_timeout_are_known(machine: Machine, words: str) -> None:
    machine.hat_plus_2()
    remove_node(machine)
    (machine.root / "sys/bus/pci/devices/0001:01:00.0/driver").unlink()
    machine.program("dmesg", f"echo 'hailo1x 0001:01:00.0: Timeout waiting for {words}'")
    assert look(machine).state is State.WEDGED


def test_a_driver_without_a_node_is_waited_for_and_then_wedged(machine: Machine) -> None:
    machine.hat_plus_2()
    machine.configure(kind="hailo10h", probe_attempts=4, probe_interval_s=7)
    remove_node(machine)
    slept: list[float] = []
    status = look(machine, slept=slept)
    assert (status.state, status.attempts, slept) == (State.WEDGED, 4, [7, 7, 7])
    assert "made no device node" in status.reasons[0]
    assert "4 times, 7 s apart" in status.reasons[-1]


def test_a_slow_first_upload_is_waited_for_and_ends_well(machine: Machine) -> None:
    machine.hat_plus_2()
    machine.configure(kind="hailo10h", probe_attempts=5)
    remove_node(machine)

    def upload(_seconds: float) -> None:
        """Finish the upload while the probe waits for the second time."""
        upload.waits += 1  # type: ignore[attr-defined]
        if upload.waits == 2:  # type: ignore[attr-defined]
            (machine.root / "sys/class/hailo_chardev/hailo0").rmdir()
            machine.node("hailo0", "hailo_chardev")

    upload.waits = 0  # type: ignore[attr-defined]
    system = System(machine.root)
    status = probe(system, load_config(system), sleep=upload)
    assert (status.state, status.attempts) == (State.OK, 3)


@pytest.mark.parametrize(
    ("status", "message"),
    [(62, LOST), (87, "[HailoRT] [error] Ioctl failed with HAILO_DRIVER_TIMEOUT(87)"), (87, "nothing is named")],
)
def test_a_chip_that_ends_the_connection_is_wedged(machine: Machine, status: int, message: str) -> None:
    machine.hat_plus_2()
    machine.fails(status, message)
    found = look(machine)
    assert found.state is State.WEDGED
    assert f"HailoRT status {status}" in found.reasons[0]
    assert found.attempts == 2


def test_a_chip_that_never_answers_is_wedged_in_bounded_time(machine: Machine) -> None:
    machine.hat_plus_2()
    machine.configure(kind="hailo10h", identify_timeout_s=0.2)
    machine.hailortcli("sleep 600")
    status = look(machine)
    assert status.state is State.WEDGED
    assert status.reasons[0] == "the chip does not answer: hailortcli did not answer within 0.2 s"


def test_an_answer_that_nobody_knows_is_degraded_not_ok(machine: Machine) -> None:
    machine.hat_plus_2()
    machine.hailortcli("echo Identifying board")
    status = look(machine)
    assert status.state is State.DEGRADED
    assert "could not be asked" in status.reasons[0]


def test_without_hailortcli_the_chip_cannot_be_asked(machine: Machine) -> None:
    machine.hat_plus_2()
    (machine.bin / "hailortcli").unlink()
    status = look(machine)
    assert (status.state, status.reasons) == (
        State.DEGRADED,
        ("the chip could not be asked: hailortcli is not installed",),
    )
    assert as_data(status)["unknown"]["firmware.version"] == "hailortcli is not installed"


@pytest.mark.parametrize(
    ("odd", "change"),
    [
        ("driver", lambda machine: machine.load("hailo1x_pci", "5.2.0")),
        ("firmware", lambda machine: machine.answers("5.2.0")),
        ("library", lambda machine: machine.packages(h10_hailort="5.2.0", python3_h10_hailort="5.1.1-1")),
        ("bindings", lambda machine: machine.packages(h10_hailort="5.1.1", python3_h10_hailort="5.2.0-1")),
        ("command line", lambda machine: machine.answers(cli="5.2.0")),
    ],
)
def test_the_odd_version_is_named(machine: Machine, odd: str, change: Any) -> None:
    machine.hat_plus_2()
    change(machine)
    status = look(machine)
    assert status.state is State.DEGRADED
    assert status.reasons == (f"versions differ: {odd} 5.2.0, but everything else is 5.1.1",)
    assert as_data(status)["versions"]["odd"] == [odd]


def test_without_a_majority_every_version_is_named(machine: Machine) -> None:
    machine.hat_plus_2()
    machine.load("hailo1x_pci", "5.2.0")
    machine.packages(h10_hailort="5.3.0")
    machine.fails(76, "Driver version is different: HAILO_INVALID_DRIVER_VERSION(76)")
    status = look(machine)
    assert "versions differ: driver 5.2.0, library 5.3.0, command line 5.1.1" in status.reasons


@pytest.mark.parametrize("file", ["u-boot-default.dtb.signed", "fitImage"])
def test_missing_firmware_files_are_named(machine: Machine, file: str) -> None:
    machine.hat_plus_2()
    path = machine.root / "lib/firmware/hailo/hailo10h" / file
    path.unlink()
    status = look(machine)
    assert status.state is State.DEGRADED
    assert file.replace("default", "*") in status.reasons[0]
    path.with_name(f"{file}.zst").write_text("packed")
    assert look(machine).state is State.OK


def test_firmware_of_another_family_on_the_chip_is_told(machine: Machine) -> None:
    machine.hat_plus_2()
    machine.answers(architecture="HAILO15H")
    assert "calls itself HAILO15H, wanted HAILO10H" in look(machine).reasons[0]


@pytest.mark.parametrize(
    ("speed", "width", "reason"),
    [
        ("5.0 GT/s PCIe", 1, "the PCIe link runs at 5 GT/s, wanted 8"),
        ("8.0 GT/s PCIe", 0, "the PCIe link has 0 lanes, wanted 1"),
    ],
)
def test_a_slow_link_is_degraded(machine: Machine, speed: str, width: int, reason: str) -> None:
    machine.hat_plus_2()
    machine.pci("1e60:45c4", speed=speed, width=width)
    status = look(machine)
    assert (status.state, status.reasons) == (State.DEGRADED, (reason,))


def test_another_speed_may_be_configured(machine: Machine) -> None:
    machine.hat_plus_2()
    machine.configure(kind="hailo10h", link_speed_gts=5)
    machine.pci("1e60:45c4", speed="5.0 GT/s PCIe")
    assert look(machine).state is State.OK


def test_a_node_that_everybody_may_open_is_degraded(machine: Machine) -> None:
    machine.hat_plus_2()
    (machine.root / "dev/hailo0").chmod(0o666)
    status = look(machine)
    assert status.reasons == ("everybody may open /dev/hailo0 (mode 0666), wanted its group only",)


def test_a_node_of_another_group_is_degraded(machine: Machine) -> None:
    machine.hat_plus_2()
    machine.configure(kind="hailo10h", node_group="hailo")
    status = look(machine)
    assert status.reasons == (f"/dev/hailo0 belongs to the group {machine.group}, wanted hailo",)


def hold(node: Path, program: Path | None = None) -> subprocess.Popen[bytes]:
    """Start a process that has a file open."""
    code = "import sys; held = open(sys.argv[1]); print(flush=True); sys.stdin.read()"
    argv = [sys.executable, "-c", code, str(node)]
    if program is not None:
        program.write_text(f"#!{sys.executable}\n{code}\n")
        program.chmod(0o755)
        argv = [str(program), str(node)]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_a_chip_that_a_process_holds_for_itself_is_degraded_and_the_process_named(machine: Machine) -> None:
    machine.hat_plus_2()
    machine.fails(74, BUSY)
    with hold(machine.root / "dev/hailo0") as process:
        status = look(machine, Path("/proc"))
        process.kill()
    assert status.state is State.DEGRADED
    assert f"(process {process.pid}), which has it for itself" in status.reasons[0]
    assert [holder["pid"] for holder in as_data(status)["holders"]] == [process.pid]


def test_a_session_that_another_process_keeps_us_from_is_not_taken_for_a_wedged_chip(machine: Machine) -> None:
    machine.hat_plus_2()
    machine.fails(62, LOST)
    with hold(machine.root / "dev/hailo0") as process:
        status = look(machine, Path("/proc"))
        process.kill()
    assert status.state is State.DEGRADED
    assert look(machine).state is State.WEDGED


def test_a_chip_that_our_own_service_holds_is_ok(machine: Machine) -> None:
    machine.hat_plus_2()
    machine.fails(73, "HAILO_DEVICE_IN_USE(73)")
    with hold(machine.root / "dev/hailo0", machine.bin / "hatserve") as process:
        status = look(machine, Path("/proc"))
        process.kill()
    assert (status.state, status.reasons) == (State.OK, ("the Hailo-10H is in use by our inference service",))


def test_a_chip_in_use_by_nobody_is_degraded(machine: Machine) -> None:
    machine.hat_plus_2()
    machine.fails(74, BUSY)
    assert "no process holds it" in look(machine).reasons[0]


def test_the_chips_temperature_comes_from_the_bindings(machine: Machine) -> None:
    machine.hat_plus_2()
    machine.bindings(
        "class Read:\n    ts0_temperature, ts1_temperature, sample_count = 51.25, 52.5, 3\n"
        "class Control:\n    def get_chip_temperature(self):\n        return Read\n"
        "class Device:\n    control = Control()\n    def __enter__(self):\n        return self\n"
        "    def __exit__(self, *_):\n        pass\n"
    )
    assert as_data(look(machine))["temperature"]["chip_c"] == 52.5


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("raise ImportError", "the bindings (hailo_platform) are not installed"),
        ("class Device:\n    def __init__(self):\n        raise RuntimeError('no device')", "no device"),
    ],
)
def test_without_a_temperature_the_reason_is_told(machine: Machine, code: str, why: str) -> None:
    machine.hat_plus_2()
    machine.bindings(code)
    data = as_data(look(machine))
    assert data["temperature"]["chip_c"] is None
    assert why in data["unknown"]["temperature.chip_c"]
    assert data["state"] == "ok"


def test_a_hailo_8_works_by_the_same_interface(machine: Machine) -> None:
    machine.configure(kind="hailo8")
    machine.pci("1e60:2864")
    machine.load("hailo_pci", "4.23.0")
    machine.bind("hailo")
    machine.node("hailo0", "hailo_chardev")
    machine.firmware("hailo8")
    machine.packages(hailort="4.23.0", python3_hailort="4.23.0-1")
    machine.answers("4.23.0", "HAILO8L", "4.23.0")
    assert look(machine).state is State.OK


def test_a_library_that_was_removed_and_left_its_configuration_has_no_version(machine: Machine) -> None:
    machine.packages(libedgetpu1_std="16.0")
    status = machine.root / "var/lib/dpkg/status"
    status.write_text(status.read_text().replace("install ok installed", "deinstall ok config-files"))
    machine.configure(kind="coral")
    machine.pci("1ac1:089a", speed="5.0 GT/s PCIe")
    assert as_data(look(machine))["versions"]["library"] is None


def test_a_coral_on_pci(machine: Machine) -> None:
    machine.configure(kind="coral")
    machine.pci("1ac1:089a", speed="5.0 GT/s PCIe")
    machine.load("apex", "1.2")
    machine.bind("apex")
    machine.node("apex_0", "apex")
    machine.write("/sys/bus/pci/devices/0001:01:00.0/apex/apex_0/temp", "41300\n")
    machine.packages(libedgetpu1_std="16.0")
    data = as_data(look(machine))
    assert (data["state"], data["temperature"]["chip_c"]) == ("ok", 41.3)
    assert (data["versions"]["library"], data["versions"]["driver"]) == ("16.0", "1.2")
    assert "tells no version" in data["unknown"]["firmware.version"]


@pytest.mark.parametrize("number", ["1a6e:089a", "18d1:9302"])
def test_a_coral_on_usb_needs_no_driver(machine: Machine, number: str) -> None:
    machine.configure(kind="coral")
    machine.usb(number)
    data = as_data(look(machine))
    assert (data["state"], data["device"]["bus"], data["link"]) == ("ok", "usb", None)
    assert [node["path"] for node in data["nodes"]] == ["/dev/bus/usb/002/003"]


def test_the_exit_code_says_whether_it_is_well(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.hat_plus_2()
    arguments = ["accelerator", "status", "--root", str(machine.root)]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("state     ok\n")
    assert "8 GT/s x1" in shown
    machine.fails(87, "")
    assert main([*arguments, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["state"] == "wedged"


def test_a_root_that_does_not_exist_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["accelerator", "status", "--root", "/no/such/folder"]) == 2
    assert "/no/such/folder" in capsys.readouterr().err


def test_the_probe_loads_nothing_but_the_standard_library(machine: Machine) -> None:
    machine.hat_plus_2()
    code = (
        "import sys; from hatserve.cli.main import main; main(['accelerator', 'status', '--root', sys.argv[1]]); "
        "print(sorted({'numpy', 'onnxruntime', 'ai_edge_litert', 'hailo_platform'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(machine.root)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
