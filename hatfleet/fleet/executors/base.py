"""The interface between a rollout and what runs its batches: processes of this machine, or a Dask cluster.

A batch is a Job over a part of the hosts. An executor asks for the next one when it has room for it, so the rollout
stops by offering no more; what happens comes back as events, and a batch whose worker died comes back as lost.
"""

from __future__ import annotations

import contextlib
import math
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Protocol

from hatfleet.common.errors import HatfleetError
from hatfleet.fleet.job import Job
from hatfleet.fleet.results import Event

#: Hosts worked on at once, in all workers together, unless the user says otherwise.
DEFAULT_FORKS = 50

#: Fewer hosts than this are not worth another worker: starting one takes as much processor time as a dozen hosts do.
WORTH_A_WORKER = 10

#: How long a worker may take to give up its hosts after Ctrl-C, seconds; it ends itself a little sooner.
STOP_GRACE_S = 5.0


class Listener(Protocol):
    """Told what happens, always from the thread that called ``Executor.run``."""

    def event(self, event: Event) -> None:
        """Take what a worker said."""

    def lost(self, batch: Job, error: HatfleetError) -> None:
        """Take that a batch ended before its hosts did, and why."""


class Executor(Protocol):
    """Runs batches. It is a context manager: on leaving, nothing that it started is left."""

    def batch_size(self, hosts: int) -> int:
        """Return how many hosts a batch should have when there are ``hosts`` to be done."""

    def run(self, batches: Iterator[Job], listener: Listener) -> None:
        """Run batches until there are no more and all are done.

        Raises:
            KeyboardInterrupt: Ctrl-C; the workers were told to stop and have ended.
        """

    def __enter__(self) -> Executor: ...

    def __exit__(self, *error: object) -> None: ...


def share(hosts: int, forks: int, workers: int) -> int:
    """Return how many of ``hosts`` a worker should get at a time.

    With more hosts than ``forks`` there are at least two shares of these, so that a slow host holds up one only.
    """
    if hosts > forks:
        return max(1, forks // max(2, workers))
    return math.ceil(hosts / min(workers, math.ceil(hosts / WORTH_A_WORKER)))


@contextlib.contextmanager
def interrupts(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` at the first Ctrl-C (or SIGTERM), so that what runs can end in order; raise at the second.

    Outside of the main thread, which is the only one to get signals, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    count = 0

    def handle(_signal: int, _frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        if count > 1:
            raise KeyboardInterrupt
        stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
