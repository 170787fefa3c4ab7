"""How a check ends on a host: real pytest in the real worker, against this machine."""

from __future__ import annotations

import time

import pytest

from hatfleet.common.errors import ExitCode
from hatfleet.common.site import Site
from hatfleet.compliance import checker
from hatfleet.compliance.results import ControlResult, HostOutcome, HostResult, Outcome, Report
from hatfleet.compliance.runner import Progress, check_hosts, list_controls
from tests.unit.compliance_site import job_on_this_machine, write_role

GOOD = """
    @control("T-GOOD-001", "True is true", refs=["ETSI EN 303 645 5.1-1", "CIS 1.2.3"])
    def test_true(host):
        assert host.check_output("echo yes") == "yes"

    @control("T-GOOD-002", "A check knows its settings and its device")
    def test_fixtures(settings, device):
        assert (settings.wanted, device.name) == ("this", "good")
"""

ODD = r"""
    @control("T-ODD-001", "An assertion's own message is the finding")
    def test_own_message(host):
        found = host.check_output("echo no")
        assert found == "yes", f"found {found}, wanted yes"

    @control("T-ODD-002", "An assertion without message explains itself")
    def test_generated_message():
        assert "left" == "right"

    @control("T-ODD-003", "Not applicable has a reason")
    def test_not_applicable():
        not_applicable("there is no such hardware")

    @control("T-ODD-004", "A check that breaks proves nothing")
    def test_crash():
        {}["missing"]

    @control("T-ODD-005", "A check that returns its verdict can never fail")
    def test_returns():
        return 1 == 2

    @pytest.mark.xfail
    @control("T-ODD-006", "An expected failure is a failure")
    def test_xfail():
        assert False, "still wrong"

    @control("T-ODD-015", "Giving up is a failure")
    def test_gives_up():
        pytest.xfail("known bug")

    @pytest.fixture
    def broken():
        raise OSError("no fixture today")

    @control("T-ODD-007", "A broken fixture breaks the check")
    def test_broken_fixture(broken):
        pass

    @pytest.fixture
    def messy():
        yield
        raise OSError("cannot tidy up")

    @control("T-ODD-008", "A broken tear-down overrules a pass")
    def test_broken_teardown(messy):
        pass

    @control("T-ODD-009", "Strange bytes from a device neither break a check nor reach the terminal")
    def test_strange_bytes(host):
        out = host.run(r"printf '\377\033[31mred\000'")
        assert out.stdout_bytes == b"\xff\x1b[31mred\0"
        assert not out.stdout, out.stdout

    @control("T-ODD-010", "A command's exit status is its own")
    def test_status(host):
        assert [host.run("exit %d" % code).rc for code in (0, 1, 42, 255)] == [0, 1, 42, 255]

    @control("T-ODD-011", "A command that fails is named in the message")
    def test_command_fails(host):
        host.check_output("no-such-program --version")

    @control("T-ODD-012", "Leaving Python is an error of the check")
    def test_exits():
        raise SystemExit(0)

    @control("T-ODD-013", "What a check prints does not disturb the results")
    def test_prints():
        print("not an event", flush=True)
        os.system("echo 'not an event'")

    @control("T-ODD-014", "not_applicable() without a reason is an error")
    def test_no_reason():
        not_applicable(" ")
"""

KILLED = """
    @control("T-KILL-001", "Before the end")
    def test_before():
        pass

    @control("T-KILL-002", "The worker is killed")
    def test_killed():
        os.kill(os.getpid(), 9)

    @control("T-KILL-003", "After the end")
    def test_after():
        pass
"""

LEAVES = """
    @control("T-EXIT-001", "The worker leaves with success in the middle")
    def test_leaves():
        os._exit(0)
"""

STOPS = """
    @control("T-STOP-001", "A check ends the whole pytest run, with success")
    def test_stops():
        pytest.exit("enough", returncode=0)

    @control("T-STOP-002", "Never run")
    def test_never_run():
        pass
"""

NONE_APPLY = """
    @control("T-NONE-001", "Nothing of this applies")
    def test_none():
        not_applicable("wrong machine")
"""

ROLES = {
    "good": GOOD,
    "odd": ODD,
    "killed": KILLED,
    "leaves": LEAVES,
    "stops": STOPS,
    "none_apply": NONE_APPLY,
    "bare": None,
}


@pytest.fixture(scope="module")
def progress() -> list[Progress]:
    return []


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, progress: list[Progress]) -> Report:
    site = tmp_path_factory.mktemp("site")
    for name, checks in ROLES.items():
        write_role(site, name, checks)
    jobs = [job_on_this_machine(site, name, [name], wanted="this") for name in ROLES]
    jobs.append(job_on_this_machine(site, "mixed", ["none_apply", "bare"]))
    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONOPTIMIZE", "2")  # would drop every assert statement
    patch.setenv("PYTEST_ADDOPTS", "--collect-only")
    try:
        return check_hosts(jobs, list_controls(Site(site), list(ROLES)), on_progress=progress.append)
    finally:
        patch.undo()


@pytest.fixture(scope="module")
def hosts(report: Report) -> dict[str, HostResult]:
    return {host.name: host for host in report.hosts}


def odd(hosts: dict[str, HostResult], number: int) -> ControlResult:
    return next(result for result in hosts["odd"].controls if result.id == f"T-ODD-{number:03}")


