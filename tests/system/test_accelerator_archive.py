"""The accelerator's packages as apt sees them: stand-ins in a signed archive, apt real."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hatfleet.common.errors import Where
from hatfleet.image.archives import FurtherArchive, checked_keyring, sources
from roles.accelerator import refused
from roles.accelerator.settings import STACKS, Settings
from tests.private_apt import PrivateApt, unpack
from tests.standin_archive import SUITE, build_archive, hailo8, hailo10h, served


@pytest.fixture(scope="module")
def apt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateApt]:
    folder = tmp_path_factory.mktemp("apt")
    archive = build_archive(folder / "archive", (*hailo10h(), *hailo8()))
    with served(archive) as uri:
        keyring, keys = str(archive.keyring), [archive.fingerprint]
        place = FurtherArchive(name="stand-in", uri=uri, keyring=keyring, fingerprints=keys).place(Where(), Path())
        (folder / "keys.gpg").write_bytes(checked_keyring(place))
        made = PrivateApt(folder / "apt", sources(place, suite=SUITE, arch="arm64", keyring=folder / "keys.gpg"))
        made.update()
        yield made


@pytest.mark.parametrize("kind", STACKS)
def test_the_locked_versions_can_be_fetched_together(apt: PrivateApt, kind: str) -> None:
    wanted = Settings.model_validate({"kind": kind}).packages_of(kind)
    said = apt.run("install", "--simulate", *wanted).stdout
    installed = {line.split()[1]: line.split()[2].strip("(") for line in said.splitlines() if line.startswith("Inst ")}
    assert installed == dict(name.split("=") for name in wanted)


@pytest.mark.parametrize("kind", STACKS)
def test_the_drivers_package_brings_the_firmware_that_the_driver_asks_for(
    apt: PrivateApt, kind: str, tmp_path: Path
) -> None:
    part = STACKS[kind].parts["driver"]
    apt.run("download", f"{part.package}={part.version}", cwd=tmp_path)
    root = unpack(list(tmp_path.glob("*.deb")), tmp_path / "root")
    firmware = root / "usr/lib/firmware"
    assert [pattern for pattern in STACKS[kind].firmware if not list(firmware.glob(pattern))] == []


def test_apt_itself_would_not_install_both_families_which_is_why_they_are_refused_before(apt: PrivateApt) -> None:
    done = apt.run("install", "--simulate", "h10-hailort", "hailort", check=False)
    assert done.returncode != 0
    assert "Conflicts: hailort" in done.stdout + done.stderr
    assert "hailort" in refused(Settings(kind="hailo10h"))


def test_a_version_that_the_archive_does_not_have_is_named_by_apt(apt: PrivateApt) -> None:
    done = apt.run("install", "--simulate", "h10-hailort=5.2.0", check=False)
    assert done.returncode != 0
    assert "Version '5.2.0' for 'h10-hailort' was not found" in done.stdout + done.stderr
