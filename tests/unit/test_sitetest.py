from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hatfleet.cli import sitetest
from hatfleet.common.errors import InputError
from hatfleet.common.site import Site
from hatfleet.fleet.sitetest import operations as sitetest_declare
from hatfleet.fleet.sitetest.model import Finding, Result, SiteTest, Verdict, each
from hatfleet.fleet.sitetest.roles import check_deploys, check_roles
from hatfleet.image.sitetest import check_recipes
from tests.unit.inventories import INVENTORIES, SITE

Report = dict[str, dict[str, Any]]
STAND_IN = str(Path(__file__).parent / "declare_stand_in.py")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site of its own with one inventory, as the working directory; operations are declared by the stand-in."""
    root = tmp_path / "site"
    shutil.copytree(SITE.root, root)
    shutil.copytree(INVENTORIES / "valid-settings", root / "inventory" / "prod")
    monkeypatch.chdir(root)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(sitetest_declare, "DECLARE", (sys.executable, STAND_IN))
    return root


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the checks of the site as a whole."""
    monkeypatch.setattr(sitetest, "SITE_CHECKS", ())


def report(*args: str, expect: int = 0) -> Report:
    """Run ``provision test --json``; the checks by name."""
    done = CliRunner().invoke(sitetest.test, ["--json", *args])
    assert done.exit_code == expect, done.output
    said = json.loads(done.stdout)
    assert said["exit_code"] == expect
    return {check["check"]: check for check in said["checks"]}


def messages(check: dict[str, Any]) -> list[str]:
    return [finding["message"] for finding in check["findings"]]


# The whole


def test_a_sound_site_passes_every_check_and_counts_what_it_looked_at(site: Path) -> None:
    checks = report()
    assert list(checks) == [
        *("roles", "controls", "deploys", "recipes", "secrets"),
        *("inventory", "references", "groups", "settings", "operations", "determinism"),
    ]
    # The fixture's roles have no checks.py.
    assert {name for name, check in checks.items() if check["verdict"] != "passed"} == {"controls"}
    assert checks["controls"]["verdict"] == "warning"
    counts = {name: check["count"] for name, check in checks.items()}
    assert (counts["inventory"], counts["settings"], counts["operations"], counts["determinism"]) == (3, 6, 12, 3)
    assert {name for name, count in counts.items() if count == 0} == {"secrets"}
    assert checks["roles"]["inventory"] is None
    assert checks["settings"]["inventory"] == "prod"


@pytest.mark.usefixtures("quick")
def test_people_get_a_table_and_then_what_was_found(site: Path) -> None:
    (site / "inventory" / "prod" / "host_vars" / "edge02.yaml").write_text("door: {ratio: -1}\n")
    (site / "inventory" / "prod" / "group_vars" / "all.yaml").rename(
        site / "inventory" / "prod" / "host_vars" / "x.yml"
    )
    done = CliRunner().invoke(sitetest.test)
    lines = done.stdout.splitlines()
    assert done.exit_code == 2
    assert lines[0].split() == ["check", "inventory", "result", "count", "seconds"]
    assert lines[1].split()[:6] == ["✓", "inventory", "prod", "passed", "3", "hosts"]
    assert any(line.split()[:4] == ["-", "operations", "prod", "not"] for line in lines)
    assert (
        "error: references: inventory/prod/host_vars/x.yml: there is no host 'x': these variables are not used" in lines
    )
    assert any(
        line.startswith("error: settings: inventory/prod/host_vars/edge02.yaml:1 at door.ratio") for line in lines
    )
    assert lines[-1] == "2 wrong, 0 to look at; no host was contacted"


@pytest.mark.usefixtures("quick")
def test_every_inventory_of_the_site_is_tested_by_itself(site: Path) -> None:
    shutil.copytree(INVENTORIES / "invalid-group-cycle", site / "inventory" / "broken")
    done = CliRunner().invoke(sitetest.test, ["--json"])
    verdicts = {(check["inventory"], check["check"]): check["verdict"] for check in json.loads(done.stdout)["checks"]}
    assert verdicts["broken", "inventory"] == "failed"
    assert verdicts["broken", "settings"] == "not run"
    assert verdicts["prod", "determinism"] == "passed"
    assert next(iter(report("-i", "prod"))) == "inventory"


