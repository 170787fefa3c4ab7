"""What an acceptance says and stands for, whichever part of it failed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hatfleet.acceptance.accept import find_candidate
from hatfleet.acceptance.report import Acceptance, Booted, Offline, acceptance_json
from hatfleet.cli.accept_view import print_acceptance
from hatfleet.common.errors import InputError
from hatfleet.common.site import Site, package_content
from hatfleet.compliance.results import Control, ControlResult, HostOutcome, HostResult, Outcome
from hatfleet.image.gate import Finding, Report, Waived
from hatfleet.image.gate.model import IDENTITY, LISTEN


def host(outcome: HostOutcome) -> HostResult:
    found = Outcome.PASSED if outcome is HostOutcome.PASSED else Outcome.FAILED
    message = "" if found is Outcome.PASSED else "it is not so"
    result = ControlResult("T-001", "It is so", ("CIS 1",), "demo", None, found, message, 0.1)
    return HostResult("edge", outcome, "", "", None, 1, (result,), (), 0.1)


GOOD, BAD = host(HostOutcome.PASSED), host(HostOutcome.FAILED)
CLEAN = Report((), (), (), 10, 1000, 0.5)
MACHINE_ID = Finding.of(IDENTITY, "/etc/machine-id", "machine-id", "0" * 64)
SOCKET = Finding.of(LISTEN, "tcp/8080", "python3 waits on 0.0.0.0:8080")
AT_BOOT = Control("T-002", "It runs", (), "demo", "boot")

OFFLINE = Offline(CLEAN, GOOD, (AT_BOOT,))
BOOTED = Booted(GOOD, (), (), (), 0)
FIT = Acceptance("edge", "1.0", OFFLINE, BOOTED, "")


def test_an_image_in_which_nothing_is_wrong_is_fit() -> None:
    assert FIT.passed and FIT.exit_code == 0
    assert replace(FIT, booted=None, not_booted="it was not wanted").passed


BROKEN = {
    "gate": replace(FIT, offline=replace(OFFLINE, gate=replace(CLEAN, findings=(MACHINE_ID,)))),
    "files": replace(FIT, offline=replace(OFFLINE, checks=BAD)),
    "incomplete": replace(FIT, offline=replace(OFFLINE, checks=replace(GOOD, outcome=HostOutcome.ERROR))),
    "device": replace(FIT, booted=replace(BOOTED, checks=BAD)),
    "unreachable": replace(FIT, booted=replace(BOOTED, checks=replace(GOOD, outcome=HostOutcome.UNREACHABLE))),
    "socket": replace(FIT, booted=replace(BOOTED, sockets=(SOCKET,))),
    "unit": replace(FIT, booted=replace(BOOTED, failed_units=("app.service",))),
    "cycle": replace(FIT, booted=replace(BOOTED, ordering_cycles=("a.service: Found ordering cycle",))),
    "taint": replace(FIT, booted=replace(BOOTED, taint=512)),
}

SHOWN = {
    "gate": "HF-IMG-009 /etc/machine-id: machine-id",
    "files": "T-001 demo: It is so [failed]",
    "incomplete": "edge  error",
    "device": "T-001 demo: It is so [failed]",
    "unreachable": "edge  unreachable",
    "socket": "HF-IMG-014 tcp/8080: python3 waits on 0.0.0.0:8080",
    "unit": "the unit app.service failed",
    "cycle": "Found ordering cycle",
    "taint": "the kernel is tainted: 512",
}


@pytest.mark.parametrize("part", BROKEN)
def test_an_image_of_which_one_part_is_wrong_is_not_fit_and_says_which(
    part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = BROKEN[part]
    assert not found.passed and found.exit_code == 5
    assert json.loads(acceptance_json(found))["exit_code"] == 5
    print_acceptance(found, verbose=False)
    out = capsys.readouterr().out
    assert SHOWN[part] in out
    assert "edge 1.0  not fit" in out


def test_what_was_left_out_and_what_was_allowed_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    gate = replace(CLEAN, waived=(Waived(MACHINE_ID, "a good reason"),), warnings=("allow.units: there is no x",))
    offline = replace(OFFLINE, gate=gate)
    print_acceptance(replace(FIT, offline=offline, booted=None, not_booted="it was not wanted"), verbose=True)
    out = capsys.readouterr().out
    assert "allowed: HF-IMG-009 /etc/machine-id: machine-id (a good reason)" in out
    assert "allow.units: there is no x" in out
    assert "at boot: T-002 demo: It runs" in out
    assert "not booted: it was not wanted" in out
    assert "edge 1.0  fit" in out


def test_an_image_is_found_by_its_recipe_or_its_file(tmp_path: Path) -> None:
    site = Site(package_content())
    folder = tmp_path / "edge-virt"
    with pytest.raises(InputError, match=r"there is no image .*edge-virt-0\.1\.0\.img") as caught:
        find_candidate(site, "edge-virt", tmp_path)
    assert caught.value.hint == "build it first: provision image build edge-virt"
    folder.mkdir()
    image = folder / "edge-virt-0.1.0.img"
    image.touch()
    assert find_candidate(site, "edge-virt", tmp_path).image == image
    with pytest.raises(InputError, match="does not say which recipe the image is of"):
        find_candidate(site, str(image), tmp_path)
    (folder / "manifest.json").write_text('{"name": "edge-virt", "image": "another.img"}')
    with pytest.raises(InputError, match=r"about another image: another\.img"):
        find_candidate(site, str(image), tmp_path)
    (folder / "manifest.json").write_text('{"name": "edge-virt", "image": "edge-virt-0.1.0.img"}')
    assert find_candidate(site, str(image), tmp_path).recipe.name == "edge-virt"
    with pytest.raises(InputError, match="there is no image"):
        find_candidate(site, str(folder / "other.img"), tmp_path)
