"""What runs inside a Dask worker: a batch in a worker process of ours, its events sealed to the client.

The Dask scheduler moves this task to another worker when the one that runs it dies. All that the scheduler sees of a
batch are age files: the job for the Dask workers, the events for the client.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from distributed import Worker, get_worker
from pydantic import BaseModel

from hatfleet.common.errors import HatfleetError, InputError, UnreachableError
from hatfleet.common.site import Site
from hatfleet.fleet.executors.content import content_digest
from hatfleet.fleet.executors.local import LocalExecutor
from hatfleet.fleet.job import Job, Message
from hatfleet.fleet.results import Event, JobFinished
from hatfleet.fleet.secrets.sealed import new_identity, seal, unseal

#: How often events are sent, and how soon a task notices that it is not wanted any more, seconds.
TICK_S = 0.2

#: The states of a Dask task that is to go on.
_WANTED = ("executing", "long-running")


class SealedJob(Message):
    """A batch, and the site content that it is to be run with."""

    job: Job
    digest: str


@dataclass(frozen=True)
class Greeting:
    """What a Dask worker says of itself: whom to seal jobs to, and the digest of the site on its machine."""

    recipient: str
    digest: str


@functools.cache
def _identity() -> tuple[str, str]:
    """Return this process's age identity and recipient, made at first use and never written anywhere."""
    return new_identity()


def greet(site: str) -> Greeting:
    """Say who this Dask worker is, and which version of the site it has."""
    return Greeting(_identity()[1], content_digest(Site(Path(site))))


def run_batch(sealed: bytes, batch_id: str, topic: str, reply_to: str) -> bool:
    """Run a sealed batch and send its events to the client.

    Returns false, having done nothing, when the batch was not sealed to this Dask worker.
    """
    try:
        opened = SealedJob.model_validate_json(unseal(sealed, _identity()[0]))
    except HatfleetError:
        return False
    with _Sender(get_worker(), batch_id, topic, reply_to) as sender:
        if content_digest(Site(opened.job.site)) == opened.digest:
            _run(opened.job, sender)
        else:
            sender.lost(opened.job, HatfleetError("the roles on the Dask worker's machine changed during the run"))
    return True


def _run(job: Job, sender: _Sender) -> None:
    with LocalExecutor(len(job.hosts)) as executor:
        sender.on_unwanted = executor.stop
        try:
            executor.run(iter([job]), sender)
        except KeyboardInterrupt:
            return  # not wanted any more: the client knows why


class _Sender:
    """Listens to the executor, and sends what it hears through the scheduler, sealed, a few times a second."""

    def __init__(self, worker: Worker, batch_id: str, topic: str, reply_to: str) -> None:
        self.on_unwanted: Callable[[], None] = lambda: None
        self._worker, self._task = worker, worker.get_current_task()
        self._batch_id, self._topic, self._reply_to = batch_id, topic, reply_to
        self._lines: list[str] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> _Sender:
        self._send(last=False)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        self._send(last=True)

    def event(self, event: Event) -> None:
        """Take an event."""
        self._add(event)

    def lost(self, batch: Job, error: HatfleetError) -> None:  # noqa: ARG002 - there is but one
        """Take that the batch ended before its hosts did; the client enters it for the hosts that are not done."""
        self._add(JobFinished(error=str(error), hint=error.hint, exit_code=error.exit_code))

    def _add(self, line: BaseModel) -> None:
        with self._lock:
            self._lines.append(line.model_dump_json())

    def _tick(self) -> None:
        while not self._over.wait(TICK_S):
            if self._lines:
                self._send(last=False)
            task = self._worker.state.tasks.get(self._task)
            if task is None or task.state not in _WANTED:
                # The client is gone, or has cancelled it.
                self.on_unwanted()

    def _send(self, *, last: bool) -> None:
        with self._lock:
            lines, self._lines = self._lines, []
        data = seal("\n".join(lines).encode(), self._reply_to)
        self._worker.log_event(self._topic, {"batch": self._batch_id, "last": last, "data": data})


def check_greetings(greetings: Mapping[str, Greeting | BaseException], digest: str) -> None:
    """Check that there is a Dask worker, and that all have hatfleet and this version of the site.

    Raises:
        UnreachableError: there is none.
        InputError: one has not.
    """
    if not greetings:
        raise UnreachableError("the Dask scheduler has no worker", hint="start one: dask worker --help")
    for address, greeting in greetings.items():
        if not isinstance(greeting, Greeting):
            raise InputError(
                f"the Dask worker {address} cannot run hatfleet: {greeting}",
                hint="install the same version of hatfleet[dask] there",
            )
        if greeting.digest != digest:
            raise InputError(
                f"the Dask worker {address} has other roles, or another version of hatfleet, than this machine",
                hint="bring the site to the same version at the same path on every machine",
            )
