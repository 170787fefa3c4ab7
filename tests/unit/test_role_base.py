from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from hatfleet.common.site import package_content
from hatfleet.compliance.marks import control_of
from hatfleet.ops.base import render
from roles.base import packages
from roles.base.apt import suites
from roles.base.settings import PROTECTED, Apt, Journal, Settings, is_host_name
from tests.fleet.damage_base import DAMAGE
from tests.unit.test_sshkeys import PLAIN, TOKEN

ROLE = package_content() / "roles" / "base"
HOSTKEY = ROLE / "files" / "hatfleet-hostkey.sh"

CONTROLS = {
    mark.id for value in vars(importlib.import_module("roles.base.checks")).values() if (mark := control_of(value))
}


def template(name: str, **values: object) -> str:
    return render(role_file=str(ROLE / "__init__.py"), template=name, **values)


def reason(settings: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as error:
        Settings.model_validate(settings)
    return str(error.value)


# --- settings


def test_everything_has_a_default() -> None:
    settings = Settings()
    assert settings.admin.name == "admin"
    assert settings.admin.public_keys() == ()
    assert (settings.time.zone, settings.locale) == ("UTC", "C.UTF-8")


def test_settings_survive_the_way_to_the_worker(tmp_path: Path) -> None:
    (tmp_path / "k.pub").write_text(TOKEN)
    sent = Settings.model_validate({"admin": {"authorized_keys_files": [tmp_path / "k.pub"]}})
    assert Settings.model_validate_json(sent.model_dump_json()) == sent


def test_keys_come_from_settings_and_files_each_once(tmp_path: Path) -> None:
    (tmp_path / "team.pub").write_text(f"{TOKEN} bob\n{PLAIN} ada again\n")
    settings = Settings.model_validate(
        {"admin": {"authorized_keys": [f"{PLAIN} ada"], "authorized_keys_files": [tmp_path / "team.pub"]}}
    )
    assert [key.line for key in settings.admin.public_keys()] == [f"{PLAIN} ada", f"{TOKEN} bob"]


def test_a_relative_key_file_lies_in_the_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inventory").mkdir()
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "ada.pub").write_text(PLAIN)
    monkeypatch.chdir(tmp_path / "inventory")
    settings = Settings.model_validate({"admin": {"authorized_keys_files": ["keys/ada.pub"]}})
    assert settings.admin.authorized_keys_files == [tmp_path / "keys" / "ada.pub"]


