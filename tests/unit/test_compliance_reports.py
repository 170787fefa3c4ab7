"""What people and machines read: JUnit, JSON, the printed findings; and Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent
from xml.etree import ElementTree as ET

import pytest

from hatfleet.cli.check_view import CheckView, print_listing, print_report
from hatfleet.common.errors import ExitCode
from hatfleet.common.site import Site
from hatfleet.compliance.junit import junit_xml
from hatfleet.compliance.results import (
    Control,
    ControlResult,
    HostOutcome,
    HostResult,
    Listing,
    Outcome,
    Report,
    listing_json,
    printable,
    report_json,
)
from hatfleet.compliance.runner import Progress, check_hosts, list_controls
from tests.unit.compliance_site import job_on_this_machine, write_role


def result(number: int, outcome: Outcome, message: str = "") -> ControlResult:
    return ControlResult(f"T-{number:03}", f"title {number}", ("CIS 1", "ETSI 2"), "demo", None, outcome, message, 0.25)


RESULTS = (
    result(1, Outcome.PASSED),
    result(2, Outcome.FAILED, "found <b>\x1b[31m, wanted & \ud800\nsecond line"),
    result(3, Outcome.ERROR, "the check broke"),
    result(4, Outcome.NOT_APPLICABLE, "no cpufreq here"),
)


def host(
    name: str, outcome: HostOutcome, controls: tuple[ControlResult, ...] = RESULTS, reason: str = ""
) -> HostResult:
    return HostResult(name, outcome, reason, "try again" if reason else "", "img 1", 4, controls, ("bare",), 1.5)


def report(*hosts: HostResult) -> Report:
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    return Report(now, now, ("inventory/demo",), "0.1.0", hosts)


FAILED = host("a", HostOutcome.FAILED)
GONE = host("b", HostOutcome.UNREACHABLE, (), "no answer")


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([HostOutcome.PASSED, HostOutcome.NOT_APPLICABLE], ExitCode.OK),
        ([HostOutcome.PASSED, HostOutcome.FAILED], ExitCode.CHECK_FAILED),
        ([HostOutcome.ERROR, HostOutcome.PASSED], ExitCode.CHECK_FAILED),
        ([HostOutcome.FAILED, HostOutcome.UNREACHABLE], ExitCode.UNREACHABLE),
        ([HostOutcome.UNREACHABLE, HostOutcome.INTERRUPTED], ExitCode.INTERRUPTED),
        ([], ExitCode.CHECK_FAILED),
    ],
)
def test_the_exit_code_is_the_worst_of_the_hosts(outcomes: list[HostOutcome], code: ExitCode) -> None:
    assert report(*(host(str(n), outcome) for n, outcome in enumerate(outcomes))).exit_code is code


def test_junit_has_a_suite_per_host_and_a_case_per_control() -> None:
    root = ET.fromstring(junit_xml(report(FAILED)))
    suite = root[0]
    assert {key: suite.get(key) for key in ("name", "tests", "failures", "errors", "skipped")} == {
        "name": "a",
        "tests": "4",
        "failures": "1",
        "errors": "1",
        "skipped": "1",
    }
    cases = suite.findall("testcase")
    assert [(case.get("classname"), case.get("name")) for case in cases] == [("demo", f"T-00{n}") for n in range(1, 5)]
    assert [child.tag for case in cases for child in case if child.tag != "properties"] == [
        "failure",
        "error",
        "skipped",
    ]
    references = [entry.get("value") for entry in cases[0].iter("property") if entry.get("name") == "reference"]
    assert references == ["CIS 1", "ETSI 2"]
    failure = cases[1].find("failure")
    assert failure is not None
    assert failure.get("message") == r"found <b>\x1b[31m, wanted & \ud800"
    assert failure.text is not None and failure.text.endswith("second line")


@pytest.mark.parametrize("outcome", [HostOutcome.UNREACHABLE, HostOutcome.ERROR, HostOutcome.INTERRUPTED])
def test_junit_of_a_host_without_results_is_never_green(outcome: HostOutcome) -> None:
    suite = ET.fromstring(junit_xml(report(replace(GONE, outcome=outcome))))[0]
    assert (suite.get("tests"), suite.get("errors")) == ("1", "1")
    error = suite.find("testcase/error")
    assert error is not None and error.get("message") == "no answer"


def test_json_holds_the_whole_report() -> None:
    data = json.loads(report_json(report(FAILED, GONE)))
    assert data["exit_code"] == 3
    assert data["started"] == "2026-01-02T03:04:05Z"
    assert data["inventory"] == ["inventory/demo"]
    assert data["hosts"][0]["controls"][3]["outcome"] == "not-applicable"
    assert data["hosts"][0]["controls"][3]["refs"] == ["CIS 1", "ETSI 2"]
    assert data["hosts"][0]["image"] == "img 1"
    assert data["hosts"][0]["unchecked_roles"] == ["bare"]
    assert data["hosts"][1]["reason"] == "no answer"


def test_the_printed_report_shows_what_is_not_passed_in_full_and_counts_the_passes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_report(report(host("a", HostOutcome.FAILED, (*RESULTS[:1], *RESULTS[2:])), GONE), verbose=False)
    out = capsys.readouterr().out
    assert "T-001" not in out
    assert "T-003 demo: title 3 [error]" in out
    assert "T-004 demo: title 4 [not-applicable]" in out
    assert "no cpufreq here" in out
    assert "CIS 1 · ETSI 2" in out
    assert "demo 1 of 3 passed · bare: no checks.py, nothing proven" in out
    assert "no answer" in out
    assert "hint: try again" in out


def test_verbose_shows_the_passes_too(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(report(host("a", HostOutcome.PASSED, RESULTS[:1])), verbose=True)
    assert "T-001 demo: title 1" in capsys.readouterr().out


def test_a_listing_shows_ids_titles_and_references(capsys: pytest.CaptureFixture[str]) -> None:
    listing = Listing((Control("T-001", "It holds", ("CIS 1",), "demo", None),), ("bare",))
    print_listing(listing)
    out = capsys.readouterr().out
    assert "T-001  It holds" in out
    assert "CIS 1" in out
    assert "no checks.py" in out
    assert json.loads(listing_json(listing))["controls"][0] == {
        "id": "T-001",
        "title": "It holds",
        "refs": ["CIS 1"],
        "role": "demo",
        "needs": None,
    }


def test_progress_goes_to_standard_error_and_is_silent_when_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    done = Progress("a", 4, 4, 1, HostOutcome.FAILED)
    for quiet, expected in ((True, ""), (False, "a: failed (4 of 4 controls, 1 failed)")):
        with CheckView(["a"], quiet=quiet) as view:
            view.on_progress(Progress("a", 0, 4, 0, None))
            view.on_progress(done)
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.strip() == expected


def test_printable_keeps_text_and_disarms_control_characters() -> None:
    assert printable("grün · ok\n\t'x'") == "grün · ok\n\t'x'"
    assert printable("\x1b]0;x\x07 \x00 \ud800 \u202e") == r"\x1b]0;x\x07 \x00 \ud800 \u202e"


SLOW = """
    @control("T-SLOW-001", "Quick")
    def test_quick():
        pass

    @control("T-SLOW-002", "Slow")
    def test_slow():
        import time
        open("{flag}", "w").write(str(os.getpid()))
        time.sleep(60)
