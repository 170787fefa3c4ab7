"""Checks of the roles and deploys of a site: that they load, and fit together.

As a program (``python -m hatfleet.fleet.sitetest.roles``) it imports roles, which loads pyinfra: it reads a job as JSON
on standard input and prints what does not load as JSON.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from pydantic import TypeAdapter

from hatfleet.common.errors import InputError, Where
from hatfleet.common.run import run
from hatfleet.common.site import Site
from hatfleet.fleet.job import Message
from hatfleet.fleet.roles import deploy_roles, load_role_code, load_role_info
from hatfleet.fleet.sitetest.model import Finding, Result, each


class ImportJob(Message):
    """Roles to import."""

    site: Path
    roles: tuple[str, ...]


class ImportFailure(Message):
    """A role that does not import."""

    file: Path | None
    message: str
    hint: str | None


_FAILURES = TypeAdapter(tuple[ImportFailure, ...])


def check_roles(site: Site) -> Result:
    """Check that every role declares its settings and that its code imports."""
    names = site.names("roles")
    settings = each("roles", names, lambda name: load_role_info(site, name))
    if settings.findings:
        return settings
    job = ImportJob(site=site.root, roles=tuple(names))
    # A process of its own: pyinfra and gevent stay out of this one, and a role cannot take it down.
    done = run([sys.executable, "-m", __name__], stdin=job.model_dump_json().encode())
    failures = _FAILURES.validate_json(done.stdout)
    findings = tuple(Finding(found.message, found.hint, Where(found.file)) for found in failures)
    return Result(len(names), "roles", findings)


def check_deploys(site: Site) -> Result:
    """Check that every deploy loads and lists roles that exist."""

    def look(name: str) -> None:
        for role in deploy_roles(site, name):
            try:
                site.require("roles", role)
            except InputError as error:
                where = Where(site.require("deploys", name, ".py"))
                raise InputError(error.message, hint=error.hint, where=where) from error

    return each("deploys", site.names("deploys", ".py"), look)


def main() -> None:
    """Import the roles of a job and print those that fail."""
    job = ImportJob.model_validate_json(sys.stdin.buffer.read())
    failures = []
    # What a role prints while it is imported is no part of the answer.
    with contextlib.redirect_stdout(sys.stderr):
        for name in job.roles:
            try:
                load_role_code(Site(job.site), name)
            except InputError as error:
                file = error.where.file if error.where else None
                failures.append(ImportFailure(file=file, message=error.message, hint=error.hint))
    sys.stdout.write(_FAILURES.dump_json(tuple(failures)).decode())


if __name__ == "__main__":
    main()
