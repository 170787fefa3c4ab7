from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, TypeAdapter

from hatfleet.common.errors import InputErrors
from hatfleet.common.schemawords import describe
from hatfleet.common.validate import validate
from hatfleet.common.yamlfile import parse_yaml
from hatfleet.fleet.settings import Settings


class Small(Settings):
    name: str
    size: int = 1


class Big(Settings):
    small: Small | bool = True
    many: dict[str, Small] = Field(default={})


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (int, "an integer"),
        (Annotated[int, Field(ge=1, le=9)], "an integer from 1 to 9"),
        (Annotated[int, Field(gt=1)], "an integer above 1"),
        (Annotated[float, Field(ge=0, lt=5)], "a number of at least 0 and below 5"),
        (bool, "true or false"),
        (str, "text"),
        (Annotated[str, Field(min_length=1, max_length=8)], "text of 1 to 8 characters"),
        (Annotated[str, Field(pattern="^a+$")], "text matching ^a+$"),
        (Literal["a", "b c"], "one of a, 'b c'"),
        (Literal["a"], "a"),
        (int | None, "an integer or nothing"),
        (Path, "a path"),
        (IPv4Address, "an IPv4 address"),
        (list[int], "a list, each an integer"),
        (Annotated[list[str], Field(min_length=1)], "a list of at least 1 entries, each text"),
        (dict[str, int], "a mapping"),
        (Small, "a mapping with the keys name, size"),
        (list[Small], "a list, each a mapping with the keys name, size"),
        (Any, "any value"),
    ],
)
def test_what_is_allowed_is_said_in_words(kind: Any, words: str) -> None:
    schema = TypeAdapter(kind).json_schema()
    assert describe(schema, schema) == words


def test_a_default_is_told() -> None:
    assert describe({"type": "boolean", "default": True}, {}) == "true or false (default true)"
    assert describe({"type": "integer", "default": None}, {}) == "an integer (default nothing)"


def errors(model: type[BaseModel], text: str) -> list[str]:
    with pytest.raises(InputErrors) as caught:
        validate(model, parse_yaml(text, Path("f.yaml")), ["role"])
    return [str(error) for error in caught.value.errors]


def test_a_valid_value_becomes_the_model() -> None:
    node = parse_yaml("small: {name: x}\nmany: {a: {name: y, size: 2}}", Path("f.yaml"))
    assert validate(Big, node) == Big(small=Small(name="x"), many={"a": Small(name="y", size=2)})


def test_nothing_gives_the_defaults() -> None:
    assert validate(Big, None) == validate(Big, parse_yaml("", Path("f.yaml"))) == Big()


def test_an_error_inside_a_mapping_of_models_has_its_own_line() -> None:
    assert errors(Big, "many:\n  a:\n    name: x\n    size: big\n") == [
        "f.yaml:4 at role.many.a.size: found 'big', allowed is an integer (default 1)"
    ]


def test_an_error_in_a_union_shows_the_users_keys_not_the_branches() -> None:
    found = errors(Big, "small:\n  name: x\n  size: big\n")
    assert "f.yaml:3 at role.small.size: found 'big', allowed is an integer (default 1)" in found
    assert not any("Small" in line for line in found)


def test_a_value_that_fits_no_branch_is_reported_once() -> None:
    found = errors(Big, "small: [1]\n")
    assert len(found) == 1
    assert "found a list, allowed is a mapping with the keys name, size or true or false" in found[0]


def test_an_unknown_key_deep_down_names_the_keys_of_its_place() -> None:
    assert errors(Big, "many:\n  a: {name: x, szie: 2}\n") == [
        "f.yaml:2 at role.many.a.szie: unknown key 'szie'; known here: name, size"
    ]