def test_a_bad_key_is_named_by_its_position_or_file(tmp_path: Path) -> None:
    text = reason({"admin": {"authorized_keys": [PLAIN, "ssh-ed25519 AAAA"], "authorized_keys_files": ["/no/key.pub"]}})
    assert "admin.authorized_keys.1" in text
    assert "cut off or altered" in text
    assert "admin.authorized_keys_files.0" in text
    assert "/no/key.pub: No such file" in text


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"hostname": "edge_01"}, "a host name has letters"),
        ({"hostname": "x" * 64}, "a host name has letters"),
        ({"hostname": "192.0.2.7"}, "a host name has letters"),
        ({"admin": {"name": "root"}}, "an account of its own"),
        ({"admin": {"name": "pi"}}, "an account of its own"),
        ({"admin": {"name": "ada; reboot"}}, "should match pattern"),
        ({"users_absent": ["admin"]}, "nobody could log in"),
        ({"users_absent": ["root"]}, "names root"),
        ({"time": {"zone": "Mars/Olympus"}}, "not a time zone"),
        ({"time": {"zone": "../../etc/passwd"}}, "not a time zone"),
        ({"time": {"servers": []}}, "at least 1 item"),
        ({"time": {"servers": ["time server"]}}, "a time server is"),
        ({"locale": "de_DE"}, "should match pattern"),
        ({"journal": {"max_use_mib": 0}}, "greater than or equal to 16"),
        ({"journal": {"storage": "none"}}, "'persistent' or 'volatile'"),
        ({"apt": {"suite": "sid"}}, "'bookworm' or 'trixie'"),
        ({"apt": {"origins": []}}, "at least 1 item"),
        ({"packages_absent": ["sudo"]}, "this package is needed"),
        ({"packages_absent": ["--help"]}, "should match pattern"),
        ({"pasword": 1}, "not permitted"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_is_allowed(settings: dict[str, Any], expected: str) -> None:
    assert expected in reason(settings)


@pytest.mark.parametrize("name", ["edge-01", "a", "edge1.example.org", "3com"])
def test_names_that_can_be_host_names(name: str) -> None:
    assert is_host_name(name)


@pytest.mark.parametrize("name", ["", "-a", "a-", "a..b", "edge_01", "a b", "10.0.0.1", "a." * 33 + "a"])
def test_names_that_cannot(name: str) -> None:
    assert not is_host_name(name)


# --- packages


def test_no_default_removes_what_is_needed_or_what_the_role_installs() -> None:
    absent = set(Settings().packages_absent)
    assert absent & PROTECTED == set()
    assert absent & set(packages(Settings())) == set()


def test_what_the_role_installs_cannot_be_declared_absent() -> None:
    assert set(packages(Settings())) <= PROTECTED


def test_only_a_locale_with_data_of_its_own_needs_a_package() -> None:
    assert "locales" not in packages(Settings())
    assert "locales" in packages(Settings(locale="de_DE.UTF-8"))


# --- what is written


def test_package_pins_allow_the_declared_origins_and_end_with_nothing_else() -> None:
    apt = Apt(suite="bookworm", origins=["Debian"])
    pins = re.findall(r"^Pin: (.*)\nPin-Priority: (.*)$", template("preferences.j2", apt=apt, suites=suites(apt)), re.M)
    assert pins == [
        ("release a=now", "100"),
        ("release o=Debian,n=bookworm", "990"),
        ("release o=Debian,n=bookworm-security", "990"),
        ("release o=Debian,n=bookworm-updates", "990"),
        ("release a=*", "-1"),
    ]


def test_journal_limits_carry_their_units() -> None:
    lines = template("journald.conf.j2", journal=Journal(max_use_mib=64, retention_days=7)).splitlines()
    assert {"SystemMaxUse=64M", "MaxRetentionSec=7day", "Storage=persistent"} <= set(lines)


def test_time_servers_replace_those_of_other_files() -> None:
    lines = template("timesyncd.conf.j2", servers=["192.0.2.1", "ntp.example.org"]).splitlines()
    assert lines[-3:] == ["NTP=", "NTP=192.0.2.1 ntp.example.org", "FallbackNTP="]


def test_the_own_name_comes_first_and_its_short_form_second() -> None:
    assert "127.0.1.1 edge1.example.org edge1\n" in template("hosts.j2", names=("edge1.example.org", "edge1"))


# --- the host key script


class HostKey:
    """Runs the real script on a key in a temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.key = folder / "ssh" / "ssh_host_ed25519_key"
        self.pub = self.key.with_name(f"{self.key.name}.pub")
        self.console = folder / "console"
        self.key.parent.mkdir()

    def run(self, console: Path | None = None) -> subprocess.CompletedProcess[str]:
        command = ["sh", HOSTKEY, self.key, console or self.console]
        return subprocess.run(command, capture_output=True, text=True, check=True)

    def announced(self) -> str:
        self.run()
        first, *others = self.console.read_text().splitlines()
        assert others == [first, first], "the kernel may print into the middle of one or two lines"
        match = re.fullmatch(r"hatfleet-hostkey: (ssh-ed25519 [A-Za-z0-9+/=]+)", first)
        assert match
        return match[1]


@pytest.fixture
def host_key(tmp_path: Path) -> HostKey:
    return HostKey(tmp_path)


def test_a_missing_host_key_is_made_and_announced(host_key: HostKey) -> None:
    announced = host_key.announced()
    assert host_key.key.stat().st_mode & 0o777 == 0o600
    assert host_key.pub.stat().st_mode & 0o777 == 0o644
    assert host_key.pub.read_text() == f"{announced}\n"
    derived = subprocess.run(["ssh-keygen", "-y", "-f", host_key.key], capture_output=True, text=True, check=True)
    assert derived.stdout.split()[:2] == announced.split()
    assert sorted(path.name for path in host_key.key.parent.iterdir()) == [host_key.key.name, host_key.pub.name]


def test_a_host_key_stays_the_same_and_is_announced_again(host_key: HostKey) -> None:
    first, inode = host_key.announced(), host_key.key.stat().st_ino
    assert host_key.announced() == first
    assert host_key.key.stat().st_ino == inode


def test_the_private_half_is_never_printed(host_key: HostKey) -> None:
    done = host_key.run()
    secret = host_key.key.read_text().splitlines()[1:-1]
    printed = done.stdout + done.stderr + host_key.console.read_text()
    assert [line for line in secret[2:] if line in printed] == []
    assert "PRIVATE" not in printed


@pytest.mark.parametrize("content", ["", "-----BEGIN OPENSSH"])
def test_a_key_that_a_power_cut_left_unusable_is_replaced(host_key: HostKey, content: str) -> None:
    host_key.key.write_text(content)
    assert host_key.announced() == host_key.pub.read_text().strip()


def test_a_key_that_others_could_read_is_kept_and_closed(host_key: HostKey) -> None:
    first = host_key.announced()
    host_key.key.chmod(0o644)
    assert host_key.announced() == first
    assert host_key.key.stat().st_mode & 0o777 == 0o600


def test_a_public_half_that_does_not_belong_to_the_key_is_written_anew(host_key: HostKey) -> None:
    first = host_key.announced()
    host_key.pub.write_text(f"{PLAIN} another\n")
    assert host_key.announced() == first
    assert host_key.pub.read_text() == f"{first}\n"


def test_a_machine_without_a_console_comes_up_all_the_same(host_key: HostKey, tmp_path: Path) -> None:
    done = host_key.run(console=tmp_path / "no" / "console")
    assert done.stdout.startswith("hatfleet-hostkey: ssh-ed25519 ")
    assert "cannot write to" in done.stderr


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run(["sh", HOSTKEY, tmp_path / "missing" / "key", os.devnull], check=True, capture_output=True)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_the_host_key_service_is_sandboxed() -> None:
    unit = ROLE / "files" / "hatfleet-hostkey.service"
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", unit], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout[-400:] + done.stderr


# --- checks


def test_there_are_controls_for_the_guarantees() -> None:
    assert len(CONTROLS) >= 15


def test_each_damage_names_controls_of_this_role() -> None:
    assert len(DAMAGE) >= 6
    assert {control for damage in DAMAGE for control in damage.controls} <= CONTROLS


def test_the_reference_lists_every_control_and_setting() -> None:
    text = (package_content() / "docs" / "reference" / "base.md").read_text()
    groups = [field.annotation for field in Settings.model_fields.values() if hasattr(field.annotation, "model_fields")]
    settings = [*Settings.model_fields, *(name for group in groups for name in group.model_fields)]
    assert [word for word in (*CONTROLS, *settings) if word not in text] == []
