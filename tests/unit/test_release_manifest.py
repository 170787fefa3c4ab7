"""What a manifest may say, and what is said about one that is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hatfleet.common.errors import InputError
from hatfleet.image.release.manifest import MANIFEST, Artefact, Kind, load_manifest
from hatfleet.lab.images import open_image
from tests.release_folder import describe

ROOT_HASH = "ab" * 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A release whose files hold nothing of interest."""
    for kind in Kind:
        (tmp_path / kind.of("tiny", "1.0")).write_text(kind.name)
    manifest = describe(tmp_path, "mbr", ROOT_HASH, {"a": "quiet", "b": "quiet"})
    (tmp_path / MANIFEST).write_text(manifest.text())
    return tmp_path


def test_manifest_is_read_as_it_was_written(folder: Path) -> None:
    manifest = load_manifest(folder / MANIFEST)
    assert manifest.text() == (folder / MANIFEST).read_text()
    assert json.loads(manifest.text())["schema"] == 1
    assert manifest.file(Kind.BLOCK_MAP) == "tiny-1.0.img.bmap"
    assert manifest.artefacts["tiny-1.0.img"] == Artefact.of(folder / "tiny-1.0.img")


def test_file_that_the_release_lacks_has_no_name(folder: Path) -> None:
    (folder / "tiny-1.0.img.bmap").unlink()
    assert describe(folder, "mbr", ROOT_HASH, {"a": "", "b": ""}).file(Kind.BLOCK_MAP) is None


def test_lab_reads_what_it_needs_of_it(folder: Path) -> None:
    image = open_image(folder / "tiny-1.0.img")
    assert image.identity == f"sha256:{load_manifest(folder / MANIFEST).sha256}"
    assert image.user == "admin"


@pytest.mark.parametrize("schema", [None, 0, 2, "1", True, []])
def test_other_schema_is_named_with_the_one_that_is_read(folder: Path, schema: object) -> None:
    record = json.loads((folder / MANIFEST).read_text())
    record["schema"] = schema
    (folder / MANIFEST).write_text(json.dumps(record))
    with pytest.raises(InputError, match="reads manifests of schema 1") as caught:
        load_manifest(folder / MANIFEST)
    assert ("no schema" if schema is None else repr(schema)) in str(caught.value)
    assert caught.value.hint


def artefact(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda record: record["artefacts"].update({name: {"sha256": "0" * 64, "size_bytes": 1}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.update(surprise=1), "surprise: Extra inputs"),
        (lambda record: record.pop("verity"), "verity: Field required"),
        (lambda record: record.update(sha256="0" * 64), "with another sha256"),
        (lambda record: record.update(image="other.img"), "not among the artefacts"),
        (lambda record: record["verity"].update(root_hash="ABC"), r"verity\.root_hash"),
        (lambda record: record["verity"].update(hash_offset_bytes=4097), r"verity\.hash_offset_bytes"),
        (lambda record: record["command_lines"].pop("b"), "each of the slots"),
        (lambda record: record["command_lines"].update(c=""), r"command_lines"),
        (lambda record: record["layout"].update(table="apm"), r"layout\.table"),
        (lambda record: record["layout"]["partitions"][1].update(name="bootcfg"), "two partitions have one name"),
        (lambda record: record["layout"]["partitions"][1].update(start_bytes=-1), "start_bytes"),
        (artefact("../outside"), "artefacts"),
        (artefact("/etc/passwd"), "artefacts"),
        (artefact(".hidden"), "artefacts"),
        (artefact("-rf"), "artefacts"),
        (artefact(""), "artefacts"),
        (artefact("line\nbreak"), "artefacts"),
        (artefact("manifest.json"), r"manifest\.json cannot be among the artefacts"),
        (artefact("tiny-1.0.img.sig"), r"tiny-1\.0\.img\.sig cannot be among"),
    ],
)
def test_manifest_that_is_wrong_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    record = json.loads((folder / MANIFEST).read_text())
    change(record)
    (folder / MANIFEST).write_text(json.dumps(record))
    with pytest.raises(InputError, match=message):
        load_manifest(folder / MANIFEST)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"schema": 1}'])
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(InputError, match=r"manifest\.json: this is not"):
        load_manifest(tmp_path / MANIFEST)


def test_manifest_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"manifest\.json: cannot be read: no such file"):
        load_manifest(tmp_path / MANIFEST)
