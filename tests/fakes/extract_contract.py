"""Reads from HailoRT's public sources what a double must have: names of classes, methods, arguments and codes.

    git clone https://github.com/hailo-ai/hailort
    python -m tests.fakes.extract_contract hailort v4.23.0 v5.1.1 v5.2.0 > tests/fakes/hailo_contract.json

Names only. The Python side is read as a syntax tree, the names that the C++ side gives to Python by their pattern.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from typing import Any

BINDINGS = "hailort/libhailort/bindings/python"
PACKAGE = f"{BINDINGS}/platform/hailo_platform"
HEADER = "hailort/libhailort/include/hailo/hailort.h"

#: What inference needs. The rest of the interface is older or for other work, and not for a double to have.
CLASSES = (
    "AsyncInferCompletionInfo",
    "AsyncInferJob",
    "ConfiguredInferModel",
    "ConfiguredInferModel.Bindings",
    "ConfiguredInferModel.Bindings.InferStream",
    "HEF",
    "InferModel",
    "InferModel.InferStream",
    "VDevice",
)

#: Special methods that callers use without writing them.
SPECIAL = {"__init__", "__enter__", "__exit__"}

PROPERTY = "property"


def classes(source: str) -> dict[str, dict[str, Any]]:
    """Return the public methods of every class, nested ones by dotted names, each with its arguments."""
    found: dict[str, dict[str, Any]] = {}

    def visit(node: ast.ClassDef, prefix: str) -> None:
        name = f"{prefix}{node.name}"
        methods = [one for one in node.body if isinstance(one, ast.FunctionDef)]
        found[name] = {
            one.name: signature(one) for one in methods if not one.name.startswith("_") or one.name in SPECIAL
        }
        for one in node.body:
            if isinstance(one, ast.ClassDef):
                visit(one, f"{name}.")

    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            visit(node, "")
    return found


def signature(function: ast.FunctionDef) -> list[str] | str:
    """Return the arguments after ``self``: one with a default ends in ``=``, those behind ``*`` go by name only."""
    decorators = {one.id for one in function.decorator_list if isinstance(one, ast.Name)}
    if "property" in decorators:
        return PROPERTY
    given = function.args
    plain = [*given.posonlyargs, *given.args]
    without = len(plain) - len(given.defaults)
    names = [f"{one.arg}{'=' if place >= without else ''}" for place, one in enumerate(plain)]
    if "staticmethod" not in decorators:
        names = names[1:]
    if given.vararg:
        names.append(f"*{given.vararg.arg}")
    elif given.kwonlyargs:
        names.append("*")
    pairs = zip(given.kwonlyargs, given.kw_defaults, strict=True)
    return [*names, *(f"{one.arg}{'=' if default is not None else ''}" for one, default in pairs)]


def exports(source: str) -> list[str]:
    """Return the names that the package's first module hands out."""
    (names,) = (
        ast.literal_eval(one.value)
        for one in ast.parse(source).body
        if isinstance(one, ast.Assign) and getattr(one.targets[0], "id", "") == "__all__"
    )
    return sorted(names)


def exceptions(source: str) -> dict[str, str]:
    """Return which exception stands for which status: the comparisons of one function, and what each returns."""
    (function,) = (
        one
        for one in ast.walk(ast.parse(source))
        if isinstance(one, ast.FunctionDef) and one.name == "create_exception_from_status"
    )
    found = {}
    for branch in (one for one in ast.walk(function) if isinstance(one, ast.If)):
        if isinstance(branch.test, ast.Compare) and isinstance(branch.test.comparators[0], ast.Constant):
            (returned,) = (one for one in branch.body if isinstance(one, ast.Return))
            assert isinstance(returned.value, ast.Call)
            found[str(branch.test.comparators[0].value)] = ast.unparse(returned.value.func)
    return found


def statuses(header: str) -> dict[str, int]:
    """Return the status codes by name."""
    return {name: int(code) for code, name in re.findall(r"HAILO_STATUS__X\((\d+),\s*(\w+)", header)}


def enumeration(source: str, name: str) -> list[str]:
    """Return the values of an enumeration that C++ gives to Python."""
    (body,) = re.findall(rf'py::enum_<\w+>\(m, "{name}".*?;', source, re.DOTALL)
    return re.findall(r'\.value\("(\w+)"', body)


def properties(source: str, name: str) -> list[str]:
    """Return the attributes of a class that C++ gives to Python."""
    (body,) = re.findall(rf'py::class_<\w+>\(m, "{name}"\)(.*?)\n\s*;', source, re.DOTALL)
    return re.findall(r'\.def_(?:property|readonly|readwrite)(?:_readonly)?\("(\w+)"', body)


def contract(repository: str, tag: str) -> dict[str, Any]:
    """Return what one version has."""

    def read(path: str) -> str:
        command = ["git", "-C", repository, "show", f"{tag}:{path}"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    module = read(f"{PACKAGE}/pyhailort/pyhailort.py")
    native = read(f"{BINDINGS}/src/pyhailort.cpp")
    every = classes(module)
    return {
        "classes": {name: every[name] for name in CLASSES},
        "exports": exports(read(f"{PACKAGE}/__init__.py")),
        "enums": {name: enumeration(native, name) for name in ("FormatType", "FormatOrder", "SchedulingAlgorithm")},
        "attributes": {name: properties(native, name) for name in ("VDeviceParams", "NmsShape")},
        "statuses": statuses(read(HEADER)),
        "exceptions": exceptions(module),
    }


if __name__ == "__main__":
    repository, *tags = sys.argv[1:]
    print(json.dumps({tag.removeprefix("v"): contract(repository, tag) for tag in tags}, indent=1, sort_keys=True))
