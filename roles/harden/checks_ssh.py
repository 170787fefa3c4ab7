"""Proofs of what the role harden guarantees about SSH, read from the running device."""

from __future__ import annotations

import re
from typing import Any

from hatfleet.compliance import agree, control, none_of, words

CIS = "CIS Debian 12 v1.1.0"
ETSI = "ETSI EN 303 645"


def sshd(host: Any, connection: str = "") -> dict[str, str]:
    """Return sshd's effective settings, in general or for one kind of connection."""
    text = host.check_output(f"/usr/sbin/sshd -T {connection}")
    return {key.lower(): value for key, _, value in (line.partition(" ") for line in text.splitlines())}


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
    found = host.check_output("stat -Lc '%a %U' /etc/ssh/ssh_host_ed25519_key")
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
