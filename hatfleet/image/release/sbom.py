"""What both formats of the software bill of materials have in common: the image they are about, and identifiers."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from packageurl import PackageURL
from pydantic_core import to_json

import hatfleet
from hatfleet.image.release.inventory import DebianPackage, Inventory, PythonPackage

#: Name space of the identifiers of bills of materials (a random UUID, chosen once).
_NAMESPACE = uuid.UUID("0e6f6f0b-6b52-4b8f-8d4c-5d1c3f8f8c1e")


@dataclass(frozen=True)
class Subject:
    """The image that a bill of materials is about."""

    name: str
    version: str
    suite: str
    """The Debian release, by its code name."""
    epoch_s: int
    """Time that the document bears, seconds since 1970: that of the suite, so that it can be made again."""

    @property
    def time(self) -> datetime:
        """The time that the document bears."""
        return datetime.fromtimestamp(self.epoch_s, UTC)


def serial_number(subject: Subject, inventory: Inventory) -> uuid.UUID:
    """Return the identifier of a bill of materials: another one whenever its content is another."""
    content = to_json([hatfleet.__version__, asdict(subject), asdict(inventory)])
    return uuid.uuid5(_NAMESPACE, hashlib.sha256(content).hexdigest())


def debian_purl(package: DebianPackage, suite: str) -> PackageURL:
    """Return the package URL of a Debian package.

    Types and qualifiers: https://github.com/package-url/purl-spec/blob/main/types/deb-definition.json; "upstream" names
    the source package where it is another, for scanners of vulnerabilities.
    """
    qualifiers = {"arch": package.arch, "distro": suite}
    if package.source != package.name or package.source_version != package.version:
        same = package.source_version == package.version
        qualifiers["upstream"] = package.source if same else f"{package.source}@{package.source_version}"
    return PackageURL("deb", "debian", package.name, package.version, qualifiers)


def python_purl(package: PythonPackage) -> PackageURL:
    """Return the package URL of a Python distribution."""
    return PackageURL("pypi", None, package.name, package.version)
