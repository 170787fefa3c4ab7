"""``provision image flash`` and the seed that it makes from the inventory."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hatfleet.cli.image import image
from hatfleet.common.errors import HatfleetError, InputError
from hatfleet.common.site import Site
from hatfleet.fleet.inventory.load import load_inventory
from hatfleet.image.flash import Seed, make_seed
from tests.flash_image import MIB, Release, make_release, read_seed, used_card

HOSTS = """\
all:
  hosts:
    edge-01:
      hatfleet_network:
        eth0: {address: 192.0.2.10/24, gateway: 192.0.2.1, dns: [192.0.2.53]}
    edge-02:
      base: {hostname: lathe.example}
    broken:
      base: {hostname: "no good"}
  vars:
    base:
      admin:
        authorized_keys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHUjfbQ3jVJdGZ0wV0W8n5xqkTVdQkqNHwD1WJGZ9mYs a"]
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "site"
    (root / "inventory" / "one").mkdir(parents=True)
    (root / "inventory" / "one" / "hosts.yaml").write_text(HOSTS)
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return make_release(tmp_path / "out")


@pytest.fixture
def card(tmp_path: Path) -> Path:
    return used_card(tmp_path / "card")


def seed_of(site: Path, host: str, days: int = 14) -> Seed:
    inventory = load_inventory([site / "inventory" / "one" / "hosts.yaml"])
    return make_seed(Site(site), inventory, host, ("edge", "1.0"), days)


def run(*args: object, code: int = 0) -> Result:
    result = CliRunner().invoke(image, ["flash", *map(str, args)])
    if isinstance(result.exception, HatfleetError):
        assert result.exception.exit_code == code, result.exception
    else:
        assert result.exit_code == code, result.output
    return result


def test_a_seed_says_who_where_and_how_to_begin(site: Path) -> None:
    seed = seed_of(site, "edge-01")
    content, record = json.loads(seed.content), json.loads(seed.record)
    assert (content["schema"], content["host"], content["name"]) == (1, "edge-01", "edge-01")
    assert content["network"] == {"eth0": {"address": "192.0.2.10/24", "gateway": "192.0.2.1", "dns": ["192.0.2.53"]}}
    assert content["image"] == record["image"] == {"name": "edge", "version": "1.0"}
    assert set(content["enrolment"]) == {"token", "expires"}
    assert record["host"] == "edge-01"


def test_the_site_keeps_a_digest_and_not_the_token(site: Path) -> None:
    seed = seed_of(site, "edge-01")
    token = json.loads(seed.content)["enrolment"]["token"]
    assert len(token) == 43
    assert json.loads(seed.record)["token_sha256"] == hashlib.sha256(token.encode()).hexdigest()
    assert token.encode() not in seed.record
    assert seed_of(site, "edge-01").content != seed.content


def test_a_token_expires(site: Path) -> None:
    record = json.loads(seed_of(site, "edge-01", days=3).record)
    assert datetime.fromisoformat(record["expires"]) - datetime.fromisoformat(record["issued"]) == timedelta(days=3)
    assert abs(datetime.fromisoformat(record["issued"]) - datetime.now(UTC)) < timedelta(minutes=5)


def test_the_declared_host_name_counts_and_without_addresses_dhcp(site: Path) -> None:
    content = json.loads(seed_of(site, "edge-02").content)
    assert (content["host"], content["name"], content["network"]) == ("edge-02", "lathe.example", {})


def test_a_host_that_is_not_there(site: Path) -> None:
    with pytest.raises(InputError) as caught:
        seed_of(site, "edg-01")
    assert caught.value.hint == "did you mean 'edge-01'?"
    with pytest.raises(InputError) as caught:
        seed_of(site, "zzz")
    assert caught.value.hint == "provision inventory lists the hosts"


def test_a_host_with_wrong_settings(site: Path) -> None:
    with pytest.raises(InputError):
        seed_of(site, "broken")


def test_a_card_for_a_host(site: Path, release: Release, card: Path) -> None:
    result = run(release.packed(), card, "--host", "edge-01", "--yes")
    assert result.stdout == "card: edge-1.0.img.zst for edge-01, verified\n"
    seed: Any = read_seed(card)
    record = json.loads((site / "enrolment" / "edge-01.json").read_text())
    assert record["token_sha256"] == hashlib.sha256(seed["enrolment"]["token"].encode()).hexdigest()
    assert seed["enrolment"]["token"] not in result.output


def test_what_is_about_to_happen_is_said(
    site: Path, release: Release, card: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("hatfleet.cli.image_flash.say", said.append)
    done = json.loads(run(release.image, card, "--yes", "--json").stdout)
    assert (done["device"], done["manifest"], done["host"]) == ("card", True, None)
    text = "\n".join(said)
    assert "edge-1.0.img, 24.0 MiB" in text
    assert done["sha256"] in text
    assert "the manifest is not signed" in text
    assert "8.0 MiB to write by its block map" in text
    assert "onto       card: file, 26.0 MiB" in text
    said.clear()
    release.bmap.unlink()
    release.manifest.unlink()
    run(release.image, card, "--yes")
    assert "no block map beside it: everything is written" in "\n".join(said)
    assert "nothing says what its checksum should be" in "\n".join(said)


def test_without_a_terminal_yes_must_be_given(release: Release, card: Path) -> None:
    before = card.read_bytes()
    result = run(release.image, card, code=2)
    assert isinstance(result.exception, InputError)
    assert result.exception.hint == "to flash from a script: --yes"
    assert card.read_bytes() == before


@pytest.mark.parametrize(("answer", "flashed"), [("y\n", "yes"), ("n\n", "no"), ("\n", "no")])
def test_it_asks_and_no_is_the_default(
    release: Release, card: Path, monkeypatch: pytest.MonkeyPatch, answer: str, flashed: str
) -> None:
    before = card.read_bytes()
    monkeypatch.setattr("hatfleet.cli.image_flash._is_terminal", lambda: True)
    result = CliRunner().invoke(image, ["flash", str(release.image), str(card)], input=answer)
    assert "Erase card and write the image?" in result.stderr
    assert (card.read_bytes() != before) is (flashed == "yes")
    assert (result.exit_code == 0) is (flashed == "yes")


def test_a_seed_needs_the_manifest(site: Path, release: Release, card: Path) -> None:
    release.manifest.unlink()
    result = run(release.image, card, "--host", "edge-01", "--yes", code=2)
    assert "--host needs the image's manifest.json beside edge-1.0.img" in str(result.exception)


def test_a_wrong_host_touches_neither_card_nor_site(site: Path, release: Release, card: Path) -> None:
    before = card.read_bytes()
    run(release.image, card, "--host", "edge-1", "--yes", code=2)
    assert card.read_bytes() == before
    assert not (site / "enrolment").exists()


def test_a_card_that_is_too_small(release: Release, tmp_path: Path) -> None:
    small = used_card(tmp_path / "small", 23 * MIB)
    result = run(release.image, small, "--yes", code=2)
    assert str(result.exception) == "small has 23.0 MiB, 1.0 MiB less than the image"
    assert set(small.read_bytes()) == {0xA5}


def test_a_wrong_size_option(release: Release, card: Path) -> None:
    result = run(release.image, card, "--max-size", "much", "--yes", code=2)
    assert str(result.exception).startswith("--max-size: found 'much'")


def test_a_damaged_image_ends_with_failed(release: Release, card: Path) -> None:
    with release.image.open("r+b") as handle:
        handle.seek(12 * MIB)
        handle.write(b"!")
    run(release.image, card, "--yes", code=1)
