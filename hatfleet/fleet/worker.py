"""The worker process: one job on standard input, one event per line on standard output.

gevent patches the whole process, so this happens before anything else is imported, and only here.
"""

from gevent import monkey

monkey.patch_all()

import logging  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402

from hatfleet.common.errors import HatfleetError  # noqa: E402
from hatfleet.fleet.engine import run  # noqa: E402
from hatfleet.fleet.job import Job  # noqa: E402
from hatfleet.fleet.results import Event  # noqa: E402


def main() -> int:
    """Run the job; exit 0 when all events were sent, 2 with a message on standard error when it is unusable."""
    # Events have the real standard output to themselves; whatever else prints goes to standard error.
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # it prints tracebacks of errors that are raised anyway
    job = Job.model_validate_json(sys.stdin.buffer.read())

    def emit(event: Event) -> None:
        events.write(event.model_dump_json() + "\n")

    try:
        run(job, emit)
    except HatfleetError as error:
        sys.stderr.write(f"{error}\n" + (f"{error.hint}\n" if error.hint else ""))
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
