"""The same inputs for the same models on every machine, and how far their outputs may be apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hatserve.backends import BACKENDS, kind_of
from hatserve.backends.model import Options
from numpy.typing import NDArray

from tests.models.catalogue import COFFEE, EFFICIENTNET, FACE, INSIDE, TINY, WAKE_WORD, Artefact
from tests.models.photos import pixels

Arrays = dict[str, NDArray[Any]]

#: Numbers with a fraction: how far apart two machines may be, as a part of the largest number of that output. They add
#: in another order, and round each sum to seven digits.
PART = 1e-3

#: Whole numbers: one step, where a sum lies on the edge between two.
STEPS = 1


@dataclass(frozen=True)
class Case:
    """A model and the inputs for it, made from the folder of ``make models``."""

    model: Artefact
    inputs: Callable[[Path], Arrays]


def _photograph(folder: Path) -> Arrays:
    return {"image": pixels(folder / COFFEE.name, 224)}


def _face(folder: Path) -> Arrays:
    return {"input": (pixels(folder / COFFEE.name, 128) / 127.5 - 1).astype(np.float32)}


def _sound(folder: Path) -> Arrays:
    return {"serving_default_input_audio:0": np.random.default_rng(5).integers(-128, 128, (1, 3, 40), np.int8)}


def _tiny(folder: Path) -> Arrays:
    return {"image": pixels(folder / COFFEE.name, 16)}


CASES = {
    "efficientnet": Case(EFFICIENTNET, _photograph),
    "face": Case(FACE, _face),
    "wake-word": Case(WAKE_WORD, _sound),
    "wake-word-inside": Case(INSIDE, _sound),
    "tiny": Case(TINY, _tiny),
}


def on_this_host(case: Case, folder: Path) -> Arrays:
    """Return the outputs of a first run of a case here."""
    data = (folder / case.model.name).read_bytes()
    with BACKENDS[kind_of(data, case.model.name)].load(data, Options()) as model:
        return model.run(case.inputs(folder))


def apart(found: Arrays, expected: Arrays) -> list[str]:
    """Return in which outputs two runs do not agree, and by how much."""
    if {name: (value.shape, value.dtype) for name, value in found.items()} != {
        name: (value.shape, value.dtype) for name, value in expected.items()
    }:
        return ["the outputs have other names, shapes or types"]
    wrong = []
    for name, want in expected.items():
        distance = float(np.abs(found[name].astype(np.float64) - want.astype(np.float64)).max())
        allowed = PART * float(np.abs(want).max()) if want.dtype.kind == "f" else STEPS
        # Written so that what is no number at all is apart, too.
        if not distance <= allowed:
            wrong.append(f"{name}: {distance:g} apart, {allowed:g} allowed")
    return wrong
