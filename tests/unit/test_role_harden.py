"""The role harden: its settings, the files it writes (judged by the real programs), its controls and damages."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import paramiko
import pytest
from pydantic import ValidationError

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from hatfleet.compliance import agree, none_of  # noqa: E402
from hatfleet.compliance.marks import control_of  # noqa: E402
from roles.harden import checks_network, kernel, network, ssh  # noqa: E402
from roles.harden.settings import BLOCKED_MODULES, NEEDED_MODULES, Settings  # noqa: E402
from tests.fleet.damage_harden import DAMAGE  # noqa: E402

NFT = shutil.which("nft") or shutil.which("nft", path="/usr/sbin")
SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin")


def settings(**groups: Any) -> Settings:
    return Settings.model_validate(groups)


def controls() -> dict[str, Any]:
    files = [
        importlib.import_module(f"roles.harden.{path.stem}") for path in (ROOT / "roles/harden").glob("checks_*.py")
    ]
    marks = [control_of(test) for file in files for name, test in vars(file).items() if name.startswith("test_")]
    assert None not in marks, "a check has no control"
    return {mark.id: mark for mark in marks if mark}


# --- settings


@pytest.mark.parametrize(
    "groups",
    [
        pytest.param({"sshd": {}}, id="unknown group"),
        pytest.param({"ssh": {"password_authentication": True}}, id="unknown setting"),
        pytest.param({"ssh": {"max_auth_tries": 0}}, id="below range"),
        pytest.param({"firewall": {"tcp_ports": [70000]}}, id="no port"),
        pytest.param({"firewall": {"ssh_sources": ["10.0.0.0/33"]}}, id="no network"),
        pytest.param({"firewall": {"ssh_sources": ["10.0.0.1/8"]}}, id="network with host bits"),
        pytest.param({"services": {"masked": ["ssh.service"]}}, id="mask the admin's way in"),
        pytest.param({"services": {"masked": ["avahi"]}}, id="unit without type"),
        pytest.param({"services": {"masked": ["a b.service; reboot"]}}, id="unit with shell"),
        pytest.param({"login": {"umask": "888"}}, id="no octal mask"),
        pytest.param({"login": {"banner": "Debian \\r"}}, id="banner with getty escape"),
        pytest.param({"files": {"setid_allowed": ["bin/su"]}}, id="relative path"),
        pytest.param({"kernel": {"sysctl": {"kernel sysrq": 1}}}, id="no sysctl key"),
        pytest.param({"kernel": {"blocked_modules": ["vfat"]}}, id="block what booting needs"),
    ],
)
def test_bad_settings_are_refused(groups: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(**groups)


def test_every_setting_has_a_description() -> None:
    for name, group in Settings.model_fields.items():
        assert group.description, name
        for key, field in group.annotation.model_fields.items():  # type: ignore[union-attr]
            assert field.description, f"{name}.{key}"


def test_settings_survive_the_way_to_the_worker() -> None:
    chosen = settings(firewall={"ssh_sources": ["10.77.0.0/24", "fd00::/8"]}, kernel={"sysctl": {"kernel.sysrq": 4}})
    assert Settings.model_validate_json(chosen.model_dump_json()) == chosen


def test_a_kept_service_is_not_masked() -> None:
    assert "bluetooth.service" in settings().services.units()
    assert "bluetooth.service" not in settings(services={"keep": ["bluetooth.service"]}).services.units()


def test_a_declared_sysctl_replaces_the_roles_own() -> None:
    parameters = settings(kernel={"sysctl": {"kernel.yama.ptrace_scope": 1, "vm.swappiness": 10}}).kernel.parameters()
    assert parameters["kernel.yama.ptrace_scope"] == 1
    assert "-kernel.yama.ptrace_scope" not in parameters
    assert parameters["vm.swappiness"] == 10


# --- what a Raspberry Pi needs must stay


def test_nothing_that_booting_or_networking_needs_is_taken_away() -> None:
    assert not set(BLOCKED_MODULES) & set(NEEDED_MODULES)
    assert {"vfat", "squashfs", "overlay", "erofs"} <= set(NEEDED_MODULES)
    text = kernel.sysctl_file(settings().kernel)
    for breaking in ("accept_ra", "autoconf", "tcp_timestamps", "mmap_rnd_bits", "modules_disabled", "ip_forward"):
        assert breaking not in text


def test_usb_storage_can_be_allowed_for_a_device_that_boots_from_it() -> None:
    assert "install usb-storage /bin/false" in kernel.modprobe_file(settings().kernel)
    assert "usb-storage" not in kernel.modprobe_file(settings(kernel={"usb_storage": True}).kernel)


# --- sshd


def drop_in_values() -> dict[str, list[str]]:
    lines = (line.split(maxsplit=1) for line in ssh.drop_in(settings().ssh).splitlines() if line[:1].isalpha())
    return {key: value.split(",") for key, value in lines}


def test_paramiko_finds_an_algorithm_of_every_kind() -> None:
    values = drop_in_values()
    transport = paramiko.Transport
    assert set(values["Ciphers"]) & set(transport._preferred_ciphers)
    assert set(values["MACs"]) & set(transport._preferred_macs)
    assert set(values["HostKeyAlgorithms"]) & set(transport._preferred_keys)
    assert set(values["PubkeyAcceptedAlgorithms"]) & set(transport._preferred_pubkeys)


@pytest.mark.skipif(SSHD is None, reason="no sshd on this machine")
def test_the_real_sshd_takes_the_drop_in_and_keeps_to_it(tmp_path: Path) -> None:
    key, config = tmp_path / "key", tmp_path / "sshd.conf"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    config.write_text(ssh.drop_in(settings(ssh={"max_auth_tries": 2}).ssh))
    command = [str(SSHD), "-T", "-f", str(config), "-o", f"HostKey={key}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    effective = {line.partition(" ")[0]: line.partition(" ")[2] for line in done.stdout.splitlines()}
    assert effective["maxauthtries"] == "2"
    assert effective["permitrootlogin"] == "no"
    exchanges = effective["kexalgorithms"].split(",")
    assert set(exchanges) & set(paramiko.Transport._preferred_kex), "paramiko could not log in"
    assert not [name for name in exchanges if "nistp" in name or name.startswith("diffie")]


def test_only_drop_ins_of_hatfleet_are_read() -> None:
    main = (ROOT / "roles/harden/templates/sshd_config.j2").read_text()
    assert [line for line in main.splitlines() if line.startswith("Include")] == [
        "Include /etc/ssh/sshd_config.d/*-hatfleet*.conf"
    ]


# --- packet filter


def test_ssh_is_open_to_the_declared_networks_only() -> None:
    some = network.ruleset(settings(firewall={"ssh_sources": ["10.77.0.0/24"]}).firewall)
    assert "ip saddr { 10.77.0.0/24 } tcp dport 22 jump ssh" in some
    assert "\n\t\ttcp dport 22 jump ssh" not in some
    assert "\n\t\ttcp dport 22 jump ssh" in network.ruleset(settings().firewall)


@pytest.mark.skipif(NFT is None, reason="nft is not installed on this machine")
@pytest.mark.parametrize(
    "firewall",
    [
        {},
        {"ssh_sources": ["10.0.0.0/8", "192.0.2.7", "fd00::/8"], "tcp_ports": [8443, 443, 443], "udp_ports": [51820]},
        {"ssh_sources": ["fd00::/8"], "output_open": False, "output_tcp_ports": [443]},
        {"output_open": False, "output_udp_ports": []},
    ],
)
def test_the_real_nft_takes_the_ruleset(firewall: dict[str, Any], tmp_path: Path) -> None:
    ruleset = tmp_path / "nftables.conf"
    ruleset.write_text(network.ruleset(settings(firewall=firewall).firewall))
    command = ["unshare", "--user", "--map-root-user", "--net", str(NFT), "-c", "-f", str(ruleset)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- shell


@pytest.mark.parametrize("timeout_s", [0, 900])
def test_the_profile_is_a_shell_script(timeout_s: int) -> None:
    from hatfleet.ops import render

    login = settings(login={"shell_timeout_s": timeout_s}).login
    script = render(role_file=ssh.__file__, template="profile.sh.j2", login=login)
    done = subprocess.run(["sh", "-c", f"{script}\numask"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("0027", "027")
    assert ("TMOUT" in script) is bool(timeout_s)


# --- controls and damages


def test_there_are_enough_controls_and_each_says_why() -> None:
    found = controls()
    assert len(found) >= 25
    assert all(mark.refs for mark in found.values())


def test_every_damage_names_controls_that_exist() -> None:
    assert len(DAMAGE) >= 8
    assert len({damage.name for damage in DAMAGE}) == len(DAMAGE)
    for damage in DAMAGE:
        assert damage.controls
        assert not set(damage.controls) - set(controls()), damage.name


def test_the_reference_lists_every_control_and_no_other() -> None:
    import re

    page = (ROOT / "docs/reference/harden.md").read_text()
    assert set(re.findall(r"HF-HARDEN-\d{3}", page)) == set(controls())


def test_what_differs_is_named() -> None:
    with pytest.raises(AssertionError, match=r"sysctl: b is '2', wanted '3'; c is 'not set', wanted '1'"):
        agree({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "1"}, "sysctl")
    agree({"a": "1"}, {"a": "1"}, "sysctl")
    with pytest.raises(AssertionError, match="open: x, y"):
        none_of({"y", "x"}, "open")


def test_ports_are_read_from_every_form_that_nft_prints() -> None:
    assert list(checks_network.ports(22)) == [22]
    assert sorted(checks_network.ports({"set": [22, {"range": [80, 82]}]})) == [22, 80, 81, 82]
    with pytest.raises(AssertionError, match="cannot judge"):
        list(checks_network.ports("@unknown"))
