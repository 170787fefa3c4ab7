"""The software bill of materials as SPDX 2.3: https://spdx.github.io/spdx-spec/v2.3/."""

from __future__ import annotations

import json
import re
from typing import Any

from packageurl import PackageURL

import hatfleet
from hatfleet.image.release.inventory import DebianPackage, Inventory, PythonPackage
from hatfleet.image.release.licences import Licence
from hatfleet.image.release.sbom import Subject, debian_purl, python_purl, serial_number

_DOCUMENT = "SPDXRef-DOCUMENT"
_IMAGE = "SPDXRef-image"
_UNKNOWN = "NOASSERTION"


def spdx(subject: Subject, inventory: Inventory) -> str:
    """Return the bill of materials of an image; the same inventory gives the same text."""
    packages = [
        *(_debian(package, subject.suite) for package in inventory.debian),
        *(_python(package) for package in inventory.python),
    ]
    for number, package in enumerate(packages, 1):
        # Identifiers allow letters, digits, full stops and hyphens only, and must differ.
        package["SPDXID"] = f"SPDXRef-{number}-{re.sub(r'[^A-Za-z0-9.-]', '-', package['name'])}"
    relationships = [_relationship(_DOCUMENT, "DESCRIBES", _IMAGE)]
    relationships += [_relationship(_IMAGE, "CONTAINS", package["SPDXID"]) for package in packages]
    image = {
        **_package(subject.name, subject.version, Licence()),
        "SPDXID": _IMAGE,
        "primaryPackagePurpose": "OPERATING-SYSTEM",
    }
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": _DOCUMENT,
        "name": f"{subject.name}-{subject.version}",
        "documentNamespace": serial_number(subject, inventory).urn,
        "creationInfo": {
            "created": subject.time.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "creators": [f"Tool: hatfleet-{hatfleet.__version__}"],
        },
        "packages": [image, *packages],
        "relationships": relationships,
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _package(name: str, version: str, licence: Licence) -> dict[str, Any]:
    package = {
        "name": name,
        "versionInfo": version,
        "downloadLocation": _UNKNOWN,
        "filesAnalyzed": False,
        "licenseConcluded": _UNKNOWN,
        "licenseDeclared": licence.expression or _UNKNOWN,
        "copyrightText": _UNKNOWN,
    }
    if licence.names and not licence.expression:
        package["licenseComments"] = f"As the package names them: {'; '.join(licence.names)}"
    return package


def _debian(package: DebianPackage, suite: str) -> dict[str, Any]:
    found = _package(package.name, package.version, package.licence)
    if package.maintainer:
        found["supplier"] = f"Organization: {package.maintainer}"
    found["sourceInfo"] = f"built from the source package {package.source} {package.source_version}"
    if package.copyright_sha256:
        where = f"/usr/share/doc/{package.name}/copyright"
        found["comment"] = f"sha256 of {where}: {package.copyright_sha256}"
    return {**found, "externalRefs": [_reference(debian_purl(package, suite))]}


def _python(package: PythonPackage) -> dict[str, Any]:
    found = _package(package.name, package.version, package.licence)
    return {**found, "sourceInfo": f"installed in /{package.path}", "externalRefs": [_reference(python_purl(package))]}


def _reference(purl: PackageURL) -> dict[str, str]:
    return {
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": purl.to_string(),
    }


def _relationship(one: str, kind: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}
