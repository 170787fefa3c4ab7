"""One JSON schema for variables files, made from the settings models of all roles, for editors."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from hatfleet.common.site import Site
from hatfleet.fleet.network import NetworkVariables
from hatfleet.fleet.resolve import ConnectionVariables
from hatfleet.fleet.roles import load_role_info

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def variables_schema(site: Site) -> dict[str, Any]:
    """Return a JSON schema (draft 2020-12) for files in group_vars/ and host_vars/.

    It knows the settings of every role, the connection variables and ``hatfleet_network``; other variables are allowed.

    Raises:
        InputError: a role's settings.py does not load.
    """
    models = {name: load_role_info(site, name).settings for name in site.names("roles")}
    variables = (ConnectionVariables, NetworkVariables)
    wanted = [(model, "validation") for model in (*models.values(), *variables)]
    references, definitions = models_json_schema(wanted)  # type: ignore[arg-type]
    definitions = _without_required(definitions).get("$defs", {})
    known = [definitions.pop(_name(references[model, "validation"]))["properties"] for model in variables]
    roles = {name: references[model, "validation"] for name, model in models.items()}
    return {
        "$schema": DRAFT,
        "title": "hatfleet variables (group_vars, host_vars)",
        "type": ["object", "null"],
        "properties": {**roles, **known[0], **known[1]},
        "$defs": definitions,
    }


def _name(reference: dict[str, Any]) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def _without_required(schema: Any) -> Any:
    """Drop ``required``: a file may hold a part of the settings, the rest comes from other files."""
    if isinstance(schema, dict):
        return {
            key: _without_required(value)
            for key, value in schema.items()
            if not (key == "required" and isinstance(value, list))
        }
    if isinstance(schema, list):
        return [_without_required(item) for item in schema]
    return schema
