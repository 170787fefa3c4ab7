"""Proofs of what the role harden guarantees, read from the running device."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from hatfleet.compliance import control, not_applicable

CIS = "CIS Debian 12 v1.1.0"
ETSI = "ETSI EN 303 645"

Sshd = dict[str, str]


def agree(found: Mapping[str, str], wanted: Mapping[str, str], what: str) -> None:
    """Assert that values are as wanted, naming every one that is not."""
    wrong = [f"{key} is {found.get(key, 'not set')!r}, wanted {value!r}" for key, value in wanted.items()]
    wrong = [line for line, (key, value) in zip(wrong, wanted.items(), strict=True) if found.get(key) != value]
    assert not wrong, f"{what}: {'; '.join(wrong)}"


def none_of(found: Iterable[str], what: str) -> None:
    """Assert that nothing was found."""
    items = sorted(found)
    more = f" and {len(items) - 8} more" if len(items) > 8 else ""
    assert not items, f"{what}: {', '.join(items[:8])}{more}"


def words(text: str) -> Iterator[list[str]]:
    """Yield the words of every line that is not empty."""
    return (line.split() for line in text.splitlines() if line.strip())


def sshd(host: Any, connection: str = "") -> Sshd:
    """Return sshd's effective settings, in general or for one kind of connection."""
    text = host.check_output(f"/usr/sbin/sshd -T {connection}")
    return {key.lower(): value for key, _, value in (line.partition(" ") for line in text.splitlines())}


# --- SSH


@control(
    "HF-HARDEN-001",
    "SSH lets in holders of a key only, and root never, whoever asks",
    refs=[f"{CIS} 5.1.9", f"{CIS} 5.1.10", f"{CIS} 5.1.19", f"{CIS} 5.1.20", f"{ETSI} 5.1-3", f"{ETSI} 5.1-5"],
)
def test_ssh_keys_only(host: Any) -> None:
    wanted = {
        "permitrootlogin": "no",
        "passwordauthentication": "no",
        "kbdinteractiveauthentication": "no",
        "permitemptypasswords": "no",
        "hostbasedauthentication": "no",
        "gssapiauthentication": "no",
        "pubkeyauthentication": "yes",
        "authenticationmethods": "publickey",
        "authorizedkeyscommand": "none",
        "authorizedkeysfile": ".ssh/authorized_keys",
    }
    agree(sshd(host), wanted, "sshd in general")
    # A Match block may change any of these for some accounts or addresses.
    script = (
        'getent passwd | while IFS=: read -r user _ _ _ _ _ shell; do case "$shell" in */nologin|*/false) continue;; '
        'esac; for from in 127.0.0.1 192.0.2.1; do echo "= $user from $from"; '
        '/usr/sbin/sshd -T -C "user=$user,host=probe.invalid,addr=$from"; done; done'
    )
    for block in host.check_output(script).split("= ")[1:]:
        who, _, text = block.partition("\n")
        pairs = (line.partition(" ") for line in text.splitlines())
        agree({key.lower(): value for key, _, value in pairs}, wanted, f"sshd for {who}")


@control(
    "HF-HARDEN-002",
    "SSH uses modern algorithms only",
    refs=[f"{CIS} 5.1.6", f"{CIS} 5.1.12", f"{CIS} 5.1.15", f"{ETSI} 5.5-1"],
)
def test_ssh_algorithms(host: Any) -> None:
    allowed = {
        "kexalgorithms": (
            *("mlkem768x25519-sha256", "sntrup761x25519-sha512", "sntrup761x25519-sha512@openssh.com"),
            *("curve25519-sha256", "curve25519-sha256@libssh.org"),
        ),
        "ciphers": ("chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com", "aes256-ctr"),
        "macs": ("hmac-sha2-512-etm@openssh.com", "hmac-sha2-256-etm@openssh.com"),
        "hostkeyalgorithms": ("ssh-ed25519-cert-v01@openssh.com", "ssh-ed25519"),
        "pubkeyacceptedalgorithms": (
            *("sk-ssh-ed25519-cert-v01@openssh.com", "ssh-ed25519-cert-v01@openssh.com"),
            *("sk-ssh-ed25519@openssh.com", "ssh-ed25519"),
        ),
        "casignaturealgorithms": ("sk-ssh-ed25519@openssh.com", "ssh-ed25519"),
    }
    effective = sshd(host)
    for kind, names in allowed.items():
        used = effective.get(kind, "").split(",")
        none_of(set(used) - set(names), f"sshd's {kind} have what is not allowed")


