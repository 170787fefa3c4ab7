"""Proofs of what the role harden guarantees about services and consoles, read from the running device."""

from __future__ import annotations

import re
from typing import Any

from hatfleet.compliance import control, none_of, not_applicable

CIS = "CIS Debian 12 v1.1.0"
ETSI = "ETSI EN 303 645"


@control(
    "HF-HARDEN-040",
    "Services that are not needed cannot be started",
    refs=[f"{CIS} {n}" for n in ("2.1.2", "2.1.9", "2.1.11", "2.1.12", "3.1.3")] + [f"{ETSI} 5.6-5"],
    needs="boot",
)
def test_services(host: Any, settings: Any) -> None:
    units = settings.services.units()
    text = host.check_output(f"systemctl show -p LoadState,ActiveState {' '.join(units)}")
    # By position: systemctl gives an alias its unit's name.
    blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in text.split("\n\n")]
    states = dict(zip(units, blocks, strict=True))
    none_of({unit for unit, state in states.items() if state["LoadState"] != "masked"}, "could be started")
    none_of({unit for unit, state in states.items() if state["ActiveState"] == "active"}, "run although masked")


@control(
    "HF-HARDEN-041",
    "No key combination reboots the device",
    refs=["systemd-system.conf(5): CtrlAltDelBurstAction"],
    needs="boot",
)
def test_ctrl_alt_del(host: Any) -> None:
    text = host.check_output("systemctl show -P LoadState ctrl-alt-del.target; systemctl show -P CtrlAltDelBurstAction")
    assert text.split()[:1] == ["masked"], f"ctrl-alt-del.target is {text.split()[:1]}, wanted masked"
    settings = host.check_output("systemd-analyze cat-config systemd/system.conf")
    found = re.findall(r"^CtrlAltDelBurstAction=(.*)$", settings, re.MULTILINE)
    assert found[-1:] == ["none"], f"CtrlAltDelBurstAction is {found[-1:]}, wanted none"


@control(
    "HF-HARDEN-042",
    "Nobody is asked for a login on a console that is not declared",
    refs=[f"{ETSI} 5.6-3", f"{ETSI} 5.6-4"],
    needs="boot",
)
def test_consoles(host: Any, settings: Any) -> None:
    units = settings.console.masked_units()
    if not units:
        not_applicable("logins on serial consoles and on the screen are both declared")
    instances = " ".join(unit.replace("@.", "@ttyprobe.") for unit in units)
    text = host.check_output(f"systemctl show -p Id,LoadState {instances}; echo; pgrep -a agetty || true")
    none_of(re.findall(r"^Id=(.*)\nLoadState=(?!masked)", text, re.MULTILINE), "logins that could be started")
    running = re.findall(r"^\d+ (.*agetty.*)$", text, re.MULTILINE)
    if settings.console.serial_login:
        running = [line for line in running if not re.search(r"tty(AMA|S|USB)|hvc", line)]
    if settings.console.local_login:
        running = [line for line in running if not re.search(r"tty\d", line)]
    none_of(running, "programs that ask for a login")


@control(
    "HF-HARDEN-043",
    "Emergency and rescue mode give nobody a root shell",
    refs=[f"{CIS} 5.4.2.4", f"{ETSI} 5.6-4"],
    needs="boot",
)
def test_emergency(host: Any) -> None:
    shadow = host.check_output("getent shadow root").split(":")[1]
    assert shadow.startswith(("!", "*")), "root has a usable password field"
    text = host.check_output("systemctl show -p Id,Environment,ExecStart emergency.service rescue.service")
    assert "SYSTEMD_SULOGIN_FORCE" not in text, "emergency or rescue mode would give a root shell without a password"
    assert len(re.findall(r"systemd-sulogin-shell", text)) >= 2, "emergency or rescue mode starts something of its own"


@control(
    "HF-HARDEN-044",
    "The kernel writes to the serial line only where that is declared",
    refs=[f"{ETSI} 5.6-4"],
    needs="boot",
)
def test_serial_kernel_console(host: Any, settings: Any) -> None:
    if settings.console.serial_kernel_messages:
        not_applicable("console.serial_kernel_messages is on: virtual devices need the console")
    active = host.check_output("cat /sys/class/tty/console/active").split()
    none_of([tty for tty in active if not re.fullmatch(r"tty\d+", tty)], "serial consoles of the kernel")
