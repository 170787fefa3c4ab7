"""Real packages of Debian for another architecture, downloaded once and kept in the cache."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from hatfleet.common.locks import file_lock
from hatfleet.common.paths import cache_dir
from tests.private_apt import PrivateApt

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def archive_address() -> str:
    """Where this machine's own apt finds Debian; a mirror is as good as the original."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    known = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    debian = [uri for uri in known if uri.rstrip("/").endswith("/debian")]
    if not debian:
        pytest.skip("this machine's apt knows no archive of Debian")
    return debian[0]


def debian_packages(names: Sequence[str], suite: str, components: Sequence[str]) -> list[Path]:
    """Return the files of packages, without what they depend on. The kernel is the newest that ``names`` lead to."""
    # Tests run side by side.
    with file_lock(cache_dir() / "locks" / "tests-debian", "Debian's packages for the tests"):
        return _download(cache_dir() / "tests" / f"debian-{suite}-arm64", names, suite, components)


def _download(folder: Path, names: Sequence[str], suite: str, components: Sequence[str]) -> list[Path]:
    fields = {
        "Types": "deb",
        "URIs": archive_address(),
        "Suites": suite,
        "Components": " ".join(components),
        "Signed-By": str(KEYRING),
    }
    apt = PrivateApt(folder, "".join(f"{key}: {value}\n" for key, value in fields.items()))
    apt.update()
    planned = apt.run("install", "--simulate", *names).stdout
    wanted = [line.split()[1] for line in planned.splitlines() if line.startswith("Inst ")]
    kernels = [name for name in wanted if name.startswith("linux-image-6")]
    # Not where the files lie: apt does not list what it has no need to download.
    listed = apt.run("download", "--print-uris", *sorted({*names, *kernels})).stdout
    packages = folder / "packages"
    packages.mkdir(exist_ok=True)
    files = [packages / line.split()[1] for line in listed.splitlines() if line.startswith("'")]
    assert files, listed
    for old in set(packages.iterdir()) - set(files):
        old.unlink()
    for file in files:
        if not file.exists():
            apt.run("download", file.name.split("_")[0], cwd=packages)
    return files