@pytest.mark.usefixtures("quick")
def test_a_site_without_inventory_is_no_failure(site: Path) -> None:
    shutil.rmtree(site / "inventory" / "prod")
    assert report()["inventory"]["verdict"] == "not run"


@pytest.mark.usefixtures("quick")
def test_a_limit_and_roles_narrow_what_is_tested(site: Path) -> None:
    checks = report("-l", "edge01", "-r", "door")
    assert (checks["settings"]["count"], checks["operations"]["count"]) == (1, 2)
    assert "unknown host or group 'edge09'" in messages(report("-l", "edge09", expect=2)["settings"])[0]


def test_a_check_that_takes_long_says_so_and_a_short_one_does_not(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import time

    from hatfleet.common import progress

    monkeypatch.setattr(progress, "SLOW_S", 0.05)
    test = SiteTest(progress.slow_step)
    test.run("short", lambda: Result(1, "things"))
    test.run("long", lambda: Result(0, "", time.sleep(0.3) or ()), "prod")
    assert capfd.readouterr().err.strip() == "… long (prod)"


def test_a_warning_is_no_failure_and_one_error_among_warnings_is() -> None:
    import contextlib

    test = SiteTest(lambda name: contextlib.nullcontext())
    warning, error = Finding("w", warning=True), Finding("e")
    assert test.run("a", lambda: Result(1, "", (warning,)))
    assert test.exit_code == 0
    assert not test.run("b", lambda: Result(1, "", (warning, error)))
    assert [outcome.verdict for outcome in test.outcomes] == [Verdict.WARNING, Verdict.FAILED]
    assert test.exit_code == 2


def test_everything_that_is_wrong_is_found_at_once() -> None:
    def look(name: str) -> None:
        if name != "good":
            raise InputError(f"{name} is wrong")

    result = each("things", ["bad", "good", "worse"], look)
    assert (result.count, [finding.message for finding in result.findings]) == (3, ["bad is wrong", "worse is wrong"])


# Roles, deploys, recipes


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("__init__.py", "import no_such_module\n", "the role does not load: No module named 'no_such_module'"),
        ("settings.py", "raise RuntimeError('no')\n", "settings.py does not load: no"),
        ("settings.py", "", "must define one class Settings"),
    ],
)
def test_a_role_that_does_not_load_is_found(site: Path, file: str, content: str, words: str) -> None:
    role = site / "roles" / "crooked"
    shutil.copytree(site / "roles" / "door", role)
    (role / file).write_text(content)
    (finding,) = check_roles(Site(site)).findings
    assert words in finding.message
    assert finding.where and finding.where.file == role / file


def test_what_a_role_prints_while_it_loads_does_no_harm(site: Path) -> None:
    (site / "roles" / "door" / "__init__.py").write_text("print('hello')\n")
    assert check_roles(Site(site)).findings == ()


def test_a_deploy_of_an_unknown_role_is_found(site: Path) -> None:
    (site / "deploys" / "wrong.py").write_text('ROLES = ("door", "dor")\n')
    (site / "deploys" / "worse.py").write_text('ROLES = ["door"]\n')
    found = {
        finding.where.file.name: finding.message
        for finding in check_deploys(Site(site)).findings
        if finding.where and finding.where.file
    }
    assert list(found) == ["worse.py", "wrong.py"]
    assert "must define ROLES" in found["worse.py"]
    assert "unknown role 'dor'" in found["wrong.py"]


def test_a_wrong_recipe_is_found_with_its_line(site: Path) -> None:
    (site / "images").mkdir()
    (site / "images" / "one.yaml").write_text('name: two\nversion: "1"\nplatform: virt\nsuite: trixie\nroles: [door]\n')
    (finding,) = check_recipes(Site(site)).findings
    assert "found 'two', but the file is called one.yaml" in finding.message
    assert finding.where and finding.where.line == 1


# An inventory


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("name", "words", "hint"),
    [
        ("group_vars/egde.yaml", "there is no group 'egde'", "did you mean 'edge'? rename the file"),
        ("host_vars/edge2.yml", "there is no host 'edge2'", "did you mean 'edge02'? rename the file"),
        ("host_vars/other/main.yaml", "there is no host 'other'", "remove it, or add the host"),
        ("limits/canary", "unknown host or group 'edge1'", "did you mean"),
    ],
)
def test_a_reference_that_leads_nowhere_is_found(site: Path, name: str, words: str, hint: str) -> None:
    file = site / "inventory" / "prod" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("edge1\n" if name.startswith("limits") else "a: 1\n")
    (finding,) = report(expect=2)["references"]["findings"]
    assert words in finding["message"]
    assert finding["hint"].startswith(hint)
    assert finding["file"].endswith(name.removesuffix("/main.yaml"))


