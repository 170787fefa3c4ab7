"""The worker process: one job on standard input, one event per line on standard output.

What it says is free of the job's secrets: events and everything that it prints.

gevent patches the whole process, so this happens before anything else is imported, and only here.
"""

from gevent import monkey

monkey.patch_all()

import logging  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402

from hatfleet.common.errors import HatfleetError  # noqa: E402
from hatfleet.common.redact import Redactor, redact_output  # noqa: E402
from hatfleet.fleet.engine import run  # noqa: E402
from hatfleet.fleet.job import Job, redacted_json  # noqa: E402
from hatfleet.fleet.results import Event  # noqa: E402


def main() -> int:
    """Run the job; exit 0 when all events were sent, 2 with a message on standard error when it is unusable."""
    # Events have the real standard output to themselves; whatever else prints goes to standard error.
    events = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    job = Job.model_validate_json(sys.stdin.buffer.read())
    redactor = Redactor(job.secrets)
    log = redact_output(redactor)
    logging.basicConfig(stream=log, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # it prints tracebacks of errors that are raised anyway

    def emit(event: Event) -> None:
        events.write(redacted_json(event, redactor) + b"\n")
        events.flush()

    try:
        run(job, emit)
    except HatfleetError as error:
        log.write(f"{error}\n" + (f"{error.hint}\n" if error.hint else ""))
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
