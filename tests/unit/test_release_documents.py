"""Bills of materials, provenance and Imager's file, each judged by a program or schema of somebody else."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf.json_format import ParseDict
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import Statement
from packageurl import PackageURL
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from hatfleet.image.release.imager import Offer, os_list
from hatfleet.image.release.inventory import DebianPackage, Inventory, PythonPackage
from hatfleet.image.release.licences import Licence, combine
from hatfleet.image.release.manifest import Artefact
from hatfleet.image.release.provenance import BuildRun, Material, provenance
from hatfleet.image.release.sbom import Subject
from hatfleet.image.release.sbom_cyclonedx import cyclonedx
from hatfleet.image.release.sbom_spdx import spdx

SUBJECT = Subject("edge-virt", "0.1.0", "trixie", 1754697600)


UNSAID = Licence()


def package(name: str, version: str = "1:2.0-1+b1", licence: Licence = UNSAID, **more: Any) -> DebianPackage:
    values: dict[str, Any] = {
        "arch": "arm64",
        "source": name,
        "source_version": version,
        "maintainer": "Ärzte & <Co> <co@example.org>",
        "copyright_sha256": "ab" * 32,
        **more,
    }
    return DebianPackage(name=name, version=version, licence=licence, **values)


INVENTORY = Inventory(
    debian=(
        package("bash", licence=combine(["GPL-3+"])),
        package("g++-14", "14.2.0-19", source="gcc-14", source_version="14.2.0-19"),
        package(
            "libc6", "2.41-12+b1", combine(["LGPL-2.1+", "public-domain"]), source="glibc", source_version="2.41-12"
        ),
        package("libfoo", maintainer="", copyright_sha256=None, licence=combine(["GPL-2+ or Expat", "ISC"])),
        replace(package("libc6", "2.41-12"), arch="armhf"),
    ),
    python=(
        PythonPackage("flask", "3.0+local.1", "opt/a/flask-3.0.dist-info", combine(["BSD-3-Clause"])),
        PythonPackage("flask", "3.0+local.1", "opt/b/flask-3.0.dist-info", combine(["BSD License"])),
    ),
)
EMPTY = Inventory((), ())


@pytest.mark.parametrize("inventory", [INVENTORY, EMPTY])
def test_cyclonedx_is_valid_by_its_schema(inventory: Inventory) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(cyclonedx(SUBJECT, inventory)) is None


def test_cyclonedx_validator_can_find_fault() -> None:
    document = json.loads(cyclonedx(SUBJECT, INVENTORY))
    document["components"][0]["type"] = "thing"
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)) is not None


def spdx_faults(text: str, folder: Path) -> list[str]:
    file = folder / "x.spdx.json"
    file.write_text(text)
    return [fault.validation_message for fault in validate_full_spdx_document(parse_file(str(file)))]


@pytest.mark.parametrize("inventory", [INVENTORY, EMPTY])
def test_spdx_is_valid_by_its_tools(inventory: Inventory, tmp_path: Path) -> None:
    assert spdx_faults(spdx(SUBJECT, inventory), tmp_path) == []


def test_spdx_validator_can_find_fault(tmp_path: Path) -> None:
    document = json.loads(spdx(SUBJECT, INVENTORY))
    document["packages"][1]["licenseDeclared"] = "GPL-9"
    assert spdx_faults(json.dumps(document), tmp_path)


@pytest.mark.parametrize("write", [cyclonedx, spdx])
def test_same_inventory_gives_the_same_bytes_and_any_change_another_identifier(write: Any) -> None:
    text = write(SUBJECT, INVENTORY)
    assert write(SUBJECT, INVENTORY) == text
    key = "serialNumber" if write is cyclonedx else "documentNamespace"
    others = [
        write(replace(SUBJECT, version="0.1.1"), INVENTORY),
        write(SUBJECT, replace(INVENTORY, debian=INVENTORY.debian[1:])),
        write(SUBJECT, replace(INVENTORY, python=INVENTORY.python[1:])),
    ]
    identifiers = {json.loads(one)[key] for one in (text, *others)}
    assert len(identifiers) == 4
    assert all(identifier.startswith("urn:uuid:") for identifier in identifiers)
    assert "2025-08-09T00:00:00" in text


def test_both_name_every_package_by_the_same_purl() -> None:
    components = json.loads(cyclonedx(SUBJECT, INVENTORY))["components"]
    packages = json.loads(spdx(SUBJECT, INVENTORY))["packages"][1:]
    purls = sorted(one["purl"] for one in components)
    assert purls == sorted(one["externalRefs"][0]["referenceLocator"] for one in packages)
    assert len(purls) == 7
    for purl in purls:
        assert PackageURL.from_string(purl).to_string() == purl
    assert "pkg:deb/debian/bash@1:2.0-1%2Bb1?arch=arm64&distro=trixie" in purls
    assert "pkg:deb/debian/g%2B%2B-14@14.2.0-19?arch=arm64&distro=trixie&upstream=gcc-14" in purls
    assert "pkg:deb/debian/libc6@2.41-12%2Bb1?arch=arm64&distro=trixie&upstream=glibc%402.41-12" in purls
    assert "pkg:pypi/flask@3.0%2Blocal.1" in purls


def test_licences_are_expressions_where_they_can_be_and_names_otherwise() -> None:
    components = {one["bom-ref"]: one for one in json.loads(cyclonedx(SUBJECT, INVENTORY))["components"]}
    by_name = {(one["name"], one["version"]): one.get("licenses") for one in components.values()}
    assert by_name["bash", "1:2.0-1+b1"] == [{"expression": "GPL-3.0-or-later"}]
    assert by_name["libfoo", "1:2.0-1+b1"] == [{"expression": "(GPL-2.0-or-later OR MIT) AND ISC"}]
    names = [{"license": {"name": "LGPL-2.1+"}}, {"license": {"name": "public-domain"}}]
    assert by_name["libc6", "2.41-12+b1"] == names
    declared = {(one["name"], one["versionInfo"]): one for one in json.loads(spdx(SUBJECT, INVENTORY))["packages"]}
    assert declared["libfoo", "1:2.0-1+b1"]["licenseDeclared"] == "(GPL-2.0-or-later OR MIT) AND ISC"
    assert declared["libc6", "2.41-12+b1"]["licenseDeclared"] == "NOASSERTION"
    assert "public-domain" in declared["libc6", "2.41-12+b1"]["licenseComments"]


def make_statement() -> dict[str, Any]:
    text = provenance(
        {"b.img": "bb" * 32, "a.img.zst": "aa" * 32},
        recipe={"name": "edge-virt", "roles": ["base"]},
        environment={"mmdebstrap": "1.5.7"},
        materials=[
            Material("bash", "pkg:deb/debian/bash@5.2?arch=arm64", "cc" * 32),
            Material("lock", sha256="dd" * 32),
            Material("unpinned", "pkg:deb/debian/zsh@5.9"),
        ],
        run=BuildRun("urn:x:builder", "1234", datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC)),
        byproducts=[Material("a.bmap", sha256="ee" * 32)],
    )
    found: dict[str, Any] = json.loads(text)
    return found


def test_provenance_is_valid_by_in_toto() -> None:
    document = make_statement()
    # Unknown members are errors of ParseDict, so every name we write is one that the specification knows.
    statement = ParseDict(document, statement_pb2.Statement())
    Statement.copy_from_pb(statement).validate()
    predicate = ParseDict(document["predicate"], provenance_pb2.Provenance())
    for one in [*predicate.build_definition.resolved_dependencies, *predicate.run_details.byproducts]:
        ResourceDescriptor.copy_from_pb(one).validate()
    assert document["predicateType"] == "https://slsa.dev/provenance/v1"
    assert [one["name"] for one in document["subject"]] == ["a.img.zst", "b.img"]
    assert predicate.run_details.metadata.started_on.ToJsonString() == "2026-01-02T00:00:00Z"


def test_in_toto_can_find_fault() -> None:
    document = make_statement()
    document["subject"][0]["digest"] = {}
    with pytest.raises(ValueError, match="digest"):
        Statement.copy_from_pb(ParseDict(document, statement_pb2.Statement())).validate()


def imager_file(**offer: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "name": "edge-pi5 1.0",
        "description": "A hardened edge device",
        "released": date(2026, 1, 2),
        "devices": ["pi5-64bit"],
        **offer,
    }
    text = os_list(
        Offer(**values),
        image=Artefact(sha256="aa" * 32, size_bytes=1000),
        compressed=("edge-pi5-1.0~rc+1.img.zst", Artefact(sha256="bb" * 32, size_bytes=100)),
        block_map="edge-pi5-1.0.img.bmap",
    )
    found: dict[str, Any] = json.loads(text)
    return found


SCHEMA = json.loads((Path(__file__).parent / "fixtures" / "os-list.schema.json").read_text())


def test_imager_file_is_as_imager_documents_it() -> None:
    document = imager_file(base_url="https://images.example.org/edge")
    jsonschema.Draft7Validator(SCHEMA).validate(document)
    entry = document["os_list"][0]
    assert entry["extract_sha256"] == "aa" * 32 and entry["extract_size"] == 1000
    assert entry["image_download_sha256"] == "bb" * 32 and entry["image_download_size"] == 100
    assert entry["url"] == "https://images.example.org/edge/edge-pi5-1.0~rc%2B1.img.zst"
    assert entry["bmap_url"] == "https://images.example.org/edge/edge-pi5-1.0.img.bmap"
    assert (entry["release_date"], entry["init_format"], entry["architecture"]) == ("2026-01-02", "none", "armv8")


def test_imager_file_without_a_base_names_the_file_beside_it() -> None:
    assert imager_file()["os_list"][0]["url"] == "edge-pi5-1.0~rc%2B1.img.zst"
    assert imager_file(base_url="file:///a/")["os_list"][0]["bmap_url"] == "file:///a/edge-pi5-1.0.img.bmap"


@pytest.mark.parametrize("field", ["name", "icon", "extract_sha256", "release_date", "devices"])
def test_imager_schema_can_find_fault(field: str) -> None:
    document = imager_file()
    del document["os_list"][0][field]
    with pytest.raises(jsonschema.ValidationError, match=field):
        jsonschema.Draft7Validator(SCHEMA).validate(document)