def test_a_host_whose_controls_all_pass_is_passed(hosts: dict[str, HostResult]) -> None:
    good = hosts["good"]
    assert good.outcome is HostOutcome.PASSED
    assert [result.outcome for result in good.controls] == [Outcome.PASSED, Outcome.PASSED]
    assert good.controls[0].refs == ("ETSI EN 303 645 5.1-1", "CIS 1.2.3")
    assert good.controls[0].role == "good"
    assert good.controls[0].message == ""


def test_a_failed_assertion_fails_with_its_own_message_alone(hosts: dict[str, HostResult]) -> None:
    assert odd(hosts, 1).outcome is Outcome.FAILED
    assert odd(hosts, 1).message == "found no, wanted yes"


def test_an_assertion_without_message_is_explained_by_pytest(hosts: dict[str, HostResult]) -> None:
    assert odd(hosts, 2).outcome is Outcome.FAILED
    assert odd(hosts, 2).message.startswith("assert 'left' == 'right'")


def test_not_applicable_is_no_pass_and_carries_its_reason(hosts: dict[str, HostResult]) -> None:
    assert odd(hosts, 3).outcome is Outcome.NOT_APPLICABLE
    assert odd(hosts, 3).message == "there is no such hardware"


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (4, "KeyError: 'missing' (checks.py line"),
        (5, "returned <class 'bool'>"),
        (7, "no fixture today"),
        (8, "cannot tidy up"),
        (12, "SystemExit"),
        (14, "needs a reason"),
    ],
)
def test_a_check_that_breaks_is_an_error(hosts: dict[str, HostResult], number: int, message: str) -> None:
    assert odd(hosts, number).outcome is Outcome.ERROR
    assert message in odd(hosts, number).message


def test_an_expected_failure_counts_as_a_failure(hosts: dict[str, HostResult]) -> None:
    assert (odd(hosts, 6).outcome, odd(hosts, 6).message) == (Outcome.FAILED, "still wrong")
    assert (odd(hosts, 15).outcome, odd(hosts, 15).message) == (Outcome.FAILED, "known bug")


def test_strange_bytes_are_shown_as_escapes(hosts: dict[str, HostResult]) -> None:
    assert odd(hosts, 9).outcome is Outcome.FAILED
    assert odd(hosts, 9).message == r"\xff\x1b[31mred\x00"


def test_exit_statuses_are_carried_through(hosts: dict[str, HostResult]) -> None:
    assert odd(hosts, 10).outcome is Outcome.PASSED


def test_a_command_that_fails_is_named_with_what_it_said(hosts: dict[str, HostResult]) -> None:
    assert odd(hosts, 11).outcome is Outcome.FAILED
    assert "exit code 127 for `no-such-program --version`: sh: " in odd(hosts, 11).message
    assert "not found" in odd(hosts, 11).message


def test_what_a_check_prints_is_not_taken_for_a_result(hosts: dict[str, HostResult]) -> None:
    assert odd(hosts, 13).outcome is Outcome.PASSED
    assert len(hosts["odd"].controls) == hosts["odd"].planned == 15


def test_a_host_with_a_failed_control_is_failed(hosts: dict[str, HostResult]) -> None:
    assert hosts["odd"].outcome is HostOutcome.FAILED


def test_a_killed_worker_is_an_error_that_keeps_what_was_known(hosts: dict[str, HostResult]) -> None:
    killed = hosts["killed"]
    assert killed.outcome is HostOutcome.ERROR
    assert "ended by SIGKILL" in killed.reason
    assert "after 1 of 3 controls" in killed.reason
    assert [result.id for result in killed.controls] == ["T-KILL-001"]


def test_a_worker_that_leaves_with_success_is_an_error(hosts: dict[str, HostResult]) -> None:
    assert hosts["leaves"].outcome is HostOutcome.ERROR
    assert "exit status 0" in hosts["leaves"].reason


def test_a_run_that_stops_early_is_an_error_that_names_what_has_no_result(hosts: dict[str, HostResult]) -> None:
    assert hosts["stops"].outcome is HostOutcome.ERROR
    assert hosts["stops"].reason == "no result for T-STOP-001, T-STOP-002"


def test_a_host_to_which_nothing_applies_is_not_passed(hosts: dict[str, HostResult]) -> None:
    assert hosts["none_apply"].outcome is HostOutcome.NOT_APPLICABLE


def test_a_host_without_any_check_is_an_error(hosts: dict[str, HostResult]) -> None:
    assert hosts["bare"].outcome is HostOutcome.ERROR
    assert "nothing was checked" in hosts["bare"].reason


def test_a_role_without_checks_is_reported(hosts: dict[str, HostResult]) -> None:
    assert hosts["mixed"].unchecked_roles == ("bare",)


def test_the_run_ends_with_check_failed(report: Report) -> None:
    assert report.exit_code is ExitCode.CHECK_FAILED
    assert [host.name for host in report.hosts] == [*ROLES, "mixed"]


def test_progress_tells_every_host_from_start_to_end(report: Report, progress: list[Progress]) -> None:
    for host in report.hosts:
        seen = [step for step in progress if step.host == host.name]
        assert seen[0].done == 0
        assert seen[-1].outcome is host.outcome
        assert (seen[-1].done, seen[-1].total) == (len(host.controls), host.planned)


def test_a_check_that_hangs_is_ended_as_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checker, "CONTROL_LIMIT_S", 1)
    with pytest.raises(checker.ControlTimeoutError) as caught, checker.time_limit():
        time.sleep(30)
    assert checker.judge(caught.value) == (Outcome.ERROR, "the check broke: ControlTimeoutError: no result after 1 s")
