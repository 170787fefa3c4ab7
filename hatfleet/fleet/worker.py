"""The worker process: a job per line on standard input, one event per line on standard output.

What it says is free of the secrets of its jobs: events and everything that it prints.

gevent patches the whole process, so this happens before anything else is imported, and only here. A worker ends at
the end of its input, at SIGINT after giving up its hosts, and with the process that started it.
"""

import ctypes
import os
import signal
import sys

#: prctl(2): the signal that this process gets when its parent ends, however that ends.
PR_SET_PDEATHSIG = 1

# First of all, because importing takes long enough for a parent to be killed.
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
if len(sys.argv) > 1 and os.getppid() != int(sys.argv[1]):
    sys.exit("the process that started this worker is gone")

from gevent import monkey  # noqa: E402

monkey.patch_all()

import logging  # noqa: E402
from collections.abc import Callable  # noqa: E402
from types import FrameType  # noqa: E402

from hatfleet.common.errors import ExitCode, HatfleetError  # noqa: E402
from hatfleet.common.redact import Redactor, redact_output  # noqa: E402
from hatfleet.fleet.engine.run import run  # noqa: E402
from hatfleet.fleet.job import Job, Message, redacted_json  # noqa: E402
from hatfleet.fleet.results import JobFinished  # noqa: E402

#: How long giving up the hosts may take after SIGINT, seconds.
STOP_GRACE_S = 3


def main() -> int:
    """Run jobs until there are no more; each one's end is an event too, with the reason when it is unusable."""
    signal.signal(signal.SIGINT, _stop)
    redactor = Redactor(())
    emit = _claim_stdout(redactor)
    log = redact_output(redactor)
    logging.basicConfig(stream=log, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # it prints tracebacks of errors that are raised anyway
    try:
        for line in sys.stdin.buffer:
            job = Job.model_validate_json(line)
            redactor.add(job.secrets)
            emit(_run(job, emit))
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    return ExitCode.OK


def _run(job: Job, emit: Callable[[Message], None]) -> JobFinished:
    try:
        run(job, emit)
    except HatfleetError as error:
        return JobFinished(error=str(error), hint=error.hint, exit_code=error.exit_code)
    return JobFinished()


def _claim_stdout(redactor: Redactor) -> Callable[[Message], None]:
    """Keep the real standard output for events; whatever else prints goes to standard error."""
    events = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def emit(event: Message) -> None:
        events.write(redacted_json(event, redactor) + b"\n")
        events.flush()

    return emit


def _stop(_signal: int, _frame: FrameType | None) -> None:
    """Let what runs unwind, so that hosts are disconnected in order; the alarm ends a process that cannot."""
    signal.alarm(STOP_GRACE_S)
    raise KeyboardInterrupt


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    # Nothing is left to be done, and Python would take a while to take gevent and paramiko apart.
    os._exit(status)