"""

INTERRUPTED = """
    import signal, sys
    from pathlib import Path
    from hatfleet.common.site import Site
    from hatfleet.compliance.results import report_json
    from hatfleet.compliance.runner import check_hosts, list_controls
    from tests.unit.compliance_site import job_on_this_machine

    signal.signal(signal.SIGINT, signal.default_int_handler)  # the parent of the tests may have it ignored
    site = Path(sys.argv[1])
    jobs = [job_on_this_machine(site, name, ["slow"]) for name in ("one", "two")]
    print(report_json(check_hosts(jobs, list_controls(Site(site), ["slow"]), forks=1)))
"""


def test_ctrl_c_ends_the_workers_and_reports_what_was_known(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    write_role(tmp_path, "slow", SLOW.format(flag=flag))
    process = subprocess.Popen(
        [sys.executable, "-c", dedent(INTERRUPTED), str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    while not (flag.exists() and flag.read_text()):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    data = json.loads(process.communicate(timeout=20)[0])
    assert data["exit_code"] == 130
    one, two = data["hosts"]
    assert (one["outcome"], two["outcome"]) == ("interrupted", "interrupted")
    assert [control["id"] for control in one["controls"]] == ["T-SLOW-001"]
    assert one["reason"] == "stopped by Ctrl-C after 1 of 2 controls"
    assert two["planned"] == 2
    with pytest.raises(ProcessLookupError):
        os.kill(int(flag.read_text()), 0)


def test_what_was_said_but_not_yet_read_at_ctrl_c_is_in_the_report(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    write_role(tmp_path, "slow", SLOW.format(flag=flag))
    interrupted = False

    def interrupt_before_anything_is_read(progress: Progress) -> None:
        nonlocal interrupted
        while not interrupted and not (flag.exists() and flag.read_text()):
            time.sleep(0.01)
        if not interrupted:
            interrupted = True
            raise KeyboardInterrupt

    listing = list_controls(Site(tmp_path), ["slow"])
    job = job_on_this_machine(tmp_path, "one", ["slow"])
    report = check_hosts([job], listing, on_progress=interrupt_before_anything_is_read)
    assert report.hosts[0].outcome is HostOutcome.INTERRUPTED
    assert [control.id for control in report.hosts[0].controls] == ["T-SLOW-001"]
