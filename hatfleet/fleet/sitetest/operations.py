"""Checks of the operations that roles declare for every host: that they can be declared, and always alike."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from pydantic import BaseModel, ConfigDict, ValidationError

from hatfleet.common.errors import CommandError, HatfleetError
from hatfleet.common.run import end_process_group
from hatfleet.fleet.job import Job
from hatfleet.fleet.sitetest.model import Finding, Result

#: The program that declares the operations of a job's hosts without contacting them.
DECLARE = (sys.executable, "-m", "hatfleet.fleet.engine.declare")

#: Python orders sets by a hash that is another one in every process; these two differ, and are the same every time.
_HASH_SEEDS = ("1", "2")

#: How many hosts a finding names.
_NAMED = 3


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Operation(_Answer):
    """An operation that a role declares; the digest is over all its arguments, contents of files included."""

    role: str
    half: str
    name: str
    digest: str


class Failure(_Answer):
    """A role that could not declare what it does on a host."""

    host: str
    role: str
    message: str
    needs_device: bool = False
    """Nothing is wrong, but it can be known on a device only."""


class Declarations(_Answer):
    """All operations of all hosts."""

    hosts: dict[str, tuple[Operation, ...]]
    errors: tuple[Failure, ...] = ()


def check_declared(job: Job, determinism: list[Callable[[], Result]], declare: Sequence[str] | None = None) -> Result:
    """Check that every role can declare its operations for every host, every template rendered.

    Args:
        job: The hosts and their roles.
        determinism: Receives the check that compares this run with a second one, in another process; nothing when no
            host's operations could be declared.
        declare: The program to run; DECLARE by default.

    Raises:
        HatfleetError: the program failed as a whole.
    """
    first, second = _declare(job, declare or DECLARE)
    if first.hosts:
        determinism.append(lambda: _compare(first, second))
    hosts: dict[tuple[str, str, bool], list[str]] = defaultdict(list)
    for failure in first.errors:
        hosts[failure.role, failure.message, failure.needs_device].append(failure.host)
    findings = tuple(
        Finding(
            f"role {role}: {message} ({_on(names)})",
            "see what it would do with: provision plan"
            if needs_device
            else "the role's code or its template fails with these settings",
            warning=needs_device,
        )
        for (role, message, needs_device), names in hosts.items()
    )
    return Result(sum(map(len, first.hosts.values())), "operations", findings)


def _declare(job: Job, command: Sequence[str]) -> list[Declarations]:
    """Run the program once for each hash seed, at the same time."""
    said = job.model_dump_json().encode()
    workers = [
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONHASHSEED": seed},
            process_group=0,
        )
        for seed in _HASH_SEEDS
    ]
    with ThreadPoolExecutor(len(workers)) as pool:
        try:
            answers = list(pool.map(lambda worker: worker.communicate(said), workers))
        except BaseException:
            for worker in workers:
                end_process_group(worker)
            raise
    return [_read(command, worker.returncode, *answer) for worker, answer in zip(workers, answers, strict=True)]


def _read(command: Sequence[str], returncode: int, out: bytes, err: bytes) -> Declarations:
    said = err.decode(errors="replace").strip()
    if returncode == 2 and said:
        raise HatfleetError(said)
    if returncode != 0:
        raise CommandError(list(command), returncode, said)
    try:
        return Declarations.model_validate_json(out)
    except ValidationError as error:
        raise HatfleetError(f"{' '.join(command)} gave no answer that can be read: {error}") from error


def _compare(first: Declarations, second: Declarations) -> Result:
    """Find operations that are not the same in both runs."""
    hosts: dict[tuple[str, str], list[str]] = defaultdict(list)
    for host in sorted(first.hosts.keys() | second.hosts.keys()):
        for difference in _differences(first.hosts.get(host, ()), second.hosts.get(host, ())):
            hosts[difference].append(host)
    findings = tuple(
        Finding(
            f"role {role}: {what} ({_on(names)})",
            "sort what comes out of a set; leave the time and random numbers out of it",
        )
        for (role, what), names in hosts.items()
    )
    return Result(len(first.hosts), "hosts declared twice", findings)


def _differences(first: Sequence[Operation], second: Sequence[Operation]) -> Iterator[tuple[str, str]]:
    """Yield role and words for what differs between two runs on one host."""
    if first == second:
        return
    digests = [_by_name(first), _by_name(second)]
    found = False
    for role, name in dict.fromkeys([*digests[0], *digests[1]]):
        if sorted(digests[0].get((role, name), ())) != sorted(digests[1].get((role, name), ())):
            found = True
            yield role, f"{name!r} is declared in two ways from the same settings"
    if not found:
        role = next(one.role for one, other in zip(first, second, strict=True) if one != other)
        yield role, "the order of the operations differs from run to run"


def _by_name(operations: Sequence[Operation]) -> Mapping[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for operation in operations:
        found[operation.role, operation.name].append(f"{operation.half} {operation.digest}")
    return found


def _on(hosts: Sequence[str]) -> str:
    named = ", ".join(hosts[:_NAMED])
    return f"on {named}" + (f" and {len(hosts) - _NAMED} more" if len(hosts) > _NAMED else "")
