"""Runs batches on a Dask cluster, for fleets that outgrow one admin machine.

Dask's scheduler distributes the batches and moves those of a worker that died; there is no queue of ours. What is
ours: only encrypted clusters are used, jobs and events are sealed besides, and a batch counts as done when the last
of its events has come.
"""

from __future__ import annotations

import logging
import queue
import ssl
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from distributed import Client, Future, Security

from hatfleet.common.errors import ExitCode, HatfleetError, InputError, UnreachableError
from hatfleet.common.site import Site
from hatfleet.fleet.executors.base import STOP_GRACE_S, Listener, interrupts, share
from hatfleet.fleet.executors.cluster_task import Greeting, SealedJob, check_greetings, greet, run_batch
from hatfleet.fleet.executors.content import content_digest
from hatfleet.fleet.job import Job
from hatfleet.fleet.results import WORKER_LINE, HostFinished, JobFinished
from hatfleet.fleet.secrets.sealed import new_identity, seal, unseal

#: How long to wait for the scheduler, seconds.
ANSWER_S = 10.0

#: How long to wait for the last message of a batch that Dask says is done, seconds.
LAST_MESSAGE_S = 10.0

#: How long a batch waits for a Dask worker when there is none left, seconds.
NO_WORKER_S = 60.0

#: How often a batch is sealed anew because a worker that took it over could not open it.
SEALINGS = 5

#: How long a batch waits for the lease of a device, seconds: long enough for the command that a lost worker left there.
TAKEOVER_WAIT_S = 120.0

#: How often to look after the batches while there is no news, seconds.
LOOK_S = 1.0


@dataclass
class _Batch:
    """A batch on its way."""

    id: str
    job: Job
    unfinished: set[str]
    future: Future[bool] | None = None
    """Dask's task; None while there is no worker to seal the batch to."""
    sealings: int = 0
    running: bool = False
    ended_s: float | None = None
    """When Dask said that the task has ended, monotonic seconds."""


class DaskExecutor:
    """Hands batches to a Dask cluster.

    Args:
        client: Connected to the cluster; closed at the end.
        site: The site of this run; every Dask worker must have the same roles at the same path.
        forks: Hosts worked on at once, in all workers together.
    """

    def __init__(self, client: Client, site: Site, forks: int) -> None:
        self._client, self._site, self._forks = client, site, forks
        self._size = 1
        self._batches: dict[str, _Batch] = {}
        self._news: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._identity, self._recipient = new_identity()
        self._topic = f"hatfleet-{uuid.uuid4().hex}"
        self._stop_at: float | None = None
        self._no_worker_since: float | None = None

    def __enter__(self) -> Self:
        """Meet every Dask worker.

        Raises:
            InputError: a worker has no hatfleet, or another site than this machine.
            UnreachableError: there is no worker.
        """
        try:
            self._client.subscribe_topic(self._topic, lambda event: self._news.put(event[1]))
            check_greetings(self._greetings(), content_digest(self._site))
        except BaseException:
            self._client.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        """Give back what is still running, and leave the cluster."""
        self._cancel()
        self._client.close()

    def batch_size(self, hosts: int) -> int:
        """Return a Dask worker's share of the hosts that are worked on at once."""
        self._size = share(hosts, self._forks, max(1, len(self._greetings())))
        return self._size

    def run(self, batches: Iterator[Job], listener: Listener) -> None:
        """Run batches until there are no more and all are done.

        Raises:
            KeyboardInterrupt: Ctrl-C; the tasks were cancelled.
        """
        with interrupts(lambda: self._news.put(None)):
            self._submit(batches)
            while self._batches and (self._stop_at is None or time.monotonic() < self._stop_at):
                self._wait(listener)
                if self._stop_at is None:
                    self._submit(batches)
        if self._stop_at is not None:
            raise KeyboardInterrupt

    def _submit(self, batches: Iterator[Job]) -> None:
        while sum(len(batch.unfinished) for batch in self._batches.values()) + self._size <= self._forks:
            job = next(batches, None)
            if job is None:
                return
            batch = _Batch(uuid.uuid4().hex, job, {host.name for host in job.hosts})
            self._batches[batch.id] = batch
            self._send(batch)

    def _send(self, batch: _Batch) -> None:
        """Seal a batch to every Dask worker that there is now, and submit it; without any it waits."""
        digest = content_digest(self._site)
        greetings = [greeting for greeting in self._greetings().values() if isinstance(greeting, Greeting)]
        recipients = [greeting.recipient for greeting in greetings if greeting.digest == digest]
        batch.future = None
        if not recipients:
            return
        # Whoever takes over waits until the device has ended what the lost worker had begun there.
        job = batch.job.model_copy(update={"lease_wait_s": TAKEOVER_WAIT_S})
        sealed = seal(SealedJob(job=job, digest=digest).model_dump_json().encode(), *recipients)
        batch.sealings += 1
        batch.future = self._client.submit(run_batch, sealed, batch.id, self._topic, self._recipient, pure=False)
        batch.future.add_done_callback(lambda done: self._news.put((batch.id, done)))

    def _greetings(self) -> dict[str, Greeting | BaseException]:
        """Ask every Dask worker whom to seal jobs to, and which site it has; its answer may be an exception."""
        answers: dict[str, Greeting | BaseException] = self._client.run(greet, str(self._site.root), on_error="return")
        return answers

    def _wait(self, listener: Listener) -> None:
        """Wait for news, and pass it on."""
        try:
            news = self._news.get(timeout=LOOK_S)
        except queue.Empty:
            if self._stop_at is None:
                self._look_after(listener)
            return
        if news is None:
            self._interrupt()
        elif isinstance(news, dict):
            self._take(news, listener)
        else:
            batch_id, future = news
            self._end(batch_id, future, listener)

    def _interrupt(self) -> None:
        """Cancel everything; tasks that are running notice it, and say how far they were."""
        self._stop_at = time.monotonic() + STOP_GRACE_S + 1
        self._cancel()
        self._batches = {key: batch for key, batch in self._batches.items() if batch.running}

    def _cancel(self) -> None:
        self._client.cancel([batch.future for batch in self._batches.values() if batch.future], force=True)

    def _take(self, message: dict[str, Any], listener: Listener) -> None:
        """Take a message of a batch."""
        batch = self._batches.get(message["batch"])
        if batch is None:
            return
        batch.running = True
        for line in unseal(message["data"], self._identity).splitlines():
            event = WORKER_LINE.validate_json(line)
            if isinstance(event, JobFinished):
                kind = InputError if event.exit_code is ExitCode.BAD_INPUT else HatfleetError
                listener.lost(batch.job, kind(event.error, hint=event.hint))
                continue
            if isinstance(event, HostFinished):
                batch.unfinished.discard(event.host)
            listener.event(event)
        if message["last"]:
            del self._batches[batch.id]
            if batch.unfinished and self._stop_at is None:
                listener.lost(batch.job, HatfleetError("the Dask worker gave the host up"))

    def _end(self, batch_id: str, future: Future[bool], listener: Listener) -> None:
        """Take from Dask that a batch's task has ended; what it did is in the messages."""
        batch = self._batches.get(batch_id)
        if batch is None or future is not batch.future or self._stop_at is not None:
            return
        if future.status != "finished":
            self._lose(batch, f"Dask gave up: {_reason(future)}", listener)
        elif future.result():
            batch.ended_s = time.monotonic()
        elif batch.sealings < SEALINGS:
            self._send(batch)
        else:
            self._lose(batch, "no Dask worker stayed long enough to open the batch", listener)

    def _look_after(self, listener: Listener) -> None:
        """Send what waits for a worker, and give up what has waited too long."""
        now = time.monotonic()
        if self._client.scheduler_info(n_workers=-1)["workers"]:
            self._no_worker_since = None
        elif self._no_worker_since is None:
            self._no_worker_since = now
        for batch in list(self._batches.values()):
            if batch.ended_s is not None and now - batch.ended_s > LAST_MESSAGE_S:
                self._lose(batch, "its last messages did not arrive from the Dask worker", listener)
            elif self._no_worker_since is not None and now - self._no_worker_since > NO_WORKER_S:
                self._lose(batch, f"there was no Dask worker for {NO_WORKER_S:.0f} s", listener)
            elif batch.future is None:
                self._send(batch)

    def _lose(self, batch: _Batch, reason: str, listener: Listener) -> None:
        del self._batches[batch.id]
        listener.lost(batch.job, HatfleetError(reason))


