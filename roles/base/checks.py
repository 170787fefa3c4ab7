"""What the role base guarantees, proved on the device. Each check reads what is in effect, in one command."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hatfleet.compliance import control, not_applicable

if TYPE_CHECKING:
    from hatfleet.fleet.roles import DeviceContext
    from roles.base.settings import Settings

Host = Any

FILES = Path(__file__).parent / "files"

CIS = "CIS Debian 12 v1.1.0"
ETSI = "ETSI EN 303 645"

#: systemd's own scale: 0 (nothing reachable) to 10; below 2.0 its verdict is "OK" or better.
MAX_EXPOSURE = 2.0


def properties(text: str) -> dict[str, str]:
    """Read lines of KEY=VALUE; a later line wins, as it does in systemd's configuration files."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith(("#", ";")))
    return {key.strip(): value.strip() for key, value in pairs}


def listed(items: object) -> str:
    """Name what was found, for a message."""
    return ", ".join(str(item) for item in items) if items else "none"  # type: ignore[attr-defined]


def admin_home(settings: Settings) -> str:
    """Return a shell expression for the admin's home directory (the name is safe: settings allow no quotes)."""
    return f"$(getent passwd {settings.admin.name} | cut -d: -f6)"


@control("HF-BASE-001", "The host name is the declared one, now and after a reboot", refs=["hostname(5)"], needs="boot")
def test_host_name(host: Host, settings: Settings, device: DeviceContext) -> None:
    wanted = settings.hostname or device.name
    running, stored = [*host.check_output("uname -n; cat /etc/hostname").splitlines(), ""][:2]
    assert running == wanted, f"the running host name is {running!r}, declared is {wanted!r}"
    assert stored == wanted, f"/etc/hostname says {stored!r}, declared is {wanted!r}"


@control("HF-BASE-002", "The device's own name resolves without a network", refs=["hosts(5)"])
def test_own_name_resolves(host: Host, settings: Settings, device: DeviceContext) -> None:
    wanted = settings.hostname or device.name
    found = host.run(f"getent -s files hosts '{wanted}' localhost").stdout.split()
    assert "127.0.1.1" in found, f"/etc/hosts does not map {wanted} to 127.0.1.1"
    assert {"127.0.0.1", "::1"} & set(found), "/etc/hosts does not map localhost to the loopback address"


@control("HF-BASE-003", "The time zone is the declared one", refs=["localtime(5)"])
def test_time_zone(host: Host, settings: Settings) -> None:
    wanted = f"/usr/share/zoneinfo/{settings.time.zone}"
    out = host.check_output(
        f"readlink /etc/localtime || true; cat /etc/timezone || true; date +%s%Z; TZ={settings.time.zone} date +%s%Z;"
        f"[ -f {wanted} ] && echo known"
    )
    lines = out.splitlines()
    assert lines[-1] == "known", f"this system does not know the time zone {settings.time.zone}"
    assert lines[0] == wanted, f"/etc/localtime points to {lines[0]}, wanted {wanted}"
    assert lines[1] == settings.time.zone, f"/etc/timezone says {lines[1]}, wanted {settings.time.zone}"


@control(
    "HF-BASE-004",
    "Time is synchronised by systemd-timesyncd, enabled and running, and by nothing else",
    refs=[f"{CIS} 2.3.1.1", f"{CIS} 2.3.2.2"],
    needs="boot",
)
def test_time_synchronisation(host: Host) -> None:
    out = host.run("systemctl show -p UnitFileState,ActiveState systemd-timesyncd.service").stdout
    unit = properties(out)
    assert unit.get("UnitFileState") == "enabled", f"systemd-timesyncd is {unit.get('UnitFileState') or 'missing'}"
    assert unit.get("ActiveState") == "active", f"systemd-timesyncd is {unit.get('ActiveState')}, wanted active"
    others = host.run("systemctl is-active chrony chronyd ntp ntpd ntpsec openntpd").stdout
    assert "active" not in others.split(), "another time daemon runs beside systemd-timesyncd"


@control("HF-BASE-005", "Exactly the declared time servers are asked", refs=[f"{CIS} 2.3.2.1"], needs="boot")
def test_time_servers(host: Host, settings: Settings) -> None:
    out = host.run("timedatectl show-timesync -p SystemNTPServers -p FallbackNTPServers --all").stdout
    running = properties(out)
    found = running.get("SystemNTPServers", "").split()
    assert found == settings.time.servers, (
        f"timesyncd asks {listed(found)}, declared are {listed(settings.time.servers)}"
    )
    fallback = running.get("FallbackNTPServers", "")
    assert not fallback, f"timesyncd falls back to servers that nobody declared: {fallback}"


