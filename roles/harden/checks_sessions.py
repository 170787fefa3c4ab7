"""Proofs of what the role harden guarantees about sessions and accounts, read from the running device."""

from __future__ import annotations

import re
from typing import Any

from hatfleet.compliance import agree, control, none_of, not_applicable, words

CIS = "CIS Debian 12 v1.1.0"
ETSI = "ETSI EN 303 645"


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
