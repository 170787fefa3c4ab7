"""How a run looks while it goes: a row per host when there are few, counts and what matters when there are many."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from hatfleet.cli.run_view import FEW_HOSTS, RunView, counted, print_report
from hatfleet.fleet.job import Mode
from hatfleet.fleet.results import (
    Connected,
    HostFinished,
    HostReport,
    HostStarted,
    HostState,
    OpStarted,
    Prepared,
    RunReport,
)


def shown(view: RunView) -> str:
    out = io.StringIO()
    Console(file=out, width=120).print(view.table())
    return out.getvalue()


def view_of(number: int) -> RunView:
    return RunView([f"host-{index}" for index in range(number)], quiet=True)


def end(view: RunView, host: str, state: HostState, error: str = "") -> None:
    view.on_event(HostFinished(host=host, state=state, error=error, seconds=1.0))


def test_few_hosts_have_a_row_each() -> None:
    view = view_of(FEW_HOSTS)
    end(view, "host-0", HostState.OK)
    lines = shown(view).splitlines()
    assert len(lines) == FEW_HOSTS + 1
    assert "waiting" in lines[2]


def test_many_hosts_are_counted_and_only_what_matters_has_a_row() -> None:
    view = view_of(1000)
    for index in range(100):
        end(view, f"host-{index}", HostState.OK)
    end(view, "host-100", HostState.FAILED, "the disk is full\nand more")
    view.on_event(HostStarted(host="host-101"))
    view.on_event(Connected(host="host-101"))
    view.on_event(Prepared(host="host-101", operations=24))
    view.on_event(OpStarted(host="host-101", role="base", name="locale"))
    title, _headings, *rows = [line for line in shown(view).splitlines() if line.strip()]
    assert title.strip() == "101 of 1000 hosts done, 1 running: 100 ok, 1 failed"
    assert [row.split()[0] for row in rows] == ["host-100", "host-101"]
    assert "the disk is full" in rows[0]
    assert "base: locale" in rows[1]


def test_rows_that_do_not_fit_are_counted() -> None:
    view = view_of(100)
    for index in range(50):
        view.on_event(HostStarted(host=f"host-{index}"))
    assert f"and {50 - FEW_HOSTS} more" in shown(view)


def test_states_are_counted_in_words() -> None:
    assert counted([HostState.FAILED, HostState.OK, HostState.OK]) == "2 ok, 1 failed"


@pytest.mark.parametrize("state", HostState)
def test_every_state_has_a_style(state: HostState, capsys: pytest.CaptureFixture[str]) -> None:
    hosts = tuple(HostReport(name=f"host-{index}", state=HostState.OK) for index in range(30))
    times = {"started": "2026-01-01T00:00:00+00:00", "ended": "2026-01-01T00:00:00+00:00", "seconds": 1.0}
    last = HostReport(name="last", state=state, error="why")
    print_report(RunReport(mode=Mode.APPLY, hatfleet="1", hosts=(*hosts, last), **times), verbose=False)
    printed = capsys.readouterr().out
    assert "31 hosts: " in printed
    assert f"{state.value}" in printed
    assert "host-3" not in printed, "with many hosts only those that want attention have a row"