@control("HF-BASE-006", "The system locale is the declared one and is usable", refs=["locale.conf(5)"])
def test_locale(host: Host, settings: Settings) -> None:
    out = host.run(
        f"cat /etc/locale.conf; echo --; cat /etc/default/locale; echo --; LC_ALL={settings.locale} locale charmap 2>&1"
    ).stdout
    services, logins, charmap = (part.strip() for part in out.split("--"))
    for where, text in (("/etc/locale.conf", services), ("/etc/default/locale (logins)", logins)):
        found = properties(text)
        assert found == {"LANG": settings.locale}, f"{where} says {found}, wanted LANG={settings.locale}"
    assert charmap == "UTF-8", f"the locale {settings.locale} is not usable: {charmap}"


@control("HF-BASE-007", "The admin account exists, with its shell and home", refs=[f"{CIS} 7.2.9"])
def test_admin_account(host: Host, settings: Settings) -> None:
    name = settings.admin.name
    entry = host.run(f"getent passwd {name}").stdout.strip()
    assert entry, f"there is no account {name}"
    uid, shell = int(entry.split(":")[2]), entry.split(":")[6]
    assert uid >= 1000, f"{name} has the system uid {uid}"
    assert shell == settings.admin.shell, f"the shell of {name} is {shell}, declared is {settings.admin.shell}"
    home = host.run(f'stat -c "%U %a" {admin_home(settings)}').stdout.split()
    # sshd ignores the keys of a home directory that others may write to.
    assert home[:1] == [name], f"the home directory of {name} belongs to {listed(home[:1])}"
    assert int(home[1], 8) & 0o022 == 0, f"the home directory of {name} has mode {home[1]}: others may write to it"


@control(
    "HF-BASE-008",
    "Exactly the declared SSH keys open the admin account",
    refs=[f"{ETSI} 5.1-3", f"{ETSI} 5.5-5"],
)
def test_admin_keys(host: Host, settings: Settings) -> None:
    declared = {key.blob: key.comment for key in settings.admin.public_keys()}
    home = admin_home(settings)
    text = host.run(f"cat {home}/.ssh/authorized_keys; sed 's/^/second list: /' {home}/.ssh/authorized_keys2").stdout
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    foreign = [line[:60] for line in lines if not any(blob in line.split() for blob in declared)]
    assert not foreign, f"keys that nobody declared: {listed(foreign)}"
    optioned = [line[:60] for line in lines if line.split()[0] not in ("ssh-ed25519", "sk-ssh-ed25519@openssh.com")]
    assert not optioned, f"entries that are not a plain declared key: {listed(optioned)}"
    missing = [comment or blob[-16:] for blob, comment in declared.items() if blob not in text.split()]
    assert not missing, f"declared keys that do not open the account: {listed(missing)}"


@control("HF-BASE-009", "Only the admin can change the list of its SSH keys", refs=[f"{ETSI} 5.4-1"])
def test_admin_key_file(host: Host, settings: Settings) -> None:
    name, home = settings.admin.name, admin_home(settings)
    out = host.run(f'stat -c "%U %a %F" {home}/.ssh {home}/.ssh/authorized_keys').stdout.splitlines()
    assert out == [f"{name} 700 directory", f"{name} 600 regular file"], (
        f".ssh and authorized_keys are {listed(out)}; wanted owner {name}, modes 700 and 600"
    )


@control("HF-BASE-010", "The admin may use sudo, and sudo's rules are valid", refs=[f"{CIS} 5.2.1"])
def test_admin_sudo(host: Host, settings: Settings) -> None:
    name = settings.admin.name
    out = host.run(f'visudo -c >&2 && stat -c "%U %a" /etc/sudoers.d/90-hatfleet-admin && sudo -n -l -U {name}')
    assert out.rc == 0, f"sudo's rules are not valid or incomplete: {out.stderr.strip() or out.stdout.strip()}"
    assert out.stdout.startswith("root 440\n"), "the admin's sudo rule can be changed by others (wanted root, 440)"
    rules = [line.strip() for line in out.stdout.splitlines() if line.strip().startswith("(")]
    wanted = {"(ALL : ALL) NOPASSWD: ALL"}
    assert set(rules) >= wanted, f"sudo lets {name} do {listed(rules)}, wanted {listed(wanted)}"


