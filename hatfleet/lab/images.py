"""Which image a new device is made from, and whether it is still the same one later."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from hatfleet.common.errors import InputError, Where
from hatfleet.common.site import Site
from hatfleet.lab.device import Device

#: The only platform that QEMU can boot.
PLATFORM = "virt"

_BUILD_HINT = "build one first: provision image build images/edge-virt.yaml"


class _Manifest(BaseModel):
    """What the lab reads of a build's manifest.json; it says much more."""

    platform: str
    image: str
    sha256: str
    admin_user: str


@dataclass(frozen=True)
class LabImage:
    """A disk image to boot devices from."""

    path: Path
    identity: str
    """Differs when the content differs: the sha256 from the manifest, else size and time of change."""
    user: str
    """The admin user that may log in."""


def find_image(site: Site, given: Path | None) -> LabImage:
    """Return the image to use: the given file, else the one built last in the site (``out/*/manifest.json``).

    Raises:
        InputError: the file is not there, or is not for virtual devices, or nothing has been built yet.
    """
    if given is not None:
        return open_image(given)
    manifests = [
        path for path in (site.root / "out").glob("*/manifest.json") if _read_manifest(path).platform == PLATFORM
    ]
    if not manifests:
        raise InputError(f"there is no image for virtual devices in {site.root / 'out'}", hint=_BUILD_HINT)
    newest = max(manifests, key=lambda path: path.stat().st_mtime)
    return open_image(newest.parent / _read_manifest(newest).image)


def open_image(path: Path) -> LabImage:
    """Return what there is to know of an image file, from the manifest beside it if that is about this file.

    Raises:
        InputError: no such file, or an image for another platform.
    """
    if not path.is_file():
        raise InputError(f"there is no image {path}", hint=_BUILD_HINT)
    path = path.resolve()
    status = path.stat()
    identity, user = f"{status.st_size}:{status.st_mtime_ns}", "admin"
    record = path.parent / "manifest.json"
    if record.is_file() and (manifest := _read_manifest(record)).image == path.name:
        if manifest.platform != PLATFORM:
            raise InputError(
                f"{path.name} is an image for {manifest.platform}; the lab boots images for {PLATFORM}",
                hint=_BUILD_HINT,
            )
        identity, user = f"sha256:{manifest.sha256}", manifest.admin_user
    return LabImage(path, identity, user)


def check_unchanged(device: Device) -> None:
    """Make sure that the image under a device's disk is the one the disk was made on.

    The disk holds differences only: over another image they would be garbage.

    Raises:
        InputError: the image is gone or has changed.
    """
    hint = f"make the device anew: provision lab down {device.name}, then provision lab up"
    if not device.image.is_file():
        raise InputError(f"the image under {device.name} is gone: {device.image}", hint=hint)
    if open_image(device.image).identity != device.image_identity:
        raise InputError(f"the image under {device.name} has changed since: {device.image}", hint=hint)


def _read_manifest(path: Path) -> _Manifest:
    try:
        return _Manifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise InputError(
            f"this is not a manifest of an image build: {error}", where=Where(path), hint="build the image again"
        ) from error
