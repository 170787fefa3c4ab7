"""What the role governor guarantees, proved on the device."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hatfleet.compliance import control, not_applicable

if TYPE_CHECKING:
    from roles.governor.settings import Settings

Host = Any

FOLDER = Path(__file__).parent

UNIT = "hatfleet-governor.service"
UNIT_FILE = f"/usr/lib/systemd/system/{UNIT}"
SCRIPT = "/usr/lib/hatfleet/hatfleet-governor.sh"

CPUFREQ = "Linux kernel documentation, CPU Performance Scaling"
ETSI = "ETSI EN 303 645"

#: systemd's own scale: 0 (nothing reachable) to 10; below 2.0 its verdict is "OK" or better.
MAX_EXPOSURE = 2.0


def properties(text: str) -> dict[str, str]:
    """Read the lines KEY=VALUE that systemctl show prints."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def arguments(command_line: str) -> list[str]:
    """Return what a kernel command line says about the default governor."""
    return [word.partition("=")[2] for word in command_line.split() if word.startswith("cpufreq.default_governor=")]


@control("HF-GOV-001", "Every frequency domain of the CPU uses the declared governor", refs=[CPUFREQ], needs="boot")
def test_running_governor(host: Host, settings: Settings) -> None:
    out = host.run("grep -H . /sys/devices/system/cpu/cpufreq/policy*/scaling_governor").stdout
    found = dict(line.rsplit(":", 1) for line in out.splitlines())
    if not found:
        not_applicable("this machine has no CPU frequency scaling (no cpufreq policy in sysfs), as virtual ones do")
    wrong = {path.split("/")[-2]: governor for path, governor in found.items() if governor != settings.scaling_governor}
    assert not wrong, f"frequency domains with another governor: {wrong}; wanted {settings.scaling_governor}"


@control("HF-GOV-002", "The kernel command line on disk names the declared governor", refs=[CPUFREQ])
def test_command_line_file(host: Host, settings: Settings) -> None:
    text = host.run("cat /boot/firmware/cmdline.txt").stdout
    assert len(text.splitlines()) == 1, f"cmdline.txt has {len(text.splitlines())} lines; the firmware reads one"
    found = arguments(text)
    assert found == [settings.scaling_governor], (
        f"cpufreq.default_governor in cmdline.txt is {found or 'missing'}, wanted {settings.scaling_governor}"
    )


@control("HF-GOV-003", "The running kernel was started with the declared governor", refs=[CPUFREQ], needs="boot")
def test_running_command_line(host: Host, settings: Settings) -> None:
    found = arguments(host.check_output("cat /proc/cmdline"))
    assert found == [settings.scaling_governor], (
        f"the running kernel was started with cpufreq.default_governor {found or 'missing'}, "
        f"wanted {settings.scaling_governor}; if cmdline.txt is right, reboot the device"
    )


@control("HF-GOV-004", "The governor service is enabled and did its work", refs=["systemd.unit(5)"], needs="boot")
def test_service(host: Host) -> None:
    keys = "LoadState,UnitFileState,ActiveState,Result,ConditionResult,NeedDaemonReload"
    unit = properties(host.check_output(f"systemctl show -p {keys} {UNIT}"))
    assert unit.get("LoadState") == "loaded", f"{UNIT} is {unit.get('LoadState')}, wanted loaded"
    assert unit.get("UnitFileState") == "enabled", f"{UNIT} is {unit.get('UnitFileState')}, wanted enabled"
    assert unit.get("NeedDaemonReload") == "no", f"{UNIT} was changed after systemd read it"
    assert unit.get("Result") == "success", f"{UNIT} ended with {unit.get('Result')}"
    # Without cpufreq the unit's condition skips it, which is how it is meant.
    skipped = unit.get("ConditionResult") == "no"
    assert skipped or unit.get("ActiveState") == "active", f"{UNIT} is {unit.get('ActiveState')}, wanted active"


@control(
    "HF-GOV-005",
    "The governor service is the shipped one and nothing overrides it",
    refs=["systemd.unit(5)"],
    needs="boot",
)
def test_unit_file(host: Host, settings: Settings) -> None:
    unit = properties(host.check_output(f"systemctl show -p FragmentPath,DropInPaths,ExecStart {UNIT}"))
    assert unit.get("FragmentPath") == UNIT_FILE, f"{UNIT} is read from {unit.get('FragmentPath')}, wanted {UNIT_FILE}"
    assert not unit.get("DropInPaths"), f"drop-ins change {UNIT}: {unit.get('DropInPaths')}"
    template = (FOLDER / "templates" / f"{UNIT}.j2").read_text()
    wanted = template.replace("{{ governor }}", settings.scaling_governor)
    out = host.run(f'stat -c "%U %a" {UNIT_FILE}; cat {UNIT_FILE}').stdout
    rights, _, text = out.partition("\n")
    assert rights == "root 644", f"{UNIT_FILE} has owner and mode {rights}, wanted root 644"
    assert text == wanted, f"{UNIT_FILE} is not the file that hatfleet ships"


@control("HF-GOV-006", "The governor script is the shipped one", refs=[f"{ETSI} 5.6-7"])
def test_script(host: Host) -> None:
    rights, _, text = host.run(f'stat -c "%U %a" {SCRIPT}; cat {SCRIPT}').stdout.partition("\n")
    assert rights == "root 755", f"{SCRIPT} has owner and mode {rights or 'none'}, wanted root 755"
    wanted = (FOLDER / "files" / "hatfleet-governor.sh").read_text()
    assert text == wanted, f"{SCRIPT} is not the file that hatfleet ships"


@control("HF-GOV-007", "Raspberry Pi OS's own governor setting agrees", refs=["raspi-config"])
def test_raspi_config(host: Host, settings: Settings) -> None:
    found = re.findall(
        r'^CPU_DEFAULT_GOVERNOR="?(\w*)"?$', host.run("cat /etc/default/cpu_governor").stdout, re.MULTILINE
    )
    assert found == [settings.scaling_governor], (
        f"/etc/default/cpu_governor says {found or 'nothing'}, wanted {settings.scaling_governor}"
    )


@control("HF-GOV-008", "The governor service runs in a sandbox", refs=[f"{ETSI} 5.6-7"], needs="boot")
def test_sandbox(host: Host) -> None:
    out = host.run(f"systemd-analyze security --no-pager {UNIT}").stdout
    level = re.search(r"exposure level for \S+: ([0-9.]+)", out)
    assert level, f"systemd could not judge {UNIT}"
    assert float(level[1]) <= MAX_EXPOSURE, f"systemd's exposure level is {level[1]}, wanted at most {MAX_EXPOSURE}"