def connect(address: str, ca: Path | None = None, cert: Path | None = None, key: Path | None = None) -> Client:
    """Connect to a Dask scheduler; what is None comes from Dask's own configuration (``DASK_DISTRIBUTED__COMM__TLS``).

    Raises:
        InputError: the scheduler is not encrypted, or a certificate is missing or cannot be used.
        UnreachableError: it does not answer, or does not accept our certificate.
    """
    if not address.startswith("tls://"):
        raise InputError(
            f"--scheduler {address!r} is not encrypted: only tls:// schedulers are used",
            hint="start scheduler and workers with --tls-ca-file, --tls-cert and --tls-key, and name tls://HOST:8786",
        )
    # It logs every lost connection; what matters of these is in the report.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    given = {"tls_ca_file": ca, "tls_client_cert": cert, "tls_client_key": key}
    security = Security(require_encryption=True, **{name: str(path) for name, path in given.items() if path})
    for name, option in (
        ("tls_ca_file", "--tls-ca"),
        ("tls_client_cert", "--tls-cert"),
        ("tls_client_key", "--tls-key"),
    ):
        path = getattr(security, name)
        if not path or not Path(path).is_file():
            raise InputError(
                f"{option}: there is no file {path}" if path else f"{option} is missing",
                hint="a scheduler is met with a CA certificate, a client certificate and its key, all in PEM format",
            )
    try:
        return Client(address, security=security, timeout=ANSWER_S, set_as_default=False)
    except ssl.SSLError as error:
        raise InputError(f"the TLS certificates cannot be used: {error}", hint="see --tls-ca, --tls-cert") from error
    except (OSError, ValueError) as error:
        raise UnreachableError(
            f"the Dask scheduler {address} does not answer: {error}",
            hint="check the address, and that its certificate and ours come from the same CA",
        ) from error


def _reason(future: Future[bool]) -> str:
    if future.status == "cancelled":
        return "the scheduler is gone, or the batch was cancelled there"
    error = future.exception()
    return f"{type(error).__name__}: {error}"