@control("HF-BASE-011", "Nobody but the admin has sudo without a password", refs=[f"{CIS} 5.2.4", f"{ETSI} 5.6-7"])
def test_no_other_passwordless_sudo(host: Host, settings: Settings) -> None:
    # sudo reads every file of the folder whose name has no dot and does not end in "~".
    out = host.run(
        "grep -rHE --exclude='*.*' --exclude='*~' 'NOPASSWD|!authenticate' /etc/sudoers /etc/sudoers.d"
    ).stdout
    rules = [line.split(":", 1) for line in out.splitlines()]
    foreign = [
        f"{path}: {rule.strip()}"
        for path, rule in rules
        if not rule.lstrip().startswith("#") and path != "/etc/sudoers.d/90-hatfleet-admin"
    ]
    assert not foreign, f"sudo without a password beside {settings.admin.name}'s rule: {listed(foreign)}"


@control(
    "HF-BASE-012",
    "Every password is locked, also root's",
    refs=[f"{ETSI} 5.1-1", f"{CIS} 7.2.2", f"{CIS} 5.4.2.4"],
)
def test_passwords_locked(host: Host) -> None:
    entries = [line.split(":") for line in host.check_output("getent shadow").splitlines()]
    names = [name for name, *_ in entries]
    assert "root" in names, "the password database could not be read"
    usable = [name for name, field, *_ in entries if not field.startswith(("!", "*"))]
    assert not usable, f"accounts whose password is not locked: {listed(usable)}"
    unshadowed = host.run("awk -F: '$2 != \"x\" {print $1}' /etc/passwd").stdout.split()
    assert not unshadowed, f"accounts with a password field outside /etc/shadow: {listed(unshadowed)}"


@control("HF-BASE-013", "The admin is the only human account", refs=[f"{ETSI} 5.1-1", f"{ETSI} 5.6-7"])
def test_no_other_humans(host: Host, settings: Settings) -> None:
    # 1000 to 60000: the range of human accounts, Debian Policy 9.2.2 and login.defs.
    entries = [line.split(":") for line in host.check_output("getent passwd").splitlines()]
    humans = [e[0] for e in entries if 1000 <= int(e[2]) <= 60000 and e[0] != settings.admin.name]
    shells = [e[0] for e in entries if int(e[2]) >= 1000 and not e[6].endswith(("/nologin", "/false"))]
    others = sorted({*humans, *shells} - {settings.admin.name})
    assert not others, f"accounts beside {settings.admin.name}: {listed(others)} (base.users_absent removes them)"


@control("HF-BASE-014", "Default and undesired accounts do not exist", refs=[f"{ETSI} 5.1-1", f"{ETSI} 5.1-2"])
def test_users_absent(host: Host, settings: Settings) -> None:
    if not settings.users_absent:
        not_applicable("base.users_absent is empty")
    found = host.run(f"getent passwd {' '.join(settings.users_absent)} | cut -d: -f1").stdout.split()
    assert not found, f"accounts that must not exist: {listed(found)}"


@control("HF-BASE-015", "root is the only account with uid 0 and has no SSH keys", refs=[f"{CIS} 5.4.2.1"])
def test_root(host: Host) -> None:
    out = host.run(
        "awk -F: '$3 == 0 {print \"uid0 \" $1}' /etc/passwd; grep -hcs . /root/.ssh/authorized_keys*; true"
    ).stdout
    lines = out.splitlines()
    roots = [line.split()[1] for line in lines if line.startswith("uid0 ")]
    assert roots == ["root"], f"accounts with uid 0: {listed(roots)}"
    keys = sum(int(line) for line in lines if line.isdigit())
    assert keys == 0, f"root can be entered with {keys} SSH keys; they belong to the admin account"


@control(
    "HF-BASE-016",
    "The boot partition holds nothing that gives access at the next boot",
    refs=[f"{ETSI} 5.1-1", f"{ETSI} 5.6-3"],
)
def test_no_boot_files(host: Host) -> None:
    names = "{userconf,userconf.txt,ssh,ssh.txt,custom.toml,firstrun.sh}"
    found = host.run(f"bash -c 'ls -d /boot/firmware/{names}' 2>/dev/null").stdout.split()
    assert not found, f"first-boot access files: {listed(found)}"


