"""Settings of the role runtimes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hatfleet.fleet.settings import RoleSettings
from hatfleet.runtimes.target import Arch, Python


class Settings(RoleSettings):
    """The Python environment that models run in."""

    backends: Annotated[tuple[Literal["onnx", "litert", "hailo"], ...], Field(min_length=1)] = ("onnx", "litert")
    """What models can run with: onnx (onnxruntime), litert (TFLite files), hailo (hailo_platform, which a Debian
    package of the accelerator brings; the environment then sees Debian's Python packages, behind its own)."""

    arch: Arch = "arm64"
    """The device's processor, as Debian names it; there must be a lock of wheels for it."""

    python: Python = "3.13"
    """Minor version of the device's /usr/bin/python3: 3.13 in Debian 13."""
