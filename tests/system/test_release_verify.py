"""A release is what was built, or `verify` says what is not: every way to damage it, each found and named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from hatfleet.cli.image import image as image_group
from hatfleet.common.errors import ExitCode, HatfleetError, InputError
from hatfleet.image.release.manifest import MANIFEST, Kind, Manifest, load_manifest
from hatfleet.image.release.report import Outcome
from hatfleet.image.release.signing import PublicKey, load_public_key
from hatfleet.image.release.verify import verify_release
from tests.release_folder import make_release, tool
from tests.system.signed_release import FILE, failures, flip, rewrite, sign


def test_release_as_built_passes_every_check(built: Path, key: PublicKey) -> None:
    report = verify_release(built, key)
    assert {one.outcome for one in report.checks} == {Outcome.PASSED}
    assert report.exit_code is ExitCode.OK
    guarantees = {(one.subject, one.guarantee) for one in report.checks}
    assert len(guarantees) == len(report.checks) == 23


@pytest.mark.parametrize("table", ["mbr", "gpt"])
@pytest.mark.parametrize("secure_boot", [False, True])
def test_each_layout_passes(tmp_path: Path, table: str, *, secure_boot: bool) -> None:
    make_release(tmp_path / "tiny", tmp_path / "work", table=table, secure_boot=secure_boot)
    assert failures(verify_release(tmp_path / "tiny", None)) == {}


@pytest.mark.parametrize("file", sorted(FILE.values()))
@pytest.mark.parametrize("where", ["first", "middle", "last"])
def test_one_flipped_byte_is_found_in_every_file(release: Path, key: PublicKey, file: str, where: str) -> None:
    size = (release / file).stat().st_size
    flip(release / file, {"first": 0, "middle": size // 2, "last": size - 1}[where])
    report = verify_release(release, key)
    assert report.exit_code is ExitCode.CHECK_FAILED
    assert failures(report)[file]
    assert any(one.subject == file and "sha256" in one.message for one in report.checks)


@pytest.mark.parametrize("offset", [0, 1, 10, 100])
def test_one_flipped_byte_in_the_manifest_breaks_its_signature(release: Path, key: PublicKey, offset: int) -> None:
    flip(release / MANIFEST, offset)
    assert "the signature does not fit" in " ".join(failures(verify_release(release, key)).values()) or (
        MANIFEST in failures(verify_release(release, key))
    )


@pytest.mark.parametrize("file", sorted(FILE.values()))
def test_truncated_file_is_found(release: Path, key: PublicKey, file: str) -> None:
    with (release / file).open("r+b") as handle:
        handle.truncate((release / file).stat().st_size - 1)
    report = verify_release(release, key)
    assert any(one.subject == file and "truncated" in one.message for one in report.checks)


@pytest.mark.parametrize("file", sorted(FILE.values()))
def test_missing_file_is_found(release: Path, key: PublicKey, file: str) -> None:
    (release / file).unlink()
    assert failures(verify_release(release, key))[file] == "it is missing"


@pytest.mark.parametrize("extra", ["evil.img", ".hidden", "tiny-1.0.img.sig", "folder"])
def test_file_that_the_manifest_does_not_name_is_found(release: Path, key: PublicKey, extra: str) -> None:
    if extra == "folder":
        (release / extra).mkdir()
    else:
        (release / extra).touch()
    assert failures(verify_release(release, key)) == {"the folder": f"manifest.json does not name {extra}"}


def test_all_damage_is_listed_at_once(release: Path, key: PublicKey) -> None:
    flip(release / FILE[Kind.SPDX], 0)
    (release / FILE[Kind.CYCLONEDX]).unlink()
    (release / "extra").touch()
    assert set(failures(verify_release(release, key))) == {FILE[Kind.SPDX], FILE[Kind.CYCLONEDX], "the folder"}


def test_swapped_signatures_are_found(release: Path, key: PublicKey) -> None:
    one, other = release / f"{MANIFEST}.sig", release / f"{FILE[Kind.PROVENANCE]}.sig"
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)
    assert set(failures(verify_release(release, key))) == {MANIFEST, FILE[Kind.PROVENANCE]}


@pytest.mark.parametrize("content", [b"", b"no signature", b"\0" * 71])
def test_signature_that_is_none_is_found(release: Path, key: PublicKey, content: bytes) -> None:
    (release / f"{MANIFEST}.sig").write_bytes(content)
    assert "the signature does not fit" in failures(verify_release(release, key))[MANIFEST]


def test_signature_of_another_key_is_found(release: Path, keys: Path) -> None:
    found = failures(verify_release(release, load_public_key(keys / "theirs.pub")))
    assert set(found) == {MANIFEST, FILE[Kind.PROVENANCE]}
    assert "another key than theirs.pub" in found[MANIFEST]


def test_manifest_changed_to_fit_a_changed_file_is_found_by_its_signature(release: Path, key: PublicKey) -> None:
    (release / FILE[Kind.SPDX]).write_text("{ }\n")
    rewrite(release, lambda record: None)
    assert set(failures(verify_release(release, key))) == {MANIFEST}


def test_unsigned_release_fails_only_where_a_key_asks_for_a_signature(release: Path, key: PublicKey) -> None:
    for file in release.glob("*.sig"):
        file.unlink()
    assert set(failures(verify_release(release, key))) == {MANIFEST, FILE[Kind.PROVENANCE]}
    report = verify_release(release, None)
    assert report.exit_code is ExitCode.OK
    said = [one.message for one in report.checks if one.outcome is Outcome.NOT_CHECKED]
    assert len(said) == 2 and all("it is not signed" in message for message in said)


def test_signed_release_without_a_key_says_that_signatures_were_not_checked(release: Path) -> None:
    said = [one.message for one in verify_release(release, None).checks if one.outcome is Outcome.NOT_CHECKED]
    assert said == ["there is a signature, but no key to check it"] * 2


def test_one_file_is_verified_without_the_others(built: Path, tmp_path: Path, key: PublicKey) -> None:
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    (downloads / "holiday.jpg").touch()
    for name in (MANIFEST, f"{MANIFEST}.sig", FILE[Kind.COMPRESSED]):
        shutil.copy(built / name, downloads)
    report = verify_release(downloads / FILE[Kind.COMPRESSED], key)
    assert {one.outcome for one in report.checks} == {Outcome.PASSED}
    flip(downloads / FILE[Kind.COMPRESSED], 100)
    assert set(failures(verify_release(downloads / FILE[Kind.COMPRESSED], key))) == {FILE[Kind.COMPRESSED]}
    with pytest.raises(InputError, match=r"does not name holiday\.jpg"):
        verify_release(downloads / "holiday.jpg", key)


def test_image_file_is_verified_with_its_inside(release: Path, key: PublicKey) -> None:
    for name in (FILE[Kind.SPDX], FILE[Kind.COMPRESSED]):
        (release / name).unlink()
    assert failures(verify_release(release / FILE[Kind.IMAGE], key)) == {}
    subjects = {one.subject for one in verify_release(release / FILE[Kind.IMAGE], key).checks}
    assert {"system_a", "boot_a/cmdline-a.txt", FILE[Kind.BLOCK_MAP]} <= subjects


def test_folder_without_a_manifest_and_no_folder_are_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no manifest\.json"):
        verify_release(tmp_path, None)
    with pytest.raises(InputError, match="there is no file or folder"):
        verify_release(tmp_path / "nothing", None)


def test_manifest_of_another_schema_is_a_failed_check(release: Path) -> None:
    rewrite(release, lambda record: record.update(schema=2))
    found = failures(verify_release(release, None))
    assert found == {MANIFEST: "found schema 2: this version of hatfleet reads manifests of schema 1"}


def run_verify(*arguments: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(image_group, ["verify", *map(str, arguments)], catch_exceptions=True)
    assert done.exception is None or isinstance(done.exception, SystemExit | HatfleetError), done.exception
    return done.exit_code, done.stdout


def test_command_says_what_failed_and_exits_with_5(release: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(release.parent)
    assert run_verify(release, "--key", keys / "ours.pub")[0] == 0
    flip(release / FILE[Kind.SPDX], 0)
    code, text = run_verify(release, "--key", keys / "ours.pub")
    assert code == 5
    assert "✗ tiny-1.0.spdx.json is as built" in text and "1 failed" in text
    code, text = run_verify(release, "--json")
    report = json.loads(text)
    assert code == 5 and report["ok"] is False
    assert [one["subject"] for one in report["checks"] if one["outcome"] == "failed"] == ["tiny-1.0.spdx.json"]


def test_key_of_the_site_asks_for_a_signature(release: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = release.parent / "site"
    (site / "keys").mkdir(parents=True)
    (site / "inventory").mkdir()
    monkeypatch.chdir(site)
    for file in release.glob("*.sig"):
        file.unlink()
    assert run_verify(release)[0] == 0
    shutil.copy(keys / "ours.pub", site / "keys" / "image-signing.pub")
    assert run_verify(release)[0] == 5
    sign(release, keys / "ours.pem")
    assert run_verify(release)[0] == 0


def test_openssl_accepts_the_signatures(built: Path, keys: Path) -> None:
    for name in (MANIFEST, FILE[Kind.PROVENANCE]):
        command = ["dgst", "-sha256", "-verify", keys / "ours.pub", "-signature", built / f"{name}.sig", built / name]
        assert tool("openssl", *command) == "Verified OK\n"


def test_veritysetup_agrees_on_the_release_it_is_made_from(built: Path) -> None:
    manifest: Manifest = load_manifest(built / MANIFEST)
    system = built / FILE[Kind.SYSTEM]
    offset = f"--hash-offset={manifest.verity.hash_offset_bytes}"
    tool("veritysetup", "verify", system, system, manifest.verity.root_hash, offset)
