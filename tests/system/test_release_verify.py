"""A release is what was built, or `verify` says what is not: every way to damage it, each found and named."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from hatfleet.cli.image import image as image_group
from hatfleet.common.errors import ExitCode, HatfleetError, InputError
from hatfleet.image.release.manifest import MANIFEST, Artefact, Kind, Manifest, load_manifest
from hatfleet.image.release.report import Outcome, Report
from hatfleet.image.release.signing import PublicKey, load_public_key, load_signing_key, sign_file
from hatfleet.image.release.verify import verify_release
from tests.release_folder import BOOT_AT, NAME, SYSTEM_AT, VERSION, make_release, pack, put, tool

FILE = {kind: kind.of(NAME, VERSION) for kind in Kind}


def make_key(folder: Path, name: str) -> tuple[Path, Path]:
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    tool("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", private)
    tool("openssl", "pkey", "-in", private, "-pubout", "-out", public)
    return private, public


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs"):
        make_key(folder, name)
    return folder


def sign(folder: Path, private: Path) -> None:
    key = load_signing_key(private, ask=lambda: "")
    for name in (MANIFEST, FILE[Kind.PROVENANCE]):
        sign_file(folder / name, key)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Path:
    base = tmp_path_factory.mktemp("release")
    make_release(base / "tiny", base / "work")
    sign(base / "tiny", keys / "ours.pem")
    return base / "tiny"


@pytest.fixture
def release(built: Path, tmp_path: Path) -> Path:
    """A copy of the signed release, to be damaged."""
    folder = tmp_path / "tiny"
    subprocess.run(["cp", "-r", "--sparse=always", built, folder], check=True)
    return folder


@pytest.fixture
def key(keys: Path) -> PublicKey:
    return load_public_key(keys / "ours.pub")


def failures(report: Report) -> dict[str, str]:
    return {one.subject: one.message for one in report.checks if one.outcome is Outcome.FAILED}


def rewrite(folder: Path, change: Callable[[dict[str, object]], None], private: Path | None = None) -> None:
    """Change the manifest; it gets the digests of the files as they are, so that only the inside can be wrong."""
    record = json.loads((folder / MANIFEST).read_text())
    for name in record["artefacts"]:
        record["artefacts"][name] = Artefact.of(folder / name).model_dump()
    record["sha256"] = record["artefacts"][record["image"]]["sha256"]
    change(record)
    (folder / MANIFEST).write_text(json.dumps(record))
    if private:
        sign(folder, private)


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as handle:
        handle.seek(offset)
        byte = handle.read(1)[0]
        handle.seek(offset)
        handle.write(bytes([byte ^ 0x40]))


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


def repack(folder: Path) -> None:
    pack(folder / FILE[Kind.IMAGE])
    rewrite(folder, lambda record: None)


@pytest.mark.parametrize("block", [0, 127, 299])
def test_changed_data_of_the_system_partition_is_found_by_the_hash_tree(release: Path, block: int) -> None:
    flip(release / FILE[Kind.IMAGE], SYSTEM_AT + block * 4096 + 77)
    flip(release / FILE[Kind.SYSTEM], block * 4096 + 77)
    repack(release)
    found = failures(verify_release(release, None))
    place = f"the first at byte {block * 4096} of the partition"
    assert found == {"system_a": f"1 data blocks differ from the hash tree, {place}"}


@pytest.mark.parametrize("level", [1, 2, 4])
def test_damaged_hash_tree_is_found(release: Path, level: int) -> None:
    flip(release / FILE[Kind.IMAGE], SYSTEM_AT + (300 + level) * 4096 + 5)
    flip(release / FILE[Kind.SYSTEM], (300 + level) * 4096 + 5)
    repack(release)
    assert set(failures(verify_release(release, None))) == {"system_a"}


@pytest.mark.parametrize("offset", [0, 8, 12, 32, 64, 68, 72, 80, 88])
def test_changed_verity_superblock_is_found(release: Path, offset: int) -> None:
    flip(release / FILE[Kind.IMAGE], SYSTEM_AT + 300 * 4096 + offset)
    flip(release / FILE[Kind.SYSTEM], 300 * 4096 + offset)
    repack(release)
    assert set(failures(verify_release(release, None))) == {"system_a"}


def test_command_line_with_another_root_hash_is_found(release: Path) -> None:
    manifest = load_manifest(release / MANIFEST)
    other = manifest.command_lines["b"].replace(manifest.verity.root_hash, "0" * 64)
    image = release / FILE[Kind.IMAGE]
    replace_in_fat(image, "cmdline-b.txt", f"{other}\n")
    put_boot_payload(release)
    repack(release)
    assert set(failures(verify_release(release, None))) == {"boot_a/cmdline-b.txt"}

    def agree(record: dict[str, object]) -> None:
        record["command_lines"] = {**manifest.command_lines, "b": other}

    # A manifest that says the same does not help: the tree's root hash is what counts.
    rewrite(release, agree)
    assert "found the root hash 000" in failures(verify_release(release, None))["boot_a/cmdline-b.txt"]


def replace_in_fat(image: Path, name: str, content: str) -> None:
    source = image.parent.parent / name
    source.write_text(content)
    where = f"{image}@@{BOOT_AT}"
    tool("mdel", "-i", where, f"::/{name}")
    tool("mcopy", "-i", where, source, f"::/{name}")


def put_boot_payload(folder: Path) -> None:
    with (folder / FILE[Kind.IMAGE]).open("rb") as handle:
        handle.seek(BOOT_AT)
        (folder / FILE[Kind.BOOT]).write_bytes(handle.read((folder / FILE[Kind.BOOT]).stat().st_size))


def test_command_line_that_is_missing_is_found(release: Path) -> None:
    tool("mdel", "-i", f"{release / FILE[Kind.IMAGE]}@@{BOOT_AT}", "::/cmdline-a.txt")
    put_boot_payload(release)
    repack(release)
    assert "cmdline-a.txt" in failures(verify_release(release, None))["boot_a/cmdline-a.txt"]


def test_boot_partition_that_is_no_file_system_is_found(release: Path) -> None:
    with (release / FILE[Kind.IMAGE]).open("r+b") as handle:
        handle.seek(BOOT_AT)
        handle.write(bytes(65536))
    put_boot_payload(release)
    repack(release)
    assert set(failures(verify_release(release, None))) == {"boot_a"}


def test_secure_boot_image_that_its_signature_is_not_about_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    make_release(folder, tmp_path / "work", secure_boot=True)
    replace_in_fat(folder / FILE[Kind.IMAGE], "boot.sig", f"{'0' * 64}\n")
    put_boot_payload(folder)
    repack(folder)
    assert set(failures(verify_release(folder, None))) == {"boot_a/boot.sig"}


def test_update_payload_other_than_the_image_is_found(release: Path) -> None:
    flip(release / FILE[Kind.SYSTEM], 5)
    flip(release / FILE[Kind.BOOT], 5)
    rewrite(release, lambda record: None)
    assert set(failures(verify_release(release, None))) == {FILE[Kind.SYSTEM], FILE[Kind.BOOT]}


def test_content_behind_the_payload_is_found(release: Path) -> None:
    put(release / FILE[Kind.IMAGE], SYSTEM_AT + 3 * 1024 * 1024, b"hidden")
    repack(release)
    assert failures(verify_release(release, None)) == {FILE[Kind.SYSTEM]: "system_a holds more than it"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start_bytes": 4096}, "boot_a starts at byte 2097152, not 4096"),
        ({"size_bytes": 512}, "boot_a has the size 2097152, not 512"),
        ({"partuuid": "deadbeef-02"}, "boot_a has the PARTUUID cafe0102-02, not deadbeef-02"),
        ({"number": 9}, "boot_a is missing; there is a partition 2 that it does not name"),
    ],
)
def test_partition_other_than_in_the_manifest_is_found(release: Path, change: dict[str, object], message: str) -> None:
    def edit(record: dict[str, object]) -> None:
        layout = record["layout"]
        assert isinstance(layout, dict)
        layout["partitions"][1] |= change

    rewrite(release, edit)
    assert failures(verify_release(release, None))[FILE[Kind.IMAGE]] == message


def test_gpt_partition_of_another_name_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    make_release(folder, tmp_path / "work", table="gpt")
    tool("sfdisk", "--quiet", "--part-label", folder / FILE[Kind.IMAGE], "6", "stuff")
    repack(folder)
    assert failures(verify_release(folder, None)) == {FILE[Kind.IMAGE]: "data is called stuff, not data"}


def test_image_without_a_partition_table_is_found(release: Path) -> None:
    with (release / FILE[Kind.IMAGE]).open("r+b") as handle:
        handle.write(bytes(512))
    repack(release)
    assert "there is no partition table" in failures(verify_release(release, None))[FILE[Kind.IMAGE]]


def test_partition_table_of_another_kind_is_found(release: Path) -> None:
    tool("sfdisk", "--quiet", "--wipe", "always", release / FILE[Kind.IMAGE], stdin="label: sun\n")
    repack(release)
    assert "there is no partition table" in failures(verify_release(release, None))[FILE[Kind.IMAGE]]


def test_a_machine_whose_slots_share_a_command_line_passes(tmp_path: Path) -> None:
    make_release(tmp_path / "tiny", tmp_path / "work", platform="rpi4-debian")
    assert failures(verify_release(tmp_path / "tiny", None)) == {}


def test_a_platform_that_nobody_knows_is_found(tmp_path: Path) -> None:
    make_release(tmp_path / "tiny", tmp_path / "work")
    rewrite(tmp_path / "tiny", lambda record: record.update(platform="rpi9"))
    assert "machine of the kind rpi9, which is not known" in failures(verify_release(tmp_path / "tiny", None))["boot_a"]


def test_compressed_file_with_another_image_in_it_is_found(release: Path) -> None:
    other = release.parent / "other"
    other.write_bytes(bytes(20 * 1024 * 1024))
    for size, word in ((20, "its sha256 differs"), (19, "there is less in it"), (21, "there is more in it")):
        with other.open("r+b") as handle:
            handle.truncate(size * 1024 * 1024)
        tool("zstd", "-q", "-f", other, "-o", release / FILE[Kind.COMPRESSED])
        rewrite(release, lambda record: None)
        found = failures(verify_release(release, None))
        assert word in found[FILE[Kind.COMPRESSED]]
        assert len(found) == 1


def test_compressed_file_that_is_cut_off_or_none_is_found(release: Path) -> None:
    file = release / FILE[Kind.COMPRESSED]
    whole = file.read_bytes()
    for content in (whole[:-100], b"", b"plain", whole + b"more"):
        file.write_bytes(content)
        rewrite(release, lambda record: None)
        found = failures(verify_release(release, None))
        assert set(found) == {file.name}, content[:10]


def test_content_that_the_block_map_leaves_out_is_found(release: Path) -> None:
    put(release / FILE[Kind.IMAGE], 18 * 1024 * 1024, b"not in the map")
    tool("zstd", "-q", "-f", release / FILE[Kind.IMAGE], "-o", release / FILE[Kind.COMPRESSED])
    rewrite(release, lambda record: None)
    assert "no range for it" in failures(verify_release(release, None))[FILE[Kind.BLOCK_MAP]]


def test_block_map_that_does_not_fit_is_found(release: Path) -> None:
    file = release / FILE[Kind.BLOCK_MAP]
    whole = file.read_text()
    damaged = {
        "its own checksum does not match": whole.replace("<MappedBlocksCount>", "<MappedBlocksCount> "),
        "entities": '<!DOCTYPE x [<!ENTITY a "a">]>' + whole,
        "broken or cut off": whole[:-20],
        "version": whole.replace('version="2.0"', 'version="1.3"'),
    }
    for message, text in damaged.items():
        assert text != whole
        file.write_text(text)
        rewrite(release, lambda record: None)
        assert message in failures(verify_release(release, None))[file.name]


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
