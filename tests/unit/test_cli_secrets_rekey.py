"""``provision secrets rekey`` and ``doctor``: who can read the secrets of a site, and what is wrong with them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hatfleet.common.errors import InputError
from hatfleet.common.yamlfile import load_yaml
from hatfleet.fleet.secrets.vault import new_identity
from tests.unit.secret_site import SECRET, SecretSite
from tests.unit.secrets_command import VARIABLES, enter_site, refusal, run


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SecretSite:
    return enter_site(tmp_path, monkeypatch)


def test_rekey_gives_the_secrets_to_a_new_recipient(site: SecretSite, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    site.put("wifi.passphrase", SECRET)
    extra = site.write("inventory/prod/host_vars/n1/own.yaml", f"# kept\n{site.variables.read_text()}")
    site.recipients.add(new_identity(other, None), "other")
    assert "encrypted to others than those in" in run("doctor").stdout
    done = run("rekey")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        f"{VARIABLES}: 1 value",
        "inventory/prod/host_vars/n1/own.yaml: 1 value",
        "2 secrets encrypted to 2 recipients",
    ]
    assert extra.read_text().startswith("# kept\nwifi:\n  ssid: home # ours\n")
    assert run("doctor", "--identity", str(other)).stdout == "2 secrets; all is well\n"


def test_a_rekey_that_cannot_read_everything_changes_nothing(site: SecretSite) -> None:
    site.put("wifi.passphrase", SECRET)
    site.write("inventory/prod/host_vars/n1.yaml", "wifi:\n  token: !age |\n    nonsense\n")
    before = site.variables.read_bytes()
    assert isinstance(run("rekey").exception, InputError)
    assert site.variables.read_bytes() == before


def test_a_part_of_the_site_can_be_rekeyed_but_does_not_count_as_all(site: SecretSite, tmp_path: Path) -> None:
    site.put("wifi.passphrase", SECRET)
    site.write("inventory/prod/host_vars/n1.yaml", site.variables.read_text())
    site.recipients.add(new_identity(tmp_path / "other.txt", None), "other")
    assert run("rekey", VARIABLES).exit_code == 0
    assert site.recipients.rekeyed() is False
    assert "there is no file or folder" in refusal("rekey", "nowhere")


def test_a_rekey_killed_at_any_moment_leaves_old_files_or_new_ones(site: SecretSite, tmp_path: Path) -> None:
    for number in range(8):
        site.put(f"wifi.others.k{number}", f"{SECRET}{number}")
    for number in range(5):
        site.write(f"inventory/prod/host_vars/h{number}.yaml", site.variables.read_text())
    argv = [sys.executable, "-m", "hatfleet.cli.main", "secrets", "rekey"]
    started = time.monotonic()
    assert subprocess.run(argv, stdout=subprocess.DEVNULL, check=False).returncode == 0
    whole_s = time.monotonic() - started
    for part in (0.7, 0.8, 0.9):
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
        time.sleep(whole_s * part)
        process.kill()
        process.wait()
        for file in (site.root / "inventory").rglob("*.yaml"):
            for path, node in load_yaml(file).encrypted():
                assert list(site.vault().reveal(node).values()) == [f"{SECRET}{str(path[-1])[1:]}"]


def doctor() -> list[str]:
    done = run("doctor", "--json")
    data = json.loads(done.stdout)
    assert done.exit_code == (1 if data["findings"] else 0)
    return [
        f"{Path(one['file']).name if one['file'] else ''}:{one['line']} {one['message']}" for one in data["findings"]
    ]


def test_doctor_finds_nothing_where_all_is_well(site: SecretSite) -> None:
    site.put("wifi.passphrase", SECRET)
    assert doctor() == []


DAMAGES: dict[str, tuple[Callable[[SecretSite], object], str]] = {
    "an open identity": (lambda site: site.identity.chmod(0o644), "identity.txt:None the identity can be read by oth"),
    "no identity": (lambda site: site.identity.unlink(), ":None there is no age identity"),
    "a damaged secret": (
        lambda site: site.variables.write_text(site.variables.read_text().replace("BEGIN AGE", "BEGIN")),
        "all.yaml:3 cannot be decrypted: not an age file",
    ),
    "a plain secret": (
        lambda site: site.write("inventory/prod/host_vars/n1.yaml", "wifi:\n  token: plain\n"),
        "n1.yaml:2 found plain text where a secret is declared",
    ),
    "a secret that would be shown": (
        lambda site: site.put("wifi.ssid", SECRET),
        "all.yaml:2 found !age (encrypted), but",
    ),
    "an exchanged recipient": (
        lambda site: site.recipients.file.write_text(f"{_another(site)}\n"),
        "recipients.txt:None the recipients have changed",
    ),
    "a recipient more": (
        lambda site: site.recipients.add(_another(site), "new"),
        "all.yaml:3 encrypted to others than those in",
    ),
    "a broken recipient": (
        lambda site: site.recipients.file.write_text("nonsense\n"),
        "recipients.txt:1 'nonsense' is no recipient",
    ),
    "an age key in the site": (
        lambda site: site.write("docs/notes.md", f"mine:\n{site.identity.read_text()}"),
        "notes.md:3 a private key lies in the site",
    ),
    "an SSH key in the site": (
        lambda site: site.write("deploy", (site.identity.parent / "ssh").read_text()),
        "deploy:1 a private key lies in the site",
    ),
    "a variables file that is no YAML": (
        lambda site: site.variables.write_text(f"{site.variables.read_text()}\na: [\n"),
        "all.yaml:",
    ),
}


def _another(site: SecretSite) -> str:
    return new_identity(site.identity.parent / "another.txt", None)


@pytest.mark.parametrize("name", DAMAGES)
def test_doctor_finds(site: SecretSite, name: str) -> None:
    from tests.ssh_server import make_key

    make_key(site.identity.parent / "ssh")
    site.put("wifi.passphrase", SECRET)
    damage, says = DAMAGES[name]
    damage(site)
    assert any(says in found for found in doctor())
