"""The reports of the measurements: medians, and bars that can be missed."""

from __future__ import annotations

import pytest

from bench import checks, engine_report, scale
from bench.delay_proxy import Counters
from bench.meter import Usage


def _usage(wall_s: float, cpu_s: float = 1.0) -> Usage:
    return Usage(exit_code=0, wall_s=wall_s, cpu_s=cpu_s, peak_pss_bytes=100_000_000)


def _sample(tool: str, wall_s: float, *, route: str = "loopback", commands: int | None = None) -> engine_report.Sample:
    return engine_report.Sample(
        tool=tool,
        route=route,
        run="nothing to change",
        repeat=1,
        usage=_usage(wall_s),
        node_cpu_s=1.0,
        machine_cpu_s=2.0,
        sessions=10,
        traffic=Counters(),
        commands=commands,
        changes=0,
    )


@pytest.mark.parametrize(("ours_s", "kept"), [(1.9, True), (2.1, False)])
def test_a_bar_beside_another_tool_is_kept_or_missed(
    *, ours_s: float, kept: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = [_sample("hatfleet", ours_s), _sample("ansible-core", 50.0)]
    assert engine_report.print_report(samples, hosts=10, markdown=True) is kept
    assert f"| 0.04 | {'yes' if kept else 'NO'} |" in capsys.readouterr().out


def test_the_median_decides_and_every_run_shows_in_the_spread(capsys: pytest.CaptureFixture[str]) -> None:
    ours = [_sample("hatfleet", wall_s) for wall_s in (0.5, 9.0, 0.6)]
    assert engine_report.print_report([*ours, _sample("pyinfra -y", 2.0)], hosts=10, markdown=True)
    assert "0.60 (0.50 to 9.00)" in capsys.readouterr().out


@pytest.mark.parametrize(("commands", "kept"), [(60, True), (61, False)])
def test_commands_per_host_are_a_bar(*, commands: int, kept: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert engine_report.print_report([_sample("hatfleet", 1.0, commands=commands)], hosts=10, markdown=True) is kept


def test_a_tool_that_was_not_measured_is_not_a_bar_kept(capsys: pytest.CaptureFixture[str]) -> None:
    engine_report.print_report([_sample("hatfleet", 1.0)], hosts=10, markdown=True)
    assert "yes" not in capsys.readouterr().out


@pytest.mark.parametrize(("ours_s", "kept"), [(9.0, True), (11.0, False)])
def test_checks_are_measured_beside_testinfra_alone(
    *, ours_s: float, kept: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    walls = {"provision check": ours_s, "testinfra ssh://": 100.0, "testinfra ssh://, ControlPath set": 5.0}
    samples = [checks.Sample(name, _usage(wall_s), 250) for name, wall_s in walls.items()]
    assert checks.print_report(samples, markdown=True) is kept


@pytest.mark.parametrize(
    ("large_cpu_s", "kept"),
    [(30.0, True), (45.0, False)],
)
def test_a_fleet_must_not_cost_more_per_host_than_allowed(
    *, large_cpu_s: float, kept: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = [scale.Sample(100, _usage(1.0, 3.0), 1.0, 5.0), scale.Sample(1000, _usage(9.0, large_cpu_s), 1.0, 5.0)]
    assert scale.print_report(samples, markdown=True) is kept
