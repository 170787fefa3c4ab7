"""What all Raspberry Pi boards have in common."""

from __future__ import annotations

from hatfleet.image.platforms.model import RootFile

#: The hardware counts to 16 s at most; for a longer time the kernel feeds it as long as systemd speaks up in time.
WATCHDOG_FILE = RootFile(
    "usr/lib/systemd/system.conf.d/20-hatfleet-watchdog.conf", "[Manager]\nRuntimeWatchdogSec={value}\n"
)