@control(
    "HF-HARDEN-003",
    "The device has one SSH host key, Ed25519, that only root can read",
    refs=[f"{CIS} 5.1.2", f"{ETSI} 5.1-3", f"{ETSI} 5.4-1"],
    needs="boot",
)
def test_ssh_host_key(host: Any) -> None:
    keys = re.findall(r"^hostkey (.+)$", host.check_output("/usr/sbin/sshd -T"), re.MULTILINE | re.IGNORECASE)
    assert keys == ["/etc/ssh/ssh_host_ed25519_key"], f"sshd uses {keys}, wanted only the Ed25519 key"
    found = host.check_output("stat -c '%a %U' /etc/ssh/ssh_host_ed25519_key")
    assert found == "600 root", f"the private host key has mode and owner {found!r}, wanted '600 root'"


@control(
    "HF-HARDEN-004",
    "SSH forwards nothing",
    refs=[f"{CIS} 5.1.8", f"{CIS} 5.1.21", f"{ETSI} 5.6-5"],
)
def test_ssh_forwards_nothing(host: Any) -> None:
    keys = ("allowtcpforwarding", "allowstreamlocalforwarding", "allowagentforwarding", "x11forwarding")
    more = ("gatewayports", "permittunnel", "permituserenvironment", "permituserrc")
    wanted = {"disableforwarding": "yes", **dict.fromkeys((*keys, *more), "no")}
    agree(sshd(host), wanted, "sshd")


@control(
    "HF-HARDEN-005",
    "SSH limits attempts, sessions and idle connections, and records who logs in",
    refs=[*(f"{CIS} 5.1.{n}" for n in (7, 13, 14, 16, 17, 18)), f"{ETSI} 5.1-5"],
)
def test_ssh_limits(host: Any, settings: Any) -> None:
    wanted = {
        "maxauthtries": str(settings.ssh.max_auth_tries),
        "maxsessions": str(settings.ssh.max_sessions),
        "maxstartups": "10:30:60",
        "logingracetime": str(settings.ssh.login_grace_s),
        "clientaliveinterval": str(settings.ssh.client_alive_s),
        "clientalivecountmax": "2",
        "loglevel": "VERBOSE",
    }
    agree(sshd(host), wanted, "sshd")


@control(
    "HF-HARDEN-006",
    "The SSH daemon that runs has no options that override its configuration, and keeps to PAM",
    refs=[f"{CIS} 5.1.22", f"{ETSI} 5.1-3"],
    needs="boot",
)
def test_ssh_daemon_options(host: Any) -> None:
    pid = host.check_output("systemctl show -P MainPID ssh.service")
    assert pid != "0", "ssh.service does not run"
    started = host.check_output(f"tr '\\0' ' ' </proc/{pid}/cmdline").strip()
    # sshd replaces its title by "sshd: /usr/sbin/sshd -D [listener] 0 of 10-30 startups".
    options = re.sub(r"\[listener\].*", "", started.removeprefix("sshd: ")).split()[1:]
    assert options == ["-D"], f"sshd was started with the options {options}, wanted only -D"
    usepam = sshd(host).get("usepam")
    assert usepam == "yes", f"sshd's UsePAM is {usepam!r}: sessions would have no limits"


@control(
    "HF-HARDEN-007",
    "SSH is reachable over its TCP port only, not over other sockets",
    refs=[f"{ETSI} 5.6-1"],
    needs="boot",
)
def test_ssh_sockets(host: Any) -> None:
    text = host.check_output("systemctl list-units --all --plain --no-legend 'ssh*.socket' 'sshd*.socket'")
    none_of({line[0] for line in words(text) if line[2] == "active"}, "sockets that start sshd on their own")


