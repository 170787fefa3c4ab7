"""A signed release, and ways to change it: what the tests of `verify` share."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hatfleet.image.release.manifest import MANIFEST, Artefact, Kind
from hatfleet.image.release.report import Outcome, Report
from hatfleet.image.release.signing import PublicKey, load_public_key, load_signing_key, sign_file
from tests.release_folder import NAME, VERSION, make_release, pack, tool

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


def repack(folder: Path) -> None:
    pack(folder / FILE[Kind.IMAGE])
    rewrite(folder, lambda record: None)