@control("HF-BASE-017", "The journal is kept as declared and stays within its limits", refs=[f"{CIS} 6.1.1.3"])
def test_journal_limits(host: Host, settings: Settings) -> None:
    journal = settings.journal
    merged = properties(host.check_output("systemd-analyze cat-config systemd/journald.conf"))
    wanted = {
        "Storage": journal.storage,
        "SystemMaxUse": f"{journal.max_use_mib}M",
        "SystemKeepFree": f"{journal.keep_free_mib}M",
        "RuntimeMaxUse": f"{journal.runtime_max_use_mib}M",
        "MaxRetentionSec": f"{journal.retention_days}day",
        "ForwardToSyslog": "no",
    }
    wrong = {key: merged.get(key, "unset") for key, value in wanted.items() if merged.get(key) != value}
    assert not wrong, f"journald is set to {wrong}, wanted { ({key: wanted[key] for key in wrong}) }"


@control(
    "HF-BASE-018",
    "The journal is being written where it was declared",
    refs=[f"{CIS} 6.1.1.1", f"{CIS} 6.1.2.4"],
    needs="boot",
)
def test_journal_storage(host: Host, settings: Settings) -> None:
    folder = "/var/log/journal" if settings.journal.storage == "persistent" else "/run/log/journal"
    out = host.check_output(
        "systemctl is-active systemd-journald.service; id=$(cat /etc/machine-id);"
        'for d in /var/log/journal /run/log/journal; do [ ! -e "$d/$id/system.journal" ] || echo "$d"; done'
    )
    active, *folders = out.split() or ["missing"]
    assert active == "active", f"systemd-journald is {active}"
    assert folders == [folder], f"the journal is written to {listed(folders)}, wanted {folder}"


@control(
    "HF-BASE-019",
    "Packages come from the declared origins and release only",
    refs=[f"{CIS} 1.2.1.2", f"{ETSI} 5.3-10"],
)
def test_package_origins(host: Host, settings: Settings) -> None:
    suite = settings.apt.suite
    out = host.check_output('. /etc/os-release; echo "${VERSION_CODENAME:-none}"; apt-cache policy; apt-config dump')
    running = out.splitlines()[0]
    assert running == suite, f"the system is {running}, but packages are pinned to {suite}"
    wrong = []
    priority = ""
    for line in out.splitlines():
        first, _, rest = line.strip().partition(" ")
        if first.lstrip("-").isdigit():
            priority = first
        elif first == "release":
            fields = dict(field.split("=", 1) for field in rest.split(",") if "=" in field)
            if fields.get("a") == "now":
                continue
            allowed = fields.get("o") in settings.apt.origins and fields.get("n") in (
                suite,
                f"{suite}-security",
                f"{suite}-updates",
            )
            if (int(priority) > 0) != allowed:
                wrong.append(f"{rest} has priority {priority}")
    assert not wrong, f"package sources with the wrong priority: {'; '.join(wrong)}"
    assert 'AllowUnauthenticated "1"' not in out, "apt installs packages without a signature"


@control("HF-BASE-020", "The package pins are the declared ones", refs=[f"{CIS} 1.2.1.2"])
def test_package_pins(host: Host, settings: Settings) -> None:
    text = host.run("cat /etc/apt/preferences.d/90-hatfleet.pref").stdout
    found = re.findall(r"^Package: (.*)\nPin: (.*)\nPin-Priority: (.*)$", text, re.MULTILINE)
    suite = settings.apt.suite
    pins = [
        (f"release o={origin},n={name}", "990")
        for origin in settings.apt.origins
        for name in (suite, f"{suite}-security", f"{suite}-updates")
    ]
    wanted = [("*", *pin) for pin in (("release a=now", "100"), *pins, ("release a=*", "-1"))]
    assert found == wanted, f"the package pins are {found or 'missing'}, wanted {wanted}"


@control("HF-BASE-021", "Packages that are not needed are not installed", refs=[f"{ETSI} 5.6-6", f"{ETSI} 5.6-5"])
def test_packages_absent(host: Host, settings: Settings) -> None:
    if not settings.packages_absent:
        not_applicable("base.packages_absent is empty")
    names = " ".join(settings.packages_absent)
    out = host.run(f"dpkg-query -W -f '${{Package}} ${{db:Status-Status}}\\n' {names} 2>/dev/null").stdout
    found = [line.split()[0] for line in out.splitlines() if line.endswith(" installed")]
    assert not found, f"installed, but declared absent: {listed(found)}"