@control(
    "HF-HARDEN-008",
    "SSH does not tell which system this is",
    refs=[f"{CIS} 5.1.5", f"{ETSI} 5.6-2"],
    needs="boot",
)
def test_ssh_version(host: Any) -> None:
    said = host.check_output("bash -c 'exec 3<>/dev/tcp/127.0.0.1/22; IFS= read -r -t 10 line <&3; echo \"$line\"'")
    assert re.fullmatch(r"SSH-2\.0-OpenSSH_[0-9.]+(p[0-9]+)?\r?", said), f"sshd greets with {said!r}"
    banner = sshd(host).get("banner")
    assert banner == "/etc/issue.net", f"sshd shows the banner {banner!r}, wanted /etc/issue.net"


# --- Kernel


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


# --- Mounts


def mounted(host: Any, settings: Any, path: str) -> None:
    """Assert that a path is mounted with the declared options."""
    found = host.run(f"findmnt -rno OPTIONS --mountpoint {path}")
    assert found.rc == 0, f"{path} is not a mount of its own"
    options = found.stdout.strip().splitlines()[-1].split(",")
    missing = [option for option in settings.mounts.options()[path] if option not in options]
    none_of(missing, f"{path} is mounted without")


@control("HF-HARDEN-020", "Nothing in /tmp can be executed", refs=[f"{CIS} 1.1.2.1", f"{ETSI} 5.6-5"], needs="boot")
def test_tmp(host: Any, settings: Any) -> None:
    mounted(host, settings, "/tmp")
    script = "f=/tmp/.hatfleet-probe; printf '#!/bin/sh\\n' >$f && chmod 700 $f && $f; r=$?; rm -f $f; exit $r"
    assert host.run(script).rc == 126, "a script in /tmp could be executed"


@control("HF-HARDEN-021", "Nothing in /var/tmp can be executed", refs=[f"{CIS} 1.1.2.5", f"{ETSI} 5.6-5"], needs="boot")
def test_var_tmp(host: Any, settings: Any) -> None:
    mounted(host, settings, "/var/tmp")


@control("HF-HARDEN-022", "Nothing in /dev/shm can be executed", refs=[f"{CIS} 1.1.2.2", f"{ETSI} 5.6-5"], needs="boot")
def test_dev_shm(host: Any, settings: Any) -> None:
    mounted(host, settings, "/dev/shm")


@control(
    "HF-HARDEN-023",
    "/boot/firmware is read-only and nothing in it can be executed",
    refs=[f"{CIS} 1.4.2"],
    needs="boot",
)
def test_boot_firmware(host: Any, settings: Any) -> None:
    mounted(host, settings, "/boot/firmware")


@control(
    "HF-HARDEN-024",
    "/proc shows users only their own processes, where that is declared",
    refs=[f"{ETSI} 5.6-7"],
    needs="boot",
)
def test_proc(host: Any, settings: Any) -> None:
    mounted(host, settings, "/proc")
    if not settings.mounts.hide_processes:
        not_applicable("mounts.hide_processes is off: it breaks parts of systemd and polkit")


@control(
    "HF-HARDEN-025",
    "The mounts are set up the same way at the next boot",
    refs=[f"{CIS} 1.1.2"],
)
def test_mount_units(host: Any) -> None:
    text = host.check_output("systemctl is-enabled tmp.mount var-tmp.mount hatfleet-remount.service || true")
    states = dict(zip(("tmp.mount", "var-tmp.mount", "hatfleet-remount.service"), text.split(), strict=False))
    agree(states, dict.fromkeys(("tmp.mount", "var-tmp.mount", "hatfleet-remount.service"), "enabled"), "units")


# --- Network


