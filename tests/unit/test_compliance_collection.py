"""What a checks.py must hold to; all that is wrong is found before any host is touched."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from hatfleet.common.errors import InputError, InputErrors
from hatfleet.common.site import Site
from hatfleet.compliance import control
from hatfleet.compliance.job import CheckJob
from hatfleet.compliance.runner import check_jobs, list_controls
from hatfleet.fleet.job import Connection, HostJob
from tests.unit.compliance_site import write_role

BAD = {
    "no_id": """
        def test_anonymous():
            assert True
    """,
    "syntax": "def test_x(:\n",
    "import_fails": "import no_such_module_anywhere\n",
    "empty": "VALUE = 1\n",
    "skips_itself": "pytest.skip('not today', allow_module_level=True)\n",
    "bad_id": """
        @control("hf_base_1", "Wrong shape")
        def test_x():
            pass
    """,
    "refs_text": """
        @control("T-REF-001", "References are a list", refs="CIS 1.1")
        def test_x():
            pass
    """,
    "first": """
        @control("T-DUP-001", "The first use")
        def test_x():
            pass
    """,
    "second": """
        @control("T-DUP-001", "The second use")
        def test_y():
            pass
    """,
    "parametrized": """
        @pytest.mark.parametrize("n", [1, 2])
        @control("T-PAR-001", "One control is one test")
        def test_x(n):
            pass
    """,
    "tuple_assert": """
        @control("T-TUP-001", "An assert that is always true")
        def test_x():
            assert (1 == 2, "never shown")
    """,
    "unknown_mark": """
        @pytest.mark.contrl
        @control("T-MRK-001", "A mark that does not exist")
        def test_x():
            pass
    """,
    "twice": """
        @control("T-TWO-001", "One")
        @control("T-TWO-002", "Two")
        def test_x():
            pass
    """,
}

EXPECTED = {
    "no_id": "test_anonymous: the test has no control id",
    "syntax": "SyntaxError",
    "import_fails": "No module named 'no_such_module_anywhere'",
    "empty": "there is no test_* function",
    "skips_itself": "Skipped: not today",
    "bad_id": "'hf_base_1' is not of the form HF-BASE-001",
    "refs_text": "refs must be a list",
    "second": "control id T-DUP-001 is already used in role first",
    "parametrized": "control id T-PAR-001 is already used",
    "tuple_assert": "assertion is always true",
    "unknown_mark": "contrl",
    "twice": "already proves control T-TWO-002",
}


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, InputError]:
    site = tmp_path_factory.mktemp("site")
    for name, checks in BAD.items():
        write_role(site, name, checks)
    with pytest.raises(InputErrors) as caught:
        list_controls(Site(site), list(BAD))
    return {error.where.file.parent.name: error for error in caught.value.errors if error.where and error.where.file}


@pytest.mark.parametrize("role", EXPECTED)
def test_a_wrong_checks_file_is_an_input_error_with_its_place(role: str, errors: dict[str, InputError]) -> None:
    assert EXPECTED[role] in str(errors[role])
    assert f"roles/{role}/checks.py" in str(errors[role])
    assert errors[role].exit_code == 2


def test_nothing_else_is_an_error(errors: dict[str, InputError]) -> None:
    assert set(errors) == set(EXPECTED)


def test_a_role_that_is_missing_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputErrors) as caught:
        list_controls(Site(tmp_path), ["nowhere"])
    assert "unknown role 'nowhere'" in str(caught.value.errors[0])


def test_controls_come_in_the_order_of_roles_and_file_and_the_site_overrides_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = """
        @control("T-{0}-002", "Second by name, first by place", refs=["CIS 1"])
        def test_b():
            pass

        @control("T-{0}-001", "First by name")
        def test_a():
            pass
    """
    write_role(tmp_path, "zeta", checks.format("Z"))
    write_role(tmp_path, "base", checks.format("SITE"))
    write_role(tmp_path, "bare", None)
    (tmp_path / "conftest.py").write_text("raise RuntimeError('a conftest of the user was loaded')\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    # Neither modules that lie around where the user works nor the working directory itself may matter.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "pytest.py").write_text("raise RuntimeError('a module of the working directory was loaded')\n")
    monkeypatch.chdir(elsewhere)
    listing = list_controls(Site(tmp_path), ["zeta", "bare", "base"])
    assert [control.id for control in listing.controls] == ["T-Z-002", "T-Z-001", "T-SITE-002", "T-SITE-001"]
    assert listing.controls[0].refs == ("CIS 1",)
    assert listing.unchecked_roles == ("bare",)
    assert [control.role for control in listing.of_roles(["base"]).controls] == ["base", "base"]


@pytest.mark.parametrize(
    ("id_", "title"), [("", "x"), ("HF", "x"), ("HF-base-1", "x"), ("HF-BASE-", "x"), ("HF-BASE-001", "  ")]
)
def test_a_control_needs_a_proper_id_and_a_title(id_: str, title: str) -> None:
    with pytest.raises(InputError):
        control(id_, title)


def test_what_a_control_may_need_is_known() -> None:
    assert control("T-NEED-001", "It runs", needs="boot")
    with pytest.raises(InputError, match="needs='network' is not known; allowed is \"boot\""):
        control("T-NEED-002", "It runs", needs="network")  # type: ignore[arg-type]


def test_a_root_file_system_gets_the_controls_that_need_no_booted_system(tmp_path: Path) -> None:
    checks = """
        @control("T-FILE-001", "It is written")
        def test_a():
            pass

        @control("T-BOOT-001", "It runs", needs="boot")
        def test_b():
            pass
    """
    write_role(tmp_path, "mixed", checks)
    write_role(tmp_path, "bare", None)
    listing = list_controls(Site(tmp_path), ["mixed", "bare"])
    assert [(control.id, control.needs) for control in listing.controls] == [
        ("T-FILE-001", None),
        ("T-BOOT-001", "boot"),
    ]
    assert [control.id for control in listing.offline().controls] == ["T-FILE-001"]
    assert listing.offline().unchecked_roles == ("bare",)


def test_a_role_may_part_its_checks_in_several_files(tmp_path: Path) -> None:
    first = """
        @control("T-MANY-001", "One")
        def test_one():
            pass
    """
    role = write_role(tmp_path, "many", first)
    text = (role / "checks.py").read_text()
    (role / "checks_more.py").write_text(text.replace("-001", "-002"))
    (role / "checking.py").write_text("raise RuntimeError('this is no file with checks')\n")
    listing = list_controls(Site(tmp_path), ["many"])
    assert [control.id for control in listing.controls] == ["T-MANY-001", "T-MANY-002"]
    (role / "checks_again.py").write_text(text)
    with pytest.raises(InputErrors) as caught:
        list_controls(Site(tmp_path), ["many"])
    assert "roles/many/checks_again.py" in str(caught.value.errors[0])
    assert "T-MANY-001 is already used" in str(caught.value.errors[0])


def test_a_forgotten_connection_never_means_this_machine(tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        CheckJob(name="a", site=tmp_path, roles=())
    with pytest.raises(InputError, match="no address"):
        check_jobs(Site(tmp_path), [HostJob(name="a", rootfs=tmp_path, roles=())])


def test_a_job_has_one_target(tmp_path: Path) -> None:
    connection = Connection(address="::1", user="admin", known_hosts=tmp_path / "known_hosts")
    with pytest.raises(ValidationError):
        CheckJob(name="a", site=tmp_path, roles=(), connection=connection, on_this_machine=True)
    with pytest.raises(ValidationError):
        CheckJob(name="a", site=tmp_path, roles=(), connection=connection, rootfs=tmp_path)
    assert check_jobs(Site(tmp_path), [HostJob(name="a", connection=connection, roles=())])[0].connection == connection
