"""What goes wrong before the kernel."""

from __future__ import annotations

from hatfleet.common.errors import HatfleetError


class FirmwareError(HatfleetError):
    """The disk is not one that the firmware stage can boot."""
