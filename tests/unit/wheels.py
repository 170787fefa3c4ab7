"""Wheels of a few bytes, an index of them for the real pip, and a tiny hatserve to lock."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from hatfleet.runtimes import hatserve

ARM64 = "cp313-cp313-manylinux_2_28_aarch64"
ANY = "py3-none-any"

#: The same for all, so that a wheel made again has the same digest.
_TIME = (2020, 2, 2, 0, 0, 0)


def make_wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    *,
    tag: str = ANY,
    requires: Sequence[str] = (),
    files: Mapping[str, str] | None = None,
    metadata: str = "",
    broken: str = "",
) -> Path:
    """Make a wheel.

    Args:
        folder: Receives it.
        name: Name of the distribution, also of its module.
        version: Its version.
        tag: What it fits.
        requires: What it requires.
        files: Its files; one module by default.
        metadata: More lines of METADATA.
        broken: A file whose content is not the one that RECORD names.
    """
    stem = name.replace("-", "_")
    info = f"{stem}-{version}.dist-info"
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}"
    content = {
        **(files if files is not None else {f"{stem}/__init__.py": f"version = {version!r}\n"}),
        f"{info}/METADATA": head + "".join(f"Requires-Dist: {one}\n" for one in requires) + "\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = "".join(f"{path},sha256={_digest(text)},{len(text.encode())}\n" for path, text in content.items())
    content[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    if broken:
        content[broken] += "#"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{stem}-{version}-{tag}.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for path, text in content.items():
            archive.writestr(zipfile.ZipInfo(path, _TIME), text)
    return file


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def use_index(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """Have pip know this folder of wheels and nothing else, and a cache of its own; return the folder."""
    index = folder / "index"
    index.mkdir()
    patch.setenv("PIP_CONFIG_FILE", "/dev/null")
    patch.setenv("PIP_NO_INDEX", "1")
    patch.setenv("PIP_FIND_LINKS", str(index))
    patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    return index


def use_hatserve(folder: Path, patch: pytest.MonkeyPatch, requires: Sequence[str]) -> Path:
    """Have a hatserve that requires these; return its folder."""
    project = folder / "hatserve"
    package = project / "src" / "hatserve"
    (package / "cli").mkdir(parents=True, exist_ok=True)
    lines = "".join(f'  "{one}",\n' for one in requires)
    (project / "README.md").write_text("# hatserve\n")
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        f'[project]\nname = "hatserve"\nversion = "0.1"\ndependencies = [\n{lines}]\n'
        '[tool.hatch.build.targets.wheel]\npackages = ["src/hatserve"]\n'
    )
    (package / "__init__.py").write_text("")
    (package / "cli" / "__init__.py").write_text("")
    (package / "cli" / "main.py").write_text('import os\ndef main():\n    print(os.environ["ORT_DISABLE_TELEMETRY"])\n')
    patch.setattr(hatserve, "source", lambda: project)
    return project