@control("HF-BASE-022", "The SSH server is enabled and running", refs=["systemd.unit(5)"], needs="boot")
def test_ssh_server(host: Host) -> None:
    unit = properties(host.check_output("systemctl show -p UnitFileState,ActiveState ssh.service"))
    assert unit.get("UnitFileState") == "enabled", f"ssh.service is {unit.get('UnitFileState') or 'missing'}"
    assert unit.get("ActiveState") == "active", f"ssh.service is {unit.get('ActiveState')}, wanted active"


@control(
    "HF-BASE-023",
    "The device has one Ed25519 SSH host key, readable by root only",
    refs=[f"{ETSI} 5.4-1", f"{CIS} 5.1.2"],
    needs="boot",
)
def test_host_key(host: Host) -> None:
    key = "/etc/ssh/ssh_host_ed25519_key"
    out = host.run(f'stat -Lc "%U %a %F" {key} && cat {key}.pub && ssh-keygen -y -P "" -f {key} </dev/null')
    rights, public, private = [*out.stdout.splitlines(), "", "", ""][:3]
    assert rights == "root 600 regular file", f"{key} is {rights or 'missing'!r}, wanted owner root, mode 600"
    assert private.startswith("ssh-ed25519 "), f"{key} is not a usable Ed25519 key without a passphrase"
    assert private.split()[:2] == public.split()[:2], f"{key}.pub does not belong to the host key"


@control(
    "HF-BASE-024",
    "The host key exists before the SSH server starts and is announced",
    refs=[f"{ETSI} 5.4-4"],
    needs="boot",
)
def test_host_key_service(host: Host) -> None:
    wanted = {
        "LoadState": "loaded",
        "UnitFileState": "enabled",
        "ActiveState": "active",
        "Result": "success",
        "FragmentPath": "/usr/lib/systemd/system/hatfleet-hostkey.service",
        "DropInPaths": "",
        "NeedDaemonReload": "no",
    }
    out = host.check_output(f"systemctl show -p {','.join(wanted)},Before hatfleet-hostkey.service")
    unit = properties(out)
    wrong = {key: unit.get(key) for key, value in wanted.items() if unit.get(key) != value}
    assert not wrong, f"hatfleet-hostkey.service has {wrong}, wanted { ({key: wanted[key] for key in wrong}) }"
    assert "ssh.service" in unit.get("Before", "").split(), "the host key is not made before ssh.service starts"


@control("HF-BASE-025", "The host key script and unit are as shipped", refs=[f"{ETSI} 5.4-3"])
def test_host_key_files(host: Host) -> None:
    script, unit = "/usr/lib/hatfleet/hatfleet-hostkey.sh", "/usr/lib/systemd/system/hatfleet-hostkey.service"
    found = host.run(f'stat -c "%U %a" {script} {unit}').stdout.splitlines()
    assert found == ["root 755", "root 644"], f"owner and mode are {listed(found)}, wanted root 755 and root 644"
    for path in (script, unit):
        shipped = (FILES / Path(path).name).read_text()
        assert host.run(f"cat {path}").stdout == shipped, f"{path} is not the file that hatfleet ships"


@control("HF-BASE-026", "No other service makes SSH host keys", refs=[f"{ETSI} 5.4-4"])
def test_other_key_generators(host: Host) -> None:
    units = "sshd-keygen.service regenerate_ssh_host_keys.service rpi-generate-ssh-host-keys.service"
    states = host.run(f"systemctl is-enabled {units} 2>&1").stdout.split()
    assert states == ["masked"] * 3, f"{units} are {listed(states)}; wanted masked"


@control("HF-BASE-027", "The host key service runs in a sandbox", refs=[f"{ETSI} 5.6-7"], needs="boot")
def test_host_key_sandbox(host: Host) -> None:
    out = host.run("systemd-analyze security --no-pager hatfleet-hostkey.service").stdout
    level = re.search(r"exposure level for \S+: ([0-9.]+)", out)
    assert level, "systemd could not judge hatfleet-hostkey.service"
    assert float(level[1]) <= MAX_EXPOSURE, f"systemd's exposure level is {level[1]}, wanted at most {MAX_EXPOSURE}"
