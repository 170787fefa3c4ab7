"""Settings of the role governor."""

from __future__ import annotations

from typing import Literal

from hatfleet.fleet.settings import RoleSettings


class Settings(RoleSettings):
    """CPU frequency governor."""

    scaling_governor: Literal["performance", "ondemand", "schedutil", "conservative", "powersave", "userspace"] = (
        "performance"
    )
    """The kernel's CPU frequency governor, for all cores. With performance, inference latency does not depend on how
    busy the device was a moment ago; powersave runs at the lowest frequency."""
