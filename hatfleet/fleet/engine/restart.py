"""Restarting a device and waiting until it is back, known by its new boot id: an open port alone proves nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from pyinfra.api.exceptions import ConnectError

from hatfleet.fleet.connectors.base import StreamConnector
from hatfleet.ops.steps import OperationError

#: Prints the id that Linux gives itself at every boot.
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"

#: Asked for from outside our session, a moment later, so that this command still ends as it should.
REBOOT = "systemd-run --quiet --collect --on-active=1 --timer-property=AccuracySec=100ms systemctl reboot"

#: Seconds between two attempts to connect.
PAUSE_S = 2.0


def restart(connector: StreamConnector, limit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
    """Restart the device and connect again.

    Args:
        connector: The open connection; it is open again afterwards.
        limit_s: How long it may take, in seconds.
        clock: Tells the time in seconds.

    Raises:
        OperationError: it did not come back in time.
    """
    before = connector.run_script(BOOT_ID).stdout
    ended = connector.run_script(REBOOT)
    if ended.status:
        raise OperationError(f"the device does not restart: {ended.stderr.decode(errors='replace').strip()}")
    connector.disconnect()
    end_s = clock() + limit_s
    why = "it still runs"
    while clock() < end_s:
        time.sleep(PAUSE_S)
        try:
            connector.connect()
            if connector.run_script(BOOT_ID).stdout.strip() not in (b"", before.strip()):
                return
            why = "it has not restarted yet"
        except (ConnectError, OSError) as error:
            why = str(error)
        with suppress(OSError):
            connector.disconnect()
    raise OperationError(f"the device is not back {limit_s:g} s after its restart: {why}")
