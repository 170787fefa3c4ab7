"""Runs batches in worker processes of this machine, which is what a run does by default."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Self

from pydantic import ValidationError

from hatfleet.common.errors import ExitCode, HatfleetError, InputError
from hatfleet.common.redact import Redactor
from hatfleet.common.run import end_process_group
from hatfleet.fleet.executors.base import DEFAULT_FORKS, STOP_GRACE_S, Listener, interrupts, share
from hatfleet.fleet.job import Job
from hatfleet.fleet.results import WORKER_LINE, Event, HostFinished, JobFinished

#: Most worker processes at a time. One needs about 70 MB: four and the parent stay below 400 MB.
MAX_WORKERS = 4

#: How long a worker may take to end after its last event, seconds.
END_GRACE_S = 5.0

# -P: the working directory is the user's; no module is to come from there by accident.
WORKER = (sys.executable, "-P", "-m", "hatfleet.fleet.worker")


class LocalExecutor:
    """Keeps a few worker processes, and hands each the next batch as soon as enough hosts are done.

    A worker that dies costs its batch only; the next batch gets a new one. A worker that is held up by a slow host
    does not hold up the rest: while fewer than ``forks`` hosts are at work, another worker takes the next batch.

    Args:
        forks: Hosts worked on at once, in all workers together.
        command: The worker's program.
    """

    def __init__(self, forks: int = DEFAULT_FORKS, command: tuple[str, ...] = WORKER) -> None:
        self._forks = forks
        self._size = 1
        self._command = command
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()
        self._wake_up, self._woken = os.pipe()
        os.set_blocking(self._woken, False)
        self._selector.register(self._wake_up, selectors.EVENT_READ)
        self._stop_at: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """End the workers, all at once; what a worker does after its last event changes nothing any more."""
        for worker in self._workers:
            worker.close()
        until = time.monotonic() + END_GRACE_S
        for worker in self._workers:
            worker.end(until if error[0] is None else 0)
        self._workers.clear()
        self._selector.close()
        os.close(self._wake_up)
        os.close(self._woken)

    def batch_size(self, hosts: int) -> int:
        """Return a worker's share of the hosts that are worked on at once."""
        self._size = share(hosts, self._forks, min(MAX_WORKERS, os.cpu_count() or 1))
        return self._size

    def stop(self) -> None:
        """Let the workers give up their hosts; may be called from any thread and from a signal handler."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._woken, b".")

    def run(self, batches: Iterator[Job], listener: Listener) -> None:
        """Run batches until there are no more and all are done.

        Raises:
            KeyboardInterrupt: Ctrl-C or ``stop``; the workers have ended.
        """
        try:
            with interrupts(self.stop):
                self._hand_out(batches)
                while any(worker.batch for worker in self._workers):
                    self._wait(listener)
                    if self._stop_at is None:
                        self._hand_out(batches)
            if self._stop_at is not None:
                raise KeyboardInterrupt
        except BaseException:
            for worker in list(self._workers):
                self._drop(worker)
            raise

    def _hand_out(self, batches: Iterator[Job]) -> None:
        """Start batches while there is room: for the hosts among ``forks``, for the batch in a worker."""
        while sum(len(worker.unfinished) for worker in self._workers) + self._size <= self._forks:
            worker = next((worker for worker in self._workers if worker.batch is None), None)
            if worker is None and not self._may_start():
                return
            batch = next(batches, None)
            if batch is None:
                return
            if worker is None:
                worker = _Worker(self._command)
                self._workers.append(worker)
                self._selector.register(worker.output, selectors.EVENT_READ, worker)
            worker.start(batch)

    def _may_start(self) -> bool:
        """Whether another worker is worth its memory: not while one is about to ask for its next batch."""
        return len(self._workers) < MAX_WORKERS and all(worker.unfinished for worker in self._workers)

    def _wait(self, listener: Listener) -> None:
        """Wait for something to happen, and pass it on."""
        timeout = None if self._stop_at is None else self._stop_at - time.monotonic()
        ready = self._selector.select(timeout) if timeout is None or timeout > 0 else []
        if not ready:
            for worker in [worker for worker in self._workers if worker.batch]:
                self._drop(worker)
        for key, _ in ready:
            if key.fd == self._wake_up:
                os.read(self._wake_up, 4096)
                self._interrupt()
            else:
                self._read(key.data, listener)

    def _interrupt(self) -> None:
        self._stop_at = time.monotonic() + STOP_GRACE_S
        for worker in self._workers:
            worker.interrupt()

    def _read(self, worker: _Worker, listener: Listener) -> None:
        try:
            alive = worker.read(lambda line: self._take(worker, line, listener))
        except ValidationError:
            self._drop(worker)
            self._lose(worker, "the worker process printed something that is not an event", listener)
            return
        if not alive:
            self._drop(worker, grace_s=END_GRACE_S)
            self._lose(worker, worker.how_it_ended(), listener)

    def _take(self, worker: _Worker, line: Event | JobFinished, listener: Listener) -> None:
        if not isinstance(line, JobFinished):
            if isinstance(line, HostFinished):
                worker.unfinished.discard(line.host)
            listener.event(line)
            return
        batch, worker.batch = worker.batch, None
        if batch is not None and line.error:
            kind = InputError if line.exit_code is ExitCode.BAD_INPUT else HatfleetError
            listener.lost(batch, kind(line.error, hint=line.hint))
        elif batch is not None and worker.unfinished:
            listener.lost(batch, HatfleetError("the worker process left this host out"))
        worker.unfinished.clear()

    def _lose(self, worker: _Worker, reason: str, listener: Listener) -> None:
        if worker.batch is not None and self._stop_at is None:
            listener.lost(worker.batch, HatfleetError(reason))

    def _drop(self, worker: _Worker, grace_s: float = 0.0) -> None:
        """End a worker and forget it."""
        self._selector.unregister(worker.output)
        self._workers.remove(worker)
        worker.close()
        worker.end(time.monotonic() + grace_s)


class _Worker:
    """A worker process, the batch it has, and those of its hosts that are not done."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self.batch: Job | None = None
        self.unfinished: set[str] = set()
        self._partial = b""
        self._redactor = Redactor(())
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker
        self._process = subprocess.Popen(
            [*command, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            process_group=0,
        )
        assert self._process.stdin and self._process.stdout
        self._input, self.output = self._process.stdin, self._process.stdout

    def start(self, batch: Job) -> None:
        """Hand it a batch."""
        self.batch = batch
        self._redactor.add(batch.secrets)
        self.unfinished = {host.name for host in batch.hosts}
        # A worker that is gone already shows by the end of its output.
        with contextlib.suppress(BrokenPipeError):
            self._input.write(batch.model_dump_json().encode() + b"\n")
            self._input.flush()

    def read(self, take: Callable[[Event | JobFinished], None]) -> bool:
        """Take in what has come; false at the end of the output.

        Raises:
            ValidationError: it is no event.
        """
        chunk = os.read(self.output.fileno(), 1 << 18)
        if not chunk:
            return False
        *lines, self._partial = (self._partial + chunk).split(b"\n")
        for line in lines:
            take(WORKER_LINE.validate_json(line))
        return True

    def interrupt(self) -> None:
        """Ask it to give up its hosts and end."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)

    def close(self) -> None:
        """Say that no batch follows: it ends when it is done."""
        with contextlib.suppress(BrokenPipeError):
            self._input.close()

    def end(self, until: float) -> None:
        """Wait for its end until that time (monotonic, seconds), then end it and everything it started."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, until - time.monotonic()))
        if self._process.returncode is None:
            end_process_group(self._process, grace_s=1.0)
        self.output.close()

    def how_it_ended(self) -> str:
        """Say how it ended, with the last line that it printed for people."""
        code = self._process.wait()
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit status {code}"
        self._stderr.seek(0)
        # The worker covers secrets itself; what a library of it in C printed, it could not.
        said = self._redactor.text(self._stderr.read().decode(errors="replace").strip()).splitlines()
        return f"the worker process ended {how}" + (f" ({said[-1]})" if said else "")
