"""The software bill of materials as CycloneDX 1.6: https://cyclonedx.org/docs/1.6/json/."""

from __future__ import annotations

from collections.abc import Iterable

from cyclonedx.model import Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.contact import OrganizationalEntity
from cyclonedx.model.license import DisjunctiveLicense, License, LicenseExpression
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output.json import JsonV1Dot6

import hatfleet
from hatfleet.image.release.inventory import DebianPackage, Inventory, PythonPackage
from hatfleet.image.release.licences import Licence
from hatfleet.image.release.sbom import Subject, debian_purl, python_purl, serial_number


def cyclonedx(subject: Subject, inventory: Inventory) -> str:
    """Return the bill of materials of an image; the same inventory gives the same text."""
    image = Component(
        name=subject.name,
        version=subject.version,
        type=ComponentType.OPERATING_SYSTEM,
        bom_ref=f"image:{subject.name}@{subject.version}",
    )
    tool = Component(name="hatfleet", version=hatfleet.__version__, type=ComponentType.APPLICATION)
    components = [
        *(_debian(package, subject.suite) for package in inventory.debian),
        *(_python(package) for package in inventory.python),
    ]
    bom = Bom(
        serial_number=serial_number(subject, inventory),
        metadata=BomMetaData(component=image, timestamp=subject.time, tools=ToolRepository(components=[tool])),
        components=components,
    )
    bom.register_dependency(image, components)
    return str(JsonV1Dot6(bom).output_as_string(indent=2)) + "\n"


def _debian(package: DebianPackage, suite: str) -> Component:
    purl = debian_purl(package, suite)
    properties = {"hatfleet:source": f"{package.source} {package.source_version}"}
    if package.copyright_sha256:
        properties["hatfleet:copyright-sha256"] = package.copyright_sha256
    return Component(
        name=package.name,
        version=package.version,
        type=ComponentType.LIBRARY,
        bom_ref=purl.to_string(),
        purl=purl,
        supplier=OrganizationalEntity(name=package.maintainer) if package.maintainer else None,
        licenses=_licences(package.licence),
        properties=_properties(properties),
    )


def _python(package: PythonPackage) -> Component:
    purl = python_purl(package)
    return Component(
        name=package.name,
        version=package.version,
        type=ComponentType.LIBRARY,
        # The same distribution may be there twice, in two environments.
        bom_ref=f"{purl.to_string()}#{package.path}",
        purl=purl,
        licenses=_licences(package.licence),
        properties=_properties({"hatfleet:path": f"/{package.path}"}),
    )


def _properties(values: dict[str, str]) -> Iterable[Property]:
    return [Property(name=name, value=value) for name, value in values.items()]


def _licences(licence: Licence) -> Iterable[License]:
    """Return an expression where all of it is in SPDX's words, else the names as they are written."""
    if licence.expression:
        return [LicenseExpression(licence.expression)]
    return [DisjunctiveLicense(name=name) for name in licence.names]
