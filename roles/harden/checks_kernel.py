"""Proofs of what the role harden guarantees about the kernel, read from the running device."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Any

from hatfleet.compliance import agree, control, none_of, not_applicable, words

CIS = "CIS Debian 12 v1.1.0"
ETSI = "ETSI EN 303 645"


@control(
    "HF-HARDEN-010",
    "Kernel parameters have the declared values",
    refs=[f"{CIS} {n}" for n in ("1.5.1", "1.5.2", "3.3.3", "3.3.4", "3.3.10")] + [f"{ETSI} 5.6-7"],
    needs="boot",
)
def test_sysctl(host: Any, settings: Any) -> None:
    declared = settings.kernel.parameters()
    names = " ".join(key.removeprefix("-") for key in declared)
    pairs = (line.partition("=") for line in host.run(f"/usr/sbin/sysctl -e {names}").stdout.splitlines())
    now = {key.strip(): " ".join(value.split()) for key, _, value in pairs}
    wanted = {key.removeprefix("-"): str(value) for key, value in declared.items()}
    there = {key: value for key, value in wanted.items() if f"-{key}" not in declared or key in now}
    agree(now, there, "running kernel parameters")


@control(
    "HF-HARDEN-011",
    "Every network interface ignores redirects and source routes and checks where packets come from",
    refs=[f"{CIS} {n}" for n in ("3.3.2", "3.3.5", "3.3.6", "3.3.7", "3.3.8", "3.3.9")],
    needs="boot",
)
def test_sysctl_interfaces(host: Any, settings: Any) -> None:
    declared = settings.kernel.interface_parameters()
    paths = [f"/proc/sys/net/{protocol}/conf/*/{key}" for protocol, keys in declared.items() for key in keys]
    lines = host.run(f"grep -H '' {' '.join(paths)}").stdout.splitlines()
    assert lines, "the kernel has no network parameters that could be read"
    wrong = []
    for path, _, value in (line.rpartition(":") for line in lines):
        _, _, _, _, protocol, _, interface, key = path.split("/")
        if int(value) != declared[protocol][key]:
            wrong.append(f"{protocol} {interface} {key} is {value}, wanted {declared[protocol][key]}")
    none_of(wrong, "network parameters")


@control(
    "HF-HARDEN-012",
    "No other file changes these kernel parameters at the next boot",
    refs=[f"{CIS} 3.3", "sysctl.d(5)"],
)
def test_sysctl_files(host: Any, settings: Any) -> None:
    wanted = {key.removeprefix("-"): str(value) for key, value in settings.kernel.parameters().items()}
    for protocol, keys in settings.kernel.interface_parameters().items():
        wanted |= {f"net.{protocol}.conf.*.{key}": str(value) for key, value in keys.items()}
    file, last = "", dict.fromkeys(wanted, ("", "nothing"))
    for line in host.check_output("systemd-analyze cat-config sysctl.d").splitlines():
        if line.startswith("# /"):
            file = line.removeprefix("# ")
        assignment = re.match(r"-?([a-z][^#;=\s]*)\s*=\s*(.*)", line)
        if not assignment:
            continue
        name, value = assignment[1].replace("/", "."), " ".join(assignment[2].split())
        for key in wanted:
            if fnmatchcase(key, name) or fnmatchcase(name, key):
                last[key] = (file, value)
    wrong = [
        f"{key} becomes {last[key][1]} by {last[key][0] or 'no file'}" for key in wanted if last[key][1] != wanted[key]
    ]
    none_of(wrong, "at the next boot (remove these lines, or declare them as kernel.sysctl)")


@control(
    "HF-HARDEN-013",
    "Kernel modules that are not needed cannot be loaded, and none of them is",
    refs=[f"{CIS} {n}" for n in ("1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4", "1.1.1.5", "1.1.1.8", "1.1.1.9")]
    + [f"{CIS} 3.2.1", f"{CIS} 3.2.2", f"{CIS} 3.2.3", f"{CIS} 3.2.4", "dev-sec linux-baseline os-10", f"{ETSI} 5.6-1"],
    needs="boot",
)
def test_modules_denied(host: Any, settings: Any) -> None:
    denied = {name.replace("-", "_") for name in settings.kernel.denied_modules()}
    text = host.check_output("/usr/sbin/modprobe -c | grep '^install ' || true; echo =; cut -d' ' -f1 /proc/modules")
    rules, _, loaded = text.partition("=\n")
    blocked = {line[1].replace("-", "_") for line in words(rules) if line[2:] == ["/bin/false"]}
    none_of(denied - blocked, "modules that could be loaded")
    none_of(denied & set(loaded.split()), "modules that are loaded now (unload them or reboot)")


@control(
    "HF-HARDEN-014",
    "Kernel modules that booting and updating need are not blocked",
    refs=["Deviation from dev-sec linux-baseline os-10 and CIS 1.1.1.6, 1.1.1.7, see docs/reference/harden.md"],
)
def test_modules_needed(host: Any, settings: Any) -> None:
    text = host.check_output("/usr/sbin/modprobe -c | grep -E '^(install|blacklist) ' || true")
    none_of({line[1] for line in words(text)} & set(settings.kernel.needed_modules()), "blocked, but needed")


@control(
    "HF-HARDEN-015",
    "The running kernel was started with the declared arguments, and with none that opens a way in",
    refs=[f"{CIS} 1.3.1.2", "Kernel Self Protection Project: recommended settings"],
    needs="boot",
)
def test_kernel_arguments(host: Any, settings: Any) -> None:
    text = host.check_output("cat /proc/cmdline; cat /boot/firmware/cmdline.txt 2>/dev/null || echo")
    now, _, file = (part.strip() for part in text.partition("\n"))
    missing = [argument for argument in settings.kernel.arguments() if argument not in now.split()]
    next_boot = [argument for argument in missing if argument in file.split()]
    none_of(set(missing) - set(next_boot), "arguments that the kernel does not have")
    none_of(next_boot, "arguments that are declared but need a reboot to hold")
    open_ways = re.compile(
        r"init=.*sh|single|rescue|emergency|rd\.break|(rd\.)?systemd\.(unit|debug.shell|mask).*|nokaslr"
    )
    more = re.compile(r"SYSTEMD_SULOGIN_FORCE=.*|systemd\.setenv=SYSTEMD_SULOGIN_FORCE.*|mitigations=off|apparmor=0")
    none_of([a for a in now.split() if open_ways.fullmatch(a) or more.fullmatch(a)], "dangerous arguments")


@control(
    "HF-HARDEN-016",
    "A mandatory access control module is active",
    refs=[f"{CIS} 1.3.1.2", f"{ETSI} 5.6-7"],
    needs="boot",
)
def test_lsm(host: Any) -> None:
    active = host.check_output("cat /sys/kernel/security/lsm").strip().split(",")
    assert "apparmor" in active, f"active security modules are {', '.join(active)}; AppArmor is not among them"


@control(
    "HF-HARDEN-017",
    "USB devices that are plugged in are not used",
    refs=[f"{CIS} 1.1.1.9", f"{ETSI} 5.6-3", f"{ETSI} 5.6-4"],
    needs="boot",
)
def test_usb(host: Any, settings: Any) -> None:
    path = "/sys/module/usbcore/parameters/authorized_default"
    found = host.run(f"cat {path}")
    if found.rc != 0:
        not_applicable("this kernel has no USB support loaded")
    wanted = settings.kernel.usb_default()
    assert found.stdout.strip() == wanted, (
        f"{path} is {found.stdout.strip()}, wanted {wanted} (a change needs a reboot)"
    )