@pytest.mark.usefixtures("quick")
def test_files_that_are_nobodys_variables_are_left_alone(site: Path) -> None:
    for name in ("group_vars/.gitkeep", "group_vars/README.md", "group_vars/old.yaml~", "limits/.swp"):
        file = site / "inventory" / "prod" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("x\n")
    assert report()["references"]["verdict"] == "passed"


@pytest.mark.usefixtures("quick")
def test_an_empty_group_and_a_priority_without_effect_are_warnings(site: Path) -> None:
    hosts = site / "inventory" / "prod" / "hosts.yaml"
    hosts.write_text(hosts.read_text() + "    spare:\n      children: {sparer: }\n")
    with (site / "inventory" / "prod" / "group_vars" / "edge.yaml").open("a") as file:
        file.write("ansible_group_priority: 3\n")
    groups = report()["groups"]
    assert groups["verdict"] == "warning"
    assert messages(groups) == [
        "the group 'spare' has no hosts",
        "the group 'sparer' has no hosts",
        "the priority of 'edge' has no effect here, in Ansible neither",
    ]


@pytest.mark.usefixtures("quick")
def test_a_setting_that_names_a_missing_file_is_found(site: Path) -> None:
    (site / "inventory" / "prod" / "host_vars" / "edge02.yaml").write_text("door: {key_files: [keys/none.pub]}\n")
    checks = report(expect=2)
    assert "there is no file" in messages(checks["settings"])[0]
    assert checks["operations"]["verdict"] == checks["determinism"]["verdict"] == "not run"


# Operations


@pytest.fixture
def declare(site: Path, quick: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Report]:
    """Run the test with a stand-in that misbehaves."""

    def run(manner: str) -> Report:
        monkeypatch.setattr(sitetest_declare, "DECLARE", (sys.executable, STAND_IN, manner))
        return report(expect=2)

    return run


def test_a_role_that_fails_on_hosts_is_one_finding_that_names_them(declare: Callable[[str], Report]) -> None:
    checks = declare("failing")
    assert messages(checks["operations"]) == ["role door: UndefinedError: 'x' is undefined (on edge01, edge02)"]
    assert checks["operations"]["count"] == 4
    assert checks["determinism"]["count"] == 1


@pytest.mark.parametrize(
    ("manner", "words"),
    [
        (
            "hashes",
            "role door: 'the file of door' is declared in two ways from the same settings (on edge01, edge02, edge03)",
        ),
        ("order", "role sensor: the order of the operations differs from run to run (on edge01, edge02, edge03)"),
        ("less", "role sensor: 'the file of sensor' is declared in two ways"),
    ],
)
def test_operations_that_are_not_the_same_twice_are_found(
    declare: Callable[[str], Report], manner: str, words: str
) -> None:
    checks = declare(manner)
    assert checks["operations"]["verdict"] == "passed"
    assert any(words in message for message in messages(checks["determinism"]))


@pytest.mark.parametrize(
    ("manner", "words"),
    [
        ("broken", "failed with exit status 1:\n    role door does not load"),
        ("refused", "roles/door/__init__.py: the role does not load"),
        ("babbling", "gave no answer that can be read"),
    ],
)
def test_a_program_that_cannot_declare_is_a_failure_and_no_pass(
    declare: Callable[[str], Report], manner: str, words: str
) -> None:
    checks = declare(manner)
    assert words in messages(checks["operations"])[0]
    assert checks["determinism"]["verdict"] == "not run"


def test_a_role_that_can_be_declared_on_a_device_only_is_no_failure(
    site: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    error = {"host": "edge01", "role": "door", "message": "it needs a device", "needs_device": True}
    program = tmp_path / "declare.py"
    program.write_text(f"print({json.dumps(json.dumps({'hosts': {}, 'errors': [error]}))})\n")
    monkeypatch.setattr(sitetest_declare, "DECLARE", (sys.executable, str(program)))
    checks = report("-i", "prod")
    assert (checks["operations"]["verdict"], checks["determinism"]["verdict"]) == ("warning", "not run")
    assert messages(checks["operations"]) == ["role door: it needs a device (on edge01)"]
