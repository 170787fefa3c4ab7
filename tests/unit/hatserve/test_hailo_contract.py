"""The fake hailo_platform has nothing that HailoRT's has not, and hatserve calls nothing that it has not either."""

from __future__ import annotations

import ast
import copy
import json
import operator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hatserve.backends import hailo, hailo_status
from hatserve.backends.model import Options

from tests.fakes import extract_contract
from tests.fakes.chip import boxes_hef, hef
from tests.models import tiny

FAKES = Path(extract_contract.__file__).parent
CONTRACT: dict[str, Any] = json.loads((FAKES / "hailo_contract.json").read_text())
MODULE = (FAKES / "hailo_platform/pyhailort/pyhailort.py").read_text()
PACKAGE = (FAKES / "hailo_platform/__init__.py").read_text()
BACKEND = Path(hailo.__file__).read_text()

VERSIONS = ("4.23.0", "5.1.1", "5.2.0")

#: Whose constructors callers use; those of the others are the package's own business.
MADE_BY_CALLERS = {"VDevice", "HEF", "AsyncInferCompletionInfo"}


def beyond(module: str, contract: dict[str, Any]) -> list[str]:
    """Return what a fake's module has that the contract has not."""
    found = []
    exceptions = {*contract["exceptions"].values(), "HailoRTException"}
    for name, methods in extract_contract.classes(module).items():
        if name.startswith("_") or (not methods and name in exceptions):
            continue
        known = contract["classes"].get(name)
        if known is None:
            found.append(name)
            continue
        for method, arguments in methods.items():
            if method == "__init__" and name not in MADE_BY_CALLERS:
                continue
            if known.get(method) != arguments:
                found.append(f"{name}.{method}: {arguments}, not {known.get(method)}")
    return found


def called(source: str, variable: str) -> set[str]:
    """Return the attributes of a variable that a module uses."""
    return {
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == variable
    }


