"""What the role accelerator guarantees of files, units and the running chip, proved on the device."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hatfleet.compliance import agree, control, none_of, not_applicable

if TYPE_CHECKING:
    from roles.accelerator.settings import Settings

Host = Any

FILES = Path(__file__).parent / "files"

GROUP = "hailo"
RULES = "/usr/lib/udev/rules.d/90-hatfleet-accelerator.rules"
OPTIONS = "/etc/modprobe.d/hatfleet-accelerator.conf"
STATUS = "/etc/hatserve/accelerator.json"
SERVICE, TIMER = "hatfleet-accelerator.service", "hatfleet-accelerator.timer"
HATSERVE = "/opt/hatserve/bin/hatserve"

ETSI = "ETSI EN 303 645"
HAILORT = "HailoRT User Guide"

#: systemd's own scale: 0 (nothing reachable) to 10; below 2.0 its verdict is "OK" or better.
MAX_EXPOSURE = 2.0

#: Nodes of every kind, whatever the driver's version.
NODES = "/dev/hailo[0-9]* /dev/h1x-* /dev/apex_*"

#: PCI vendor and device, or USB vendor and product, of each kind.
IDS = {
    "hailo10h": ("0x1e60 0x45c4",),
    "hailo8": ("0x1e60 0x2864",),
    "coral": ("0x1ac1 0x089a", "1a6e 089a", "18d1 9302"),
}

#: PCIe speed at which a kind works, GT/s (Raspberry Pi documentation, AI HAT+; Coral M.2 Accelerator datasheet).
SPEED_GTS = {"hailo10h": 8.0, "hailo8": 8.0, "coral": 5.0}


def declared(host: Host, settings: Settings) -> str:
    """Return the kind that this device is meant to have; where it was to be found out, what the role found."""
    return settings.kind_on(host.run(f"cat {STATUS}").stdout)


def devices(host: Host) -> list[dict[str, str]]:
    """Return every accelerator on PCI and USB: its kind, driver, and for PCI speed and width of its link."""
    script = (
        "for d in /sys/bus/pci/devices/* /sys/bus/usb/devices/*; do "
        'ids=$(cat "$d/vendor" "$d/device" "$d/idVendor" "$d/idProduct" 2>/dev/null | tr "\\n" " "); '
        'driver=$(basename "$(readlink "$d/driver")"); '
        'echo "${d##*/}|${ids% }|$driver|$(cat "$d/current_link_speed" 2>/dev/null)|'
        '$(cat "$d/current_link_width" 2>/dev/null)"; done'
    )
    found = []
    for line in host.run(script).stdout.splitlines():
        address, ids, driver, speed, width = line.split("|")
        kind = next((kind for kind, known in IDS.items() if ids in known), None)
        if kind:
            found.append({"kind": kind, "address": address, "driver": driver, "speed": speed, "width": width})
    return found


def chip(host: Host, settings: Settings) -> dict[str, str]:
    """Return the declared accelerator of the running device; a device that is to have none has nothing to look at."""
    kind = declared(host, settings)
    if kind == "none":
        not_applicable("this device is declared to have no accelerator")
    own = [device for device in devices(host) if device["kind"] == kind]
    assert own, f"no {kind} is on PCI or USB; is the HAT seated, and PCIe switched on?"
    return own[0]


@control(
    "HF-ACC-001", "The nodes of an accelerator open for root and one group only", refs=["udev(7)", f"{ETSI} 5.6-7"]
)
def test_rules(host: Host) -> None:
    rights, _, text = host.run(f'stat -c "%U %a" {RULES}; cat {RULES}').stdout.partition("\n")
    assert rights == "root 644", f"{RULES} has owner and mode {rights or 'none'}, wanted root 644"
    assert text == (FILES / Path(RULES).name).read_text(), f"{RULES} is not the file that hatfleet ships"
    shadows = host.run(f"ls -d /etc/udev/rules.d/{Path(RULES).name} /run/udev/rules.d/{Path(RULES).name}").stdout
    none_of(shadows.split(), "files that take the place of these rules")
    # A final assignment (:=) of an earlier file would hold against ours.
    script = (
        "grep -lE 'hailo|h1x|apex' /etc/udev/rules.d/*.rules /run/udev/rules.d/*.rules /usr/lib/udev/rules.d/*.rules"
    )
    named = [path for path in host.run(f"{script} 2>/dev/null").stdout.split() if path != RULES]
    if named:
        final = host.run(f"grep -lE '(MODE|GROUP|OWNER):=' {' '.join(named)}").stdout.split()
        none_of(final, "rules that ours cannot change")


@control("HF-ACC-002", "The group of the accelerator is a system group without people", refs=[f"{ETSI} 5.6-7"])
def test_group(host: Host) -> None:
    entry = host.run(f"getent group {GROUP}").stdout.strip()
    assert entry, f"there is no group {GROUP}"
    _, _, number, members = entry.split(":")
    assert int(number) < 1000, f"{GROUP} has the number {number}; those of system groups are below 1000"
    people = [name for name in members.split(",") if name and _is_person(host, name)]
    none_of(people, f"people in the group {GROUP}, which is for services")


def _is_person(host: Host, name: str) -> bool:
    entry = host.run(f"getent passwd '{name}'").stdout.split(":")
    return len(entry) > 2 and int(entry[2]) >= 1000


@control("HF-ACC-003", "Device nodes have the declared group and mode", refs=[f"{ETSI} 5.6-7"], needs="boot")
def test_nodes(host: Host, settings: Settings) -> None:
    lines = host.run(f"stat -c '%n %U:%G %a' {NODES} 2>/dev/null").stdout.splitlines()
    if declared(host, settings) == "none":
        none_of((line.split()[0] for line in lines), "nodes of an accelerator that this device is not to have")
        return
    found = chip(host, settings)
    if "-" in found["address"] and ":" not in found["address"]:
        lines = host.run(
            f"d=/sys/bus/usb/devices/{found['address']}; "
            'stat -c "%n %U:%G %a" $(printf "/dev/bus/usb/%03d/%03d" $(cat $d/busnum) $(cat $d/devnum))'
        ).stdout.splitlines()
    assert lines, "the driver has made no device node"
    none_of((line for line in lines if line.split()[1:] != [f"root:{GROUP}", "660"]), "nodes with other rights")


@control("HF-ACC-004", "The device's own programs are told what it is meant to have", refs=["hatserve accelerator"])
def test_status_file(host: Host, settings: Settings) -> None:
    text = host.run(f"cat {STATUS}").stdout
    assert text, f"{STATUS} is missing"
    found = json.loads(text)
    keys = ("link_speed_gts", "link_width", "max_reboots_per_day", "probe_attempts")
    wanted = {"kind": declared(host, settings), **{key: getattr(settings, key) for key in keys}}
    agree({key: str(value) for key, value in found.items()}, {key: str(value) for key, value in wanted.items()}, STATUS)
    assert set(found) == set(wanted), f"{STATUS} has the keys {', '.join(found)}; wanted {', '.join(wanted)}"


@control(
    "HF-ACC-005", "The kind of accelerator is the one that the device has", refs=["hatserve accelerator"], needs="boot"
)
def test_kind(host: Host, settings: Settings) -> None:
    kinds = sorted({device["kind"] for device in devices(host)})
    kind = declared(host, settings)
    assert kinds == ([] if kind == "none" else [kind]), (
        f"the device has {', '.join(kinds) or 'no accelerator'}, declared is {kind}; "
        f"set accelerator.kind, or where it is to be found out: provision apply"
    )


@control("HF-ACC-006", "A chip that does not answer is looked after", refs=["systemd.timer(5)"], needs="boot")
def test_timer(host: Host) -> None:
    keys = "UnitFileState,ActiveState,NeedDaemonReload,FragmentPath,DropInPaths"
    wanted = {"UnitFileState": "enabled", "ActiveState": "active", "NeedDaemonReload": "no", "DropInPaths": ""}
    agree(_properties(host, keys, TIMER), {**wanted, "FragmentPath": f"/usr/lib/systemd/system/{TIMER}"}, TIMER)
    found = _properties(host, "Result,NeedDaemonReload,FragmentPath,DropInPaths", SERVICE)
    good = {"Result": "success", "NeedDaemonReload": "no", "DropInPaths": ""}
    agree(found, {**good, "FragmentPath": f"/usr/lib/systemd/system/{SERVICE}"}, SERVICE)


@control("HF-ACC-007", "The units of the recovery are the shipped ones", refs=[f"{ETSI} 5.6-7"])
def test_unit_files(host: Host) -> None:
    for name in (SERVICE, TIMER):
        path = f"/usr/lib/systemd/system/{name}"
        rights, _, text = host.run(f'stat -c "%U %a" {path}; cat {path}').stdout.partition("\n")
        assert rights == "root 644", f"{path} has owner and mode {rights or 'none'}, wanted root 644"
        assert text == (FILES / name).read_text(), f"{path} is not the file that hatfleet ships"


@control("HF-ACC-008", "The recovery runs in a sandbox", refs=[f"{ETSI} 5.6-7"], needs="boot")
def test_sandbox(host: Host) -> None:
    out = host.run(f"systemd-analyze security --no-pager {SERVICE}").stdout
    level = re.search(r"exposure level for \S+: ([0-9.]+)", out)
    assert level, f"systemd could not judge {SERVICE}"
    assert float(level[1]) <= MAX_EXPOSURE, f"systemd's exposure level is {level[1]}, wanted at most {MAX_EXPOSURE}"


@control("HF-ACC-009", "HailoRT writes no log file, for services and for logins", refs=[HAILORT])
def test_no_log_file(host: Host) -> None:
    for path, name in (
        ("/etc/systemd/system.conf.d/30-hatfleet-accelerator.conf", "manager.conf"),
        ("/etc/profile.d/hatfleet-accelerator.sh", "profile.sh"),
    ):
        assert host.run(f"cat {path}").stdout == (FILES / name).read_text(), f"{path} is not what hatfleet ships"


@control("HF-ACC-010", "The kernel module has the declared parameters", refs=["modprobe.d(5)"])
def test_parameters(host: Host, settings: Settings) -> None:
    kind = declared(host, settings)
    known = settings.stack_of(kind)
    text = host.run(f"cat {OPTIONS}").stdout
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    words = [
        f"{name}={'NY'[value] if isinstance(value, bool) else value}"
        for name, value in settings.options_of(kind).items()
    ]
    wanted = [f"options {known.module} {' '.join(words)}"] if known and words else []
    assert text and lines == wanted, f"{OPTIONS} says {lines or 'nothing'}, wanted {wanted or 'nothing'}"
    script = "grep -HE '^[[:space:]]*(options|blacklist|install)[[:space:]]+(hailo1x_pci|hailo_pci)' "
    others = host.run(f"{script} /etc/modprobe.d/*.conf /run/modprobe.d/*.conf /usr/lib/modprobe.d/*.conf").stdout
    none_of(
        (line for line in others.splitlines() if not line.startswith(f"{OPTIONS}:")), "other settings of the module"
    )


@control("HF-ACC-020", "The declared driver has the chip", refs=[HAILORT], needs="boot")
def test_bound(host: Host, settings: Settings) -> None:
    found = chip(host, settings)
    known = settings.stack_of(found["kind"])
    if known is None:
        not_applicable("a Coral Edge TPU on USB needs no driver of the kernel")
    module = host.run(f"basename $(readlink /sys/bus/pci/devices/{found['address']}/driver/module)").stdout.strip()
    assert module == known.module, f"{found['address']} is driven by {module or 'no module'}, wanted {known.module}"
    version = host.run(f"cat /sys/module/{module}/version").stdout.strip()
    wanted = settings.driver_release(found["kind"])
    assert version == wanted, (
        f"the loaded module is {version or 'of no version'}, wanted {wanted} (reboot after a change)"
    )


@control("HF-ACC-021", "The link to the chip has the declared speed and width", refs=["PCI Express"], needs="boot")
def test_link(host: Host, settings: Settings) -> None:
    found = chip(host, settings)
    if not found["speed"]:
        not_applicable("the accelerator is on USB")
    speed = float(found["speed"].split()[0])
    wanted = settings.link_speed_gts or SPEED_GTS[found["kind"]]
    assert (speed, int(found["width"])) == (wanted, settings.link_width), (
        f"the link runs at {speed:g} GT/s x{found['width']}, wanted {wanted:g} GT/s x{settings.link_width}"
    )


@control("HF-ACC-022", "The accelerator says itself that it is well", refs=["hatserve accelerator"], needs="boot")
def test_health(host: Host, settings: Settings) -> None:
    if host.run(f"test -x {HATSERVE}").rc != 0:
        not_applicable("hatserve is not installed on this device")
    if declared(host, settings) == "none":
        not_applicable("this device is declared to have no accelerator")
    answer = json.loads(host.run(f"{HATSERVE} accelerator status --json").stdout)
    assert answer["state"] == "ok", f"the accelerator is {answer['state']}: {'; '.join(answer['reasons'])}"


def _properties(host: Host, keys: str, unit: str) -> dict[str, str]:
    lines = host.check_output(f"systemctl show -p {keys} {unit}").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)
