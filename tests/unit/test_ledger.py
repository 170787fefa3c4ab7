"""The books of a run: no failure is lost, whatever else happens to its host."""

from __future__ import annotations

from pathlib import Path

import pytest

from hatfleet.common.errors import HatfleetError, InputError
from hatfleet.fleet.job import HostJob, Job, Mode
from hatfleet.fleet.ledger import Ledger
from hatfleet.fleet.results import (
    Connected,
    Event,
    HostFinished,
    HostStarted,
    HostState,
    OpFinished,
    OpResult,
    OpStarted,
    Status,
)

HOSTS = tuple(HostJob(name=name, rootfs=Path("target"), roles=()) for name in ("a", "b", "c"))


def batch(*hosts: HostJob) -> Job:
    return Job(mode=Mode.APPLY, site=Path(), hosts=hosts)


def operation(name: str, status: Status = Status.CHANGED, host: str = "a") -> Event:
    return OpFinished(host=host, result=OpResult(role="demo", half="image", name=name, status=status, seconds=0.1))


def end(state: HostState, host: str = "a") -> Event:
    return HostFinished(host=host, state=state, seconds=1.0)


def ledger(*events: Event, allowed: int | None = None) -> Ledger:
    made = Ledger(HOSTS, lambda event: None, allowed)
    for event in events:
        made.event(event)
    return made


def states(made: Ledger) -> list[HostState]:
    return [host.state for host in made.hosts()]


def test_a_host_of_which_nothing_was_heard_has_failed() -> None:
    assert states(ledger()) == [HostState.FAILED] * 3


def test_a_lost_batch_fails_its_unfinished_hosts_only() -> None:
    made = ledger(
        *(HostStarted(host=host.name) for host in HOSTS),
        end(HostState.OK, "a"),
        Connected(host="b"),
        operation("first", host="b"),
        OpStarted(host="b", role="demo", name="second"),
    )
    made.lost(batch(*HOSTS[:2]), HatfleetError("the worker process ended by SIGKILL"))
    a, b, c = made.hosts()
    assert (a.state, b.state) == (HostState.OK, HostState.FAILED)
    assert b.error == "the worker process ended by SIGKILL, during demo: second, after 1 operations"
    assert c.error == "no worker said how it ended"


def test_bad_input_is_an_error_while_no_host_is_touched_and_a_failure_later() -> None:
    with pytest.raises(InputError, match="does not load"):
        ledger(HostStarted(host="a")).lost(batch(HOSTS[0]), InputError("the role does not load"))
    made = ledger(HostStarted(host="a"), Connected(host="a"))
    made.lost(batch(HOSTS[1]), InputError("the role does not load"))
    assert made.hosts()[1].state is HostState.FAILED
    assert "does not load" in made.hosts()[1].error


def test_too_many_failures_stop_the_run_and_skip_what_was_not_started() -> None:
    made = ledger(end(HostState.FAILED, "a"), allowed=1)
    assert not made.stopped
    made.event(end(HostState.UNREACHABLE, "b"))
    assert "2 of 3 hosts failed" in made.stopped
    assert states(made) == [HostState.FAILED, HostState.UNREACHABLE, HostState.SKIPPED]


def test_a_failure_counts_once_however_often_it_is_told() -> None:
    assert not ledger(end(HostState.FAILED), end(HostState.FAILED), allowed=1).stopped


@pytest.mark.parametrize("state", [HostState.NEEDS_IMAGE, HostState.LOCKED, HostState.CHANGED])
def test_only_failed_and_unreachable_hosts_count_as_failures(state: HostState) -> None:
    assert not ledger(end(state), allowed=0).stopped


def test_an_interrupted_host_says_how_far_it_was() -> None:
    made = ledger(
        HostStarted(host="a"),
        Connected(host="a"),
        operation("first"),
        OpStarted(host="a", role="demo", name="second"),
        HostStarted(host="b"),
    )
    made.interrupted = True
    errors = [host.error for host in made.hosts()]
    assert [error.partition(";")[0] for error in errors] == [
        "interrupted during demo: second, after 1 operations",
        "interrupted before it was reached",
        "interrupted before it was started",
    ]


def test_a_host_that_another_worker_took_over_keeps_what_was_changed() -> None:
    made = ledger(
        Connected(host="a"),
        operation("first"),
        Connected(host="a"),
        operation("first", Status.OK),
        operation("second", Status.OK),
        end(HostState.OK),
    )
    host = made.hosts()[0]
    assert [op.status for op in host.operations] == [Status.CHANGED, Status.OK]
    assert host.state is HostState.CHANGED


def test_of_two_ends_the_worse_one_stands() -> None:
    assert states(ledger(end(HostState.FAILED), end(HostState.OK)))[0] is HostState.FAILED
    assert states(ledger(end(HostState.OK), end(HostState.FAILED)))[0] is HostState.FAILED
