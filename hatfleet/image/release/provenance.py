"""How an image was made: an in-toto statement with a SLSA v1 provenance predicate.

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md and https://slsa.dev/spec/v1.0/provenance. The
statement bears the times of the build: it is about one run, the image is about its inputs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import hatfleet

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"

#: Says what externalParameters mean and how to repeat the build (docs/how-to/verify-image.md).
BUILD_TYPE = "urn:x-hatfleet:image-build:v1"


@dataclass(frozen=True)
class Material:
    """Something that went into the build."""

    name: str
    uri: str = ""
    """A package URL or where it came from; empty when it has none."""
    sha256: str | None = None

    def descriptor(self) -> dict[str, Any]:
        """Return it as an in-toto resource descriptor."""
        found: dict[str, Any] = {"name": self.name}
        if self.uri:
            found["uri"] = self.uri
        if self.sha256:
            found["digest"] = {"sha256": self.sha256}
        return found


@dataclass(frozen=True)
class BuildRun:
    """One run of the builder."""

    builder_id: str
    """URI of who vouches for it, such as the admin's machine or a CI system."""
    invocation_id: str
    """Tells this run from all others."""
    started: datetime
    finished: datetime


def provenance(
    subjects: Mapping[str, str],
    *,
    recipe: Mapping[str, Any],
    environment: Mapping[str, str],
    materials: Sequence[Material],
    run: BuildRun,
    byproducts: Sequence[Material] = (),
) -> str:
    """Return the statement as JSON.

    Args:
        subjects: sha256 of the files that the build made, by their names.
        recipe: The recipe as written; whoever has it can ask for this build again.
        environment: What the builder itself set: versions of programs, the key of the build.
        materials: Packages, lock, roles; with a sha256 where one is known.
        run: The run of the builder.
        byproducts: Files of the release that are not its product, such as bills of materials and the block map.
    """
    predicate = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {"recipe": dict(recipe)},
            "internalParameters": dict(environment),
            "resolvedDependencies": [material.descriptor() for material in materials],
        },
        "runDetails": {
            "builder": {"id": run.builder_id, "version": {"hatfleet": hatfleet.__version__}},
            "metadata": {
                "invocationId": run.invocation_id,
                "startedOn": _time(run.started),
                "finishedOn": _time(run.finished),
            },
            "byproducts": [product.descriptor() for product in byproducts],
        },
    }
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(subjects.items())],
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate,
    }
    return json.dumps(statement, indent=2, ensure_ascii=False) + "\n"


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
