"""Where what is said about an image comes from: its manifest, its list of files, and the image itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hatfleet.common.errors import InputError, Where

MANIFEST = "manifest.json"

#: Ends the name of the list of files, behind ``NAME-VERSION``.
FILES_SUFFIX = ".files.json.gz"


class _Model(BaseModel):
    # Images of other versions of hatfleet are looked into, too: what is not known is skipped, what is missing is empty.
    model_config = ConfigDict(extra="ignore", frozen=True)


class PackageView(_Model):
    """A Debian package."""

    name: str
    version: str
    arch: str = ""


class RoleView(_Model):
    """Digests of a role's code and settings."""

    code: str = ""
    settings: str = ""


class InputsView(_Model):
    """What the image was made from."""

    roles: Mapping[str, RoleView] = {}
    tools: Mapping[str, str] = {}


class VerityView(_Model):
    """The dm-verity tree of the system partition."""

    root_hash: str


class ArtefactView(_Model):
    """A file of the release."""

    sha256: str
    size_bytes: int


class ManifestView(_Model):
    """What the manifest of an image says, as far as it is looked at here."""

    name: str
    version: str
    platform: str = ""
    arch: str = ""
    suite: str = ""
    # What a manifest names lies beside it.
    image: Annotated[str, Field(pattern=r"^[^/]+$")]
    sha256: str = ""
    packages: tuple[PackageView, ...] = ()
    inputs: InputsView = InputsView()
    verity: VerityView | None = None
    command_lines: Mapping[str, str] = {}
    artefacts: Mapping[str, ArtefactView] = {}


@dataclass(frozen=True)
class Source:
    """An image and what lies beside it."""

    image: Path
    manifest: ManifestView | None
    files: Path | None
    """The list of files, when there is one."""


def find_source(path: Path) -> Source:
    """Return the image that a path names: an image file, or a folder that a build wrote.

    Raises:
        InputError: there is no image, or the manifest beside it is damaged.
    """
    if path.is_dir():
        if not (path / MANIFEST).is_file():
            raise InputError(
                f"the folder has no {MANIFEST}",
                where=Where(path),
                hint="name a folder that provision image build wrote, such as out/edge-virt, or an image file",
            )
        manifest = _load(path / MANIFEST)
        return _source(path / manifest.image, manifest)
    if path.suffix in (".zst", ".xz"):
        raise InputError(
            "a compressed image cannot be looked into", where=Where(path), hint=f"unpack it first: unzstd {path}"
        )
    beside = path.parent / MANIFEST
    if beside.is_file():
        manifest = _load(beside)
        if manifest.image == path.name:
            return _source(path, manifest)
    return _source(path, None)


def _source(image: Path, manifest: ManifestView | None) -> Source:
    if not image.is_file():
        raise InputError("there is no such image", where=Where(image))
    files = image.with_name(image.name.removesuffix(".img") + FILES_SUFFIX)
    return Source(image, manifest, files if files.is_file() else None)


def _load(path: Path) -> ManifestView:
    try:
        return ManifestView.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=Where(path)) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"]) or "the file"
        raise InputError(f"this is not a manifest: {place}: {first['msg']}", where=Where(path)) from error
