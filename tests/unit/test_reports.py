"""Kept run reports: found by id, pruned, compared; and where a run's time went."""

from __future__ import annotations

from pathlib import Path

import pytest

from hatfleet.common.errors import ExitCode, InputError
from hatfleet.fleet import reports
from hatfleet.fleet.job import Mode
from hatfleet.fleet.reports import HostDifference, OperationDifference, ReportStore, compare, operation_times, summary
from hatfleet.fleet.results import HostReport, HostState, OpResult, RunReport, Status


def host(name: str, state: HostState, **seconds: float) -> HostReport:
    """A host on which the named operations changed something, and took so long."""
    operations = tuple(
        OpResult(role="demo", half="image", name=name, status=Status.CHANGED, seconds=spent)
        for name, spent in seconds.items()
    )
    return HostReport(name=name, state=state, operations=operations)


def run(*hosts: HostReport, seconds: float = 10.0) -> RunReport:
    times = {"started": "2026-01-01T00:00:00+00:00", "ended": "2026-01-01T00:00:10+00:00", "seconds": seconds}
    return RunReport(mode=Mode.APPLY, hatfleet="1", hosts=hosts, **times)


@pytest.fixture
def store(tmp_path: Path) -> ReportStore:
    return ReportStore(tmp_path / "runs")


def test_a_report_comes_back_as_it_was_kept(store: ReportStore) -> None:
    report = run(host("a", HostState.CHANGED, first=0.5))
    identity = store.keep(report)
    assert store.load(identity) == report
    assert store.path(identity).stat().st_mode & 0o777 == 0o600


def test_the_beginning_of_an_id_and_latest_are_enough(store: ReportStore) -> None:
    first = store.keep(run())
    second = store.keep(run(host("a", HostState.OK)))
    assert store.ids() == [second, first]
    assert store.load("latest").hosts[0].name == "a"
    assert store.load(first[:-3]) == run()


def test_an_id_that_is_ambiguous_or_unknown_is_an_error(store: ReportStore) -> None:
    with pytest.raises(InputError, match="no run report yet"):
        store.load("latest")
    first = store.keep(run())
    store.keep(run())
    with pytest.raises(InputError, match="beginning of 2"):
        store.load("2")
    with pytest.raises(InputError, match="no run report") as caught:
        store.load(first.replace("apply", "aply"))
    assert first in str(caught.value.hint)
    with pytest.raises(InputError):
        store.load("")
    with pytest.raises(InputError):
        store.load("../" + first)


def test_a_file_that_is_no_report_is_named(store: ReportStore) -> None:
    store.path(store.keep(run())).write_text('{"mode": "apply"}')
    with pytest.raises(InputError, match="not a run report"):
        store.load("latest")


def test_only_the_newest_reports_are_kept(store: ReportStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "KEPT_REPORTS", 3)
    ids = [store.keep(run()) for _ in range(5)]
    assert store.ids() == ids[:1:-1]


def test_operations_that_took_the_most_in_all_come_first() -> None:
    report = run(
        host("a", HostState.CHANGED, quick=0.1, slow=2.0, unchanged=0.0), host("b", HostState.CHANGED, slow=3.0)
    )
    slow, quick = operation_times(report)
    assert (slow.name, slow.hosts, slow.total_s, slow.longest_s, slow.longest_host) == ("slow", 2, 5.0, 3.0, "b")
    assert quick.name == "quick"


def test_equal_runs_do_not_differ() -> None:
    report = run(host("a", HostState.CHANGED, first=1.0))
    difference = compare(report, report)
    assert (difference.hosts, difference.operations, difference.time_ratio) == ((), (), 1.0)


def test_a_difference_names_hosts_states_and_operations() -> None:
    before = run(host("a", HostState.CHANGED, both=1.0, first=1.0), host("gone", HostState.OK), seconds=10)
    after = run(host("a", HostState.FAILED, both=1.0, second=1.0), host("new", HostState.OK), seconds=15)
    difference = compare(before, after)
    assert difference.hosts == (
        HostDifference("a", HostState.CHANGED, HostState.FAILED),
        HostDifference("gone", HostState.OK, None),
        HostDifference("new", None, HostState.OK),
    )
    assert difference.operations == (
        OperationDifference("a", "demo", "first", changed_before=True),
        OperationDifference("a", "demo", "second", changed_before=False),
    )
    assert difference.time_ratio == 1.5


def test_a_summary_counts_the_hosts_and_has_the_exit_code() -> None:
    line = summary("id", run(host("a", HostState.OK), host("b", HostState.LOCKED), host("c", HostState.OK)))
    assert line.states == {HostState.OK: 2, HostState.LOCKED: 1}
    assert line.exit_code == ExitCode.FAILED


@pytest.mark.parametrize("state", HostState)
def test_every_state_has_an_exit_code_and_says_whether_to_try_again(state: HostState) -> None:
    report = run(host("a", state))
    settled = state in (HostState.OK, HostState.CHANGED, HostState.NEEDS_IMAGE)
    assert report.failed_hosts == (() if settled else ("a",))
    assert (report.exit_code is ExitCode.OK) == (state in (HostState.OK, HostState.CHANGED))
