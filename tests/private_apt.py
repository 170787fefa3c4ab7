"""apt with a root of its own: another architecture and other archives than this machine's, which it leaves alone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path


class PrivateApt:
    """apt in a folder. Nothing is installed there, so that it resolves every dependency it is asked for."""

    def __init__(self, folder: Path, sources: str, arch: str = "arm64") -> None:
        self.folder = folder
        for part in ("sources", "state/lists/partial", "cache/archives/partial", "preferences", "configuration"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        (folder / "sources" / "test.sources").write_text(sources)
        options = {
            "APT::Architecture": arch,
            "APT::Architectures": arch,
            "APT::Install-Recommends": "false",
            # As root apt would become a user who cannot read the folder.
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Dir::Cache": folder / "cache",
            "Dir::Etc::main": "/dev/null",
            "Dir::Etc::parts": folder / "configuration",
            "Dir::Etc::preferencesparts": folder / "preferences",
            "Dir::Etc::sourcelist": "/dev/null",
            "Dir::Etc::sourceparts": folder / "sources",
            "Dir::State": folder / "state",
            "Dir::State::status": folder / "status",
        }
        self.configuration = folder / "apt.conf"
        self.configuration.write_text("".join(f'{name} "{value}";\n' for name, value in options.items()))

    def run(self, *arguments: str, check: bool = True, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "APT_CONFIG": str(self.configuration), "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            ["apt-get", "-q", *arguments],
            env=environment,
            cwd=cwd or self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def update(self) -> None:
        # Without this a failed download is only a warning.
        self.run("update", "--error-on=any")

    def fetch(self, packages: Sequence[str]) -> list[Path]:
        """Download packages with what they depend on; return the files."""
        self.run("install", "--yes", "--download-only", *packages)
        return sorted((self.folder / "cache" / "archives").glob("*.deb"))


def unpack(packages: Sequence[Path], root: Path) -> Path:
    """Unpack packages without running anything of theirs."""
    for package in packages:
        subprocess.run(["dpkg-deb", "-x", package, root], check=True)
    return root
