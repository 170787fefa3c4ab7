"""One line per round trip to a device, for measurements: ``HATFLEET_TRACE=FILE``."""

from __future__ import annotations

import json
import os
from typing import IO

from hatfleet.fleet.engine.target import Trace

#: Names the file that is appended to, a JSON object a line: host, purpose, sent and received bytes, seconds.
VARIABLE = "HATFLEET_TRACE"


class Tracer:
    """Writes the trace, if one is wanted; use it as a context manager."""

    def __init__(self) -> None:
        self._file: IO[str] | None = None

    def __enter__(self) -> Tracer:
        if path := os.environ.get(VARIABLE):
            self._file = open(path, "a", buffering=1)  # noqa: PTH123  # closed on exit; workers append
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def of(self, host: str) -> Trace:
        """Return the trace of one host."""
        file = self._file
        if file is None:
            return lambda *_: None

        def trace(purpose: str, sent: int, received: int, seconds: float) -> None:
            row = {"host": host, "purpose": purpose, "sent": sent, "received": received, "seconds": round(seconds, 4)}
            file.write(json.dumps(row) + "\n")

        return trace
