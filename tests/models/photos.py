"""Photographs as the classifier wants them, and the names of the classes that tests speak of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: ImageNet's numbers of the classes that the sample photographs show.
CLASSES = {281: "tabby", 282: "tiger cat", 285: "Egyptian cat", 657: "missile", 744: "projectile", 967: "espresso"}

#: Of the shorter side, the part in the middle that is looked at: 224 of 256 pixels, as the network was evaluated.
CROP = 224 / 256


def pixels(path: Path, side: int) -> NDArray[Any]:
    """Return the middle of a photograph, scaled to ``side`` pixels: bytes, RGB, of shape (1, side, side, 3)."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    size = int(CROP * min(image.size))
    left, top = (image.width - size) // 2, (image.height - size) // 2
    middle = image.crop((left, top, left + size, top + size)).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(middle)[None]