def watch(module: Any, monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, str, tuple[str, ...]]]:
    """Note every call of the fake's methods from now on: class, method, arguments given by name."""
    seen: set[tuple[str, str, tuple[str, ...]]] = set()

    def noting(name: str, method: str, real: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            seen.add((name, method, tuple(sorted(named))))
            return real(*arguments, **named)

        return call

    for name, methods in extract_contract.classes(MODULE).items():
        if name not in CONTRACT["5.2.0"]["classes"]:
            continue
        kind = operator.attrgetter(name)(module)
        for method in methods:
            real = vars(kind)[method]
            if isinstance(real, property):
                watched: Any = property(noting(name, method, real.fget))
            elif isinstance(real, staticmethod):
                watched = staticmethod(noting(name, method, real.__func__))
            else:
                watched = noting(name, method, real)
            monkeypatch.setattr(kind, method, watched)
    return seen


@pytest.mark.parametrize("version", VERSIONS)
def test_the_fake_has_nothing_that_the_real_one_has_not(version: str) -> None:
    assert beyond(MODULE, CONTRACT[version]) == []
    assert set(extract_contract.exports(PACKAGE)) <= set(CONTRACT[version]["exports"])


@pytest.mark.parametrize(
    ("name", "real", "instead"),
    [
        ("VDevice", "create_infer_model", None),
        ("ConfiguredInferModel", "run_async", ["bindings", "done="]),
        ("AsyncInferJob", "wait", ["timeout_ms="]),
        ("InferModel.InferStream", "is_nms", []),
        ("ConfiguredInferModel.Bindings.InferStream", "set_buffer", ["buffer", "*", "copy="]),
    ],
)
def test_a_method_or_argument_that_the_real_one_has_not_would_be_found(name: str, real: str, instead: Any) -> None:
    other = copy.deepcopy(CONTRACT["5.2.0"])
    if instead is None:
        del other["classes"][name][real]
    else:
        other["classes"][name][real] = instead
    assert [one.split(":")[0] for one in beyond(MODULE, other)] == [f"{name}.{real}"]


def test_a_class_that_the_real_one_has_not_would_be_found() -> None:
    assert beyond(f"{MODULE}\nclass FastModel:\n    def run(self): ...\n", CONTRACT["5.2.0"]) == ["FastModel"]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_backend_asks_the_package_for_what_every_version_hands_out(version: str) -> None:
    asked = called(BACKEND, "platform") | called(BACKEND, "hailo_platform")
    assert {"VDevice", "FormatType", "HailoRTException"} <= asked
    assert asked - {"__version__"} <= set(CONTRACT[version]["exports"])


def test_the_backend_calls_what_every_version_has(fake_module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watch(fake_module, monkeypatch)
    picture = np.zeros((1, tiny.SIDE, tiny.SIDE, 3), np.uint8)
    with hailo.load(hef(tiny.onnx_model()), Options()) as model:
        model.run({"image": picture})
    with hailo.load(boxes_hef([[]], most=1), Options()) as model:
        model.run({"image": picture[:, :8, :8]})
    assert {
        ("VDevice", "create_infer_model", ()),
        ("VDevice", "__exit__", ()),
        ("InferModel.InferStream", "set_format_type", ()),
        ("ConfiguredInferModel", "wait_for_async_ready", ("timeout_ms",)),
        ("ConfiguredInferModel", "run_async", ()),
        ("ConfiguredInferModel.Bindings.InferStream", "get_buffer", ("tf_format",)),
        ("AsyncInferCompletionInfo", "exception", ()),
        ("HEF", "get_output_vstream_infos", ()),
    } <= seen
    for version in VERSIONS:
        for name, method, named in seen:
            known = CONTRACT[version]["classes"][name][method]
            assert set(named) <= {argument.rstrip("=") for argument in known}, (version, name, method)


@pytest.mark.parametrize("version", VERSIONS)
def test_names_that_python_does_not_see_in_classes_are_right_too(version: str) -> None:
    known = CONTRACT[version]
    assert set(hailo.FORMATS.values()) <= set(known["enums"]["FormatType"])
    assert "HAILO_NMS_BY_CLASS" in known["enums"]["FormatOrder"]
    assert "ROUND_ROBIN" in known["enums"]["SchedulingAlgorithm"]
    assert called(BACKEND, "params") <= set(known["attributes"]["VDeviceParams"])
    assert {"number_of_classes", "max_bboxes_per_class"} == called(BACKEND, "shape")
    assert called(BACKEND, "shape") <= set(known["attributes"]["NmsShape"])


@pytest.mark.parametrize("version", VERSIONS)
def test_codes_and_their_exceptions_are_those_of_hailort(version: str, fake_module: Any) -> None:
    known = CONTRACT[version]
    names = {code: name for name, code in known["statuses"].items()}
    assert {code: names[code] for code in fake_module.STATUSES} == fake_module.STATUSES
    assert set(hailo_status.MEANINGS) <= set(fake_module.STATUSES)
    # 4.23.0 has no exception of its own for an abort; whoever names it there loses nothing.
    own = {name: kind.__name__ for name, kind in fake_module.EXCEPTIONS.items() if name in known["exceptions"]}
    assert own == {name: kind for name, kind in known["exceptions"].items() if name in own}
    assert {"HAILO_TIMEOUT", "HAILO_HEF_NOT_COMPATIBLE_WITH_DEVICE"} <= set(own)
    for name, kind in own.items():
        if known["statuses"][name] in hailo_status.MEANINGS:
            assert hailo_status.CLASSES[kind] == known["statuses"][name]


def test_the_extractor_sees_every_kind_of_argument() -> None:
    source = """
class A:
    def plain(self, a, b=1): ...
    def by_name(self, a, *, b, c=1): ...
    def rest(self, *args, b): ...
    @staticmethod
    def static(a): ...
    @property
    def known(self): ...
    def _hidden(self): ...
    class B:
        def inner(self): ...
"""
    assert extract_contract.classes(source) == {
        "A": {
            "plain": ["a", "b="],
            "by_name": ["a", "*", "b", "c="],
            "rest": ["*args", "b"],
            "static": ["a"],
            "known": "property",
        },
        "A.B": {"inner": []},
    }