def ruleset(host: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return base chains by hook, and all rules, of the packet filter in the kernel."""
    entries = json.loads(host.check_output("nft --json list ruleset"))["nftables"]
    chains = {e["chain"]["hook"]: e["chain"] for e in entries if "hook" in e.get("chain", {})}
    return chains, [e["rule"] for e in entries if "rule" in e]


@control(
    "HF-HARDEN-030",
    "The packet filter denies what is not declared, in and through",
    refs=[f"{CIS} 4.3.4", f"{CIS} 4.3.5", f"{CIS} 4.3.8", f"{ETSI} 5.6-1"],
    needs="boot",
)
def test_firewall_policy(host: Any, settings: Any) -> None:
    chains, _ = ruleset(host)
    found = {hook: chain.get("policy", "accept") for hook, chain in chains.items()}
    out = "accept" if settings.firewall.output_open else "drop"
    agree(found, {"input": "drop", "forward": "drop", "output": out}, "policies")


def ports(value: Any) -> Iterator[int]:
    """Yield the ports that a match of nft's JSON names."""
    if isinstance(value, int):
        yield value
    elif isinstance(value, dict) and "set" in value:
        for item in value["set"]:
            yield from ports(item)
    elif isinstance(value, dict) and "range" in value:
        yield from range(value["range"][0], value["range"][1] + 1)
    else:
        raise AssertionError(f"a rule matches ports in a way that this check cannot judge: {value}")


@control(
    "HF-HARDEN-031",
    "Exactly the declared ports are open",
    refs=[f"{CIS} 4.3.6", f"{CIS} 4.3.7", f"{ETSI} 5.6-1"],
    needs="boot",
)
def test_firewall_ports(host: Any, settings: Any) -> None:
    chains, rules = ruleset(host)
    opened: dict[str, set[int]] = {"tcp": set(), "udp": set()}
    for rule in rules:
        verdicts = [e for e in rule["expr"] if {"accept", "jump", "goto"} & e.keys()]
        if rule["chain"] != chains.get("input", {}).get("name") or not verdicts:
            continue
        matches = [e["match"] for e in rule["expr"] if "match" in e]
        assert matches, "the input chain accepts everything: a rule has no condition"
        for match in matches:
            field = match["left"].get("payload", {}) if isinstance(match["left"], dict) else {}
            if field.get("field") == "dport":
                opened.setdefault(field["protocol"], set()).update(ports(match["right"]))
    declared = settings.firewall.open_ports()
    for protocol, now in opened.items():
        wanted = declared.get(protocol, set())
        assert now == wanted, f"open {protocol} ports are {sorted(now)}, declared are {sorted(wanted)}"


@control(
    "HF-HARDEN-032",
    "The packet filter in the kernel is exactly the one that is loaded at boot",
    refs=[f"{CIS} 4.3.9", f"{CIS} 4.3.10", f"{CIS} 4.1.1"],
    needs="boot",
)
def test_firewall_permanent(host: Any) -> None:
    enabled = host.run("systemctl is-enabled nftables.service").stdout.strip()
    assert enabled == "enabled", f"nftables.service is {enabled}, wanted enabled"
    listing = "nft --stateless --terse list ruleset"
    now = host.check_output(listing)
    boot = host.check_output(f"unshare --net sh -c 'nft -f /etc/nftables.conf && {listing}'")
    differing = set(now.splitlines()) ^ set(boot.splitlines())
    none_of({line.strip() for line in differing}, "lines that differ between the kernel and /etc/nftables.conf")
    assert now == boot, "the rules in the kernel stand in another order than in /etc/nftables.conf"


@control(
    "HF-HARDEN-033",
    "No program waits for connections on a port that is not declared",
    refs=[f"{CIS} 2.1.22", f"{ETSI} 5.6-1", f"{ETSI} 5.5-5"],
    needs="boot",
)
def test_listening(host: Any, settings: Any) -> None:
    declared = settings.firewall.open_ports()
    extra = []
    for line in words(host.check_output("ss -H -l -n -t -u -p")):
        address, _, port = line[4].rpartition(":")
        bare = address.strip("[]").partition("%")[0]
        if bare != "*" and ipaddress.ip_address(bare).is_loopback:
            continue
        if int(port) not in declared.get(line[0], set()):
            program = "".join(re.findall(r'"([^"]+)"', line[-1])[:1])
            extra.append(f"{line[0]} {line[4]} ({program or 'unknown program'})")
    none_of(extra, "waiting for connections")


# --- Services and consoles


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


# --- Sessions and accounts


@control(
    "HF-HARDEN-050",
    "Account defaults are the declared ones",
    refs=[f"{CIS} 5.4.1.4", f"{CIS} 5.4.3.3", "dev-sec linux-baseline os-05", f"{ETSI} 5.1-3"],
)
def test_login_defs(host: Any, settings: Any) -> None:
    text = host.check_output("grep -v '^#' /etc/login.defs")
    found = {line[0]: line[1] for line in words(text) if len(line) == 2}
    wanted = {
        "UMASK": settings.login.umask,
        "HOME_MODE": "0700",
        "ENCRYPT_METHOD": "YESCRYPT",
        "PASS_MAX_DAYS": "99999",
    }
    agree(found, wanted, "/etc/login.defs")


@control("HF-HARDEN-051", "Sessions create files that others cannot read", refs=[f"{CIS} 5.4.2.6", f"{CIS} 5.4.3.3"])
def test_umask(host: Any, settings: Any) -> None:
    # pam_umask treats an account that has a group of its own in another way than one that has not.
    script = (
        'getent passwd | while IFS=: read -r user _ uid _; do if [ "$uid" -ge 1000 ]; then '
        'echo "$user $(su -s /bin/sh -c umask "$user")"; fi; done; echo "login-shell $(bash -lc umask)"'
    )
    found = list(words(host.check_output(script)))
    assert len(found) > 1, "no account's session could be judged"
    wrong = [f"{who} {mask}" for who, mask in found if int(mask, 8) != int(settings.login.umask, 8)]
    none_of(wrong, f"umask other than {settings.login.umask}")


@control("HF-HARDEN-052", "Programs leave no core dumps", refs=[f"{CIS} 1.5.3"], needs="boot")
def test_core_dumps(host: Any) -> None:
    script = (
        "su -s /bin/sh -c 'ulimit -Hc' nobody; su -s /bin/sh -c 'ulimit -Hc' root; "
        "systemctl show -P DefaultLimitCORE; /usr/sbin/sysctl -n fs.suid_dumpable kernel.core_pattern"
    )
    names = ("user sessions", "root sessions", "services", "fs.suid_dumpable", "kernel.core_pattern")
    found = dict(zip(names, host.check_output(script).splitlines(), strict=False))
    agree(found, dict(zip(names, ("0", "0", "0", "0", "|/bin/false"), strict=True)), "core dump limits")
    config = host.run("systemd-analyze cat-config systemd/coredump.conf").stdout
    storage = re.findall(r"^Storage=(.*)$", config, re.MULTILINE)
    assert storage[-1:] == ["none"], f"systemd-coredump's Storage is {storage[-1:] or 'not set'}, wanted none"


@control("HF-HARDEN-053", "su is closed to all but one group", refs=[f"{CIS} 5.2.7"])
def test_su(host: Any, settings: Any) -> None:
    text = host.check_output("grep -E '^[[:space:]]*auth' /etc/pam.d/su")
    auth = [" ".join(line) for line in words(text)]
    wanted = f"auth required pam_wheel.so use_uid group={settings.login.su_group}"
    assert auth[:2] == ["auth sufficient pam_rootok.so", wanted], f"/etc/pam.d/su begins with {auth[:2]}"
    assert host.run("setpriv --reuid nobody --clear-groups su -c true root </dev/null").rc != 0, (
        "nobody may become root"
    )


@control(
    "HF-HARDEN-054",
    "Only root has user id 0, no account has an empty password, system accounts have no shell",
    refs=[f"{CIS} 5.4.2.1", f"{CIS} 5.4.2.7", f"{CIS} 7.2.2", f"{ETSI} 5.1-1"],
)
def test_accounts(host: Any) -> None:
    text = host.check_output("getent passwd; echo =; getent shadow")
    passwd, _, shadow = text.partition("=\n")
    accounts = [line.split(":") for line in passwd.splitlines()]
    none_of({a[0] for a in accounts if a[2] == "0"} - {"root"}, "accounts with root's user id")
    none_of({line.split(":")[0] for line in shadow.splitlines() if not line.split(":")[1]}, "accounts without password")
    shells = [a for a in accounts if 0 < int(a[2]) < 1000 and not re.search(r"/(nologin|false|sync)$", a[6])]
    none_of({f"{a[0]} ({a[6]})" for a in shells}, "system accounts that could log in")


@control("HF-HARDEN-055", "Idle shells end", refs=[f"{CIS} 5.4.3.2"])
def test_shell_timeout(host: Any, settings: Any) -> None:
    if not settings.login.shell_timeout_s:
        not_applicable("login.shell_timeout_s is 0: shells do not end by themselves")
    found = host.run("bash -lic 'echo \"${TMOUT:-none} $(readonly -p | grep -c TMOUT=)\"' </dev/null").stdout.split()
    wanted = [str(settings.login.shell_timeout_s), "1"]
    assert found == wanted, f"TMOUT in an interactive shell, and whether it is read-only, are {found}, wanted {wanted}"


@control(
    "HF-HARDEN-056",
    "Before a login there is a warning, and no word about the system",
    refs=[f"{CIS} 1.6.2", f"{CIS} 1.6.3", f"{CIS} 1.6.5", f"{CIS} 1.6.6", f"{ETSI} 5.6-2"],
)
def test_banners(host: Any, settings: Any) -> None:
    for path in ("/etc/issue", "/etc/issue.net"):
        found = host.check_output(f"cat {path}")
        assert found == settings.login.banner, f"{path} says {found[:80]!r}, wanted the declared banner"
    extra = host.run("ls -A /etc/issue.d /run/issue.d /usr/lib/issue.d 2>/dev/null").stdout.split()
    none_of([name for name in extra if name.endswith(".issue")], "files that add to the banner")


# --- Files


@control(
    "HF-HARDEN-060",
    "Files that matter have the declared owner and mode",
    refs=[f"{CIS} {n}" for n in ("7.1.1", "7.1.3", "7.1.5", "7.1.7", "7.1.10", "5.1.1", "5.1.2", "2.4.1.2", "2.4.1.7")]
    + ["dev-sec linux-baseline os-02, os-03", f"{ETSI} 5.4-1"],
)
def test_rights(host: Any, settings: Any) -> None:
    declared = settings.files.rights()
    text = host.run(f"LC_ALL=C stat -c '%04a %U %G %n' {' '.join(declared)} 2>/dev/null").stdout
    found = {line[3]: " ".join(line[:3]) for line in words(text)}
    wanted = {path: " ".join(declared[path]) for path in found}
    assert {"/etc/passwd", "/etc/shadow", "/etc/sudoers"} <= found.keys(), "account files are missing"
    agree(found, wanted, "mode, owner and group")


#: All file systems that lie on a disk, each searched once.
FIND_ROOTS = "$(findmnt --real -rno TARGET)"


@control(
    "HF-HARDEN-061",
    "Only allowed programs run with the rights of another user",
    refs=[f"{CIS} 7.1.13", "dev-sec linux-baseline os-06", f"{ETSI} 5.6-7"],
)
def test_setid(host: Any, settings: Any) -> None:
    found = host.run(f"find {FIND_ROOTS} -xdev -type f -perm /6000 2>/dev/null").stdout.splitlines()
    assert "/usr/bin/sudo" in found, "the search found not even sudo: it did not work"
    none_of(set(found) - set(settings.files.setid_allowed), "set-user-id or set-group-id programs not allowed")


@control(
    "HF-HARDEN-062",
    "Nothing can be changed by everybody, and everything has an owner",
    refs=[f"{CIS} 7.1.11", f"{CIS} 7.1.12"],
)
def test_world_writable(host: Any) -> None:
    condition = r"\( -type f -perm -0002 -o -type d -perm -0002 ! -perm -1000 -o -nouser -o -nogroup \)"
    done = r"-path /etc/passwd -printf '=\n'"
    found = host.run(rf"find {FIND_ROOTS} -xdev \( {condition} -print , {done} \)").stdout.splitlines()
    assert "=" in found, "the search did not come to /etc/passwd: it did not work"
    none_of(set(found) - {"="}, "writable by everybody, or without owner")
