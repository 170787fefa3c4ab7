"""The worker process: one job on standard input, events as JSON lines on standard output.

It runs the checks of one host and ends. A process of its own keeps hosts apart: a check that hangs, crashes or
leaves pytest in a strange state takes nothing else with it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

import pytest

from hatfleet.common.errors import HatfleetError
from hatfleet.common.redact import Redactor, redact_output
from hatfleet.common.site import Site
from hatfleet.compliance.backend import Execute, in_rootfs, make_host, on_this_machine, over_ssh
from hatfleet.compliance.checker import Checker
from hatfleet.compliance.collector import CHECKS_FILES, Collector
from hatfleet.compliance.job import (
    JOB,
    Checked,
    CheckJob,
    Connected,
    Done,
    Listed,
    ListJob,
    Stopped,
)
from hatfleet.compliance.results import printable
from hatfleet.fleet.job import Message, redacted_json
from hatfleet.fleet.roles import DeviceContext, load_role_info

Emit = Callable[[Message], None]

#: Where an image says what it is.
IMAGE_FILE = "/usr/lib/hatfleet/image.json"


def main() -> None:
    """Do the job on standard input."""
    # With its own pytest plugin loaded, testinfra would test the admin's machine instead of the device.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    claimed = _claim_stdout()
    job = JOB.validate_json(sys.stdin.buffer.read())
    redactor = Redactor(job.secrets if isinstance(job, CheckJob) else ())
    redact_output(redactor)
    emit = _emitter(claimed, redactor)
    try:
        if isinstance(job, ListJob):
            _list(job, emit)
        else:
            _check(job, emit)
    except HatfleetError as error:
        emit(Stopped.by(error))
    else:
        emit(Done())


def _claim_stdout() -> IO[bytes]:
    """Keep standard output for events; what checks print goes to standard error."""
    events = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return events


def _emitter(events: IO[bytes], redactor: Redactor) -> Emit:
    def emit(event: Message) -> None:
        events.write(redacted_json(event, redactor) + b"\n")
        events.flush()

    return emit


def _list(job: ListJob, emit: Emit) -> None:
    site = Site(job.site)
    site.activate()
    collector = Collector([load_role_info(site, role) for role in job.roles])
    _run_pytest(job.site, ["--collect-only"], collector)
    emit(Listed(listing=collector.listing()))


def _check(job: CheckJob, emit: Emit) -> None:
    site = Site(job.site)
    site.activate()
    roles = [load_role_info(site, role.name) for role in job.roles]
    settings = {
        info.name: info.settings.model_validate(role.settings) for info, role in zip(roles, job.roles, strict=True)
    }
    with _target(job) as execute:
        emit(Connected(image=image_name(execute)))
        collector = Collector(roles, offline=job.rootfs is not None)
        checker = Checker(
            collector,
            make_host(job.name, execute),
            DeviceContext(job.name),
            settings,
            lambda result: emit(Checked(result=result)),
        )
        _run_pytest(job.site, [], collector, checker)
    collector.listing()
    if checker.lost:
        raise checker.lost


def _target(job: CheckJob) -> AbstractContextManager[Execute]:
    if job.connection:
        return over_ssh(job.connection)
    return in_rootfs(job.rootfs, job.rootfs_native) if job.rootfs else on_this_machine()


def _run_pytest(site: Path, options: list[str], collector: Collector, *plugins: object) -> None:
    """Run pytest in this process, with our plugins and nothing that lies around on this machine."""
    arguments = [
        "--config-file=/dev/null",
        f"--rootdir={site}",
        "--noconftest",
        "--import-mode=importlib",
        "--capture=no",
        "--strict-markers",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:terminal",
        "-o",
        f"python_files={' '.join(CHECKS_FILES)}",  # makes pytest rewrite their asserts, so that they explain themselves
        # Two ways to write a check that can never fail: `return x == y` and `assert (x, "message")`.
        "-W",
        "error::pytest.PytestReturnNotNoneWarning",
        "-W",
        "error:assertion is always true:pytest.PytestAssertRewriteWarning",
        *options,
    ]
    ended = pytest.main(arguments, [collector, *plugins])
    if ended in (pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR):
        raise HatfleetError(f"pytest stopped with an error of its own: {collector.internal_error or ended}")


def image_name(execute: Execute) -> str | None:
    """Return the name of the image the device runs, or None when it does not say."""
    output = execute(f"if [ -e {IMAGE_FILE} ]; then cat {IMAGE_FILE}; fi")
    try:
        image: Any = json.loads(output.stdout)
        return printable(f"{image['name']} {image['version']}")
    except (ValueError, KeyError, TypeError):
        return None


if __name__ == "__main__":
    main()
