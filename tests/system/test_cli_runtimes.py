"""The commands of ``provision runtimes``, with the real pip and a folder of tiny wheels as its only index."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hatfleet.cli.main import cli
from hatfleet.common.errors import InputError
from hatfleet.runtimes import store
from tests.unit.wheels import make_wheel, use_hatserve, use_index


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Wheels of a hatserve that is complete; the working directory is a site."""
    folder = use_index(tmp_path, monkeypatch)
    use_hatserve(tmp_path, monkeypatch, ["onnxruntime", "ai-edge-litert"])
    make_wheel(folder, "onnxruntime", "1.0", requires=["numpy"], metadata="License-Expression: MIT\n")
    make_wheel(folder, "ai-edge-litert", "2.0", requires=["numpy"])
    make_wheel(folder, "numpy", "2.0")
    (tmp_path / "site" / "inventory").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "site")
    return folder


def provision(*arguments: str) -> Result:
    done = CliRunner().invoke(cli, arguments)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_wheels_are_locked_in_the_site_fetched_and_shown(index: Path) -> None:
    made = json.loads(provision("runtimes", "lock", "--upgrade", "--json").stdout)
    file = Path(made["file"])
    assert file == Path.cwd() / "runtimes" / "arm64-py3.13.lock"
    # Beside the lock that came with hatfleet, which held until now.
    assert next(one["after"] for one in made["changes"] if one["name"] == "onnxruntime") == "1.0"
    assert "onnxruntime==1.0" in file.read_text()
    before = sorted(store.folder().glob("*/*.whl"))
    shutil.rmtree(before[0].parent)
    assert provision("runtimes", "fetch").stdout.strip().endswith("wheels")
    assert sorted(store.folder().glob("*/*.whl")) == before
    shown = json.loads(provision("runtimes", "show", "--json").stdout)
    rows = {row["name"]: row for row in shown["packages"]}
    assert rows["onnxruntime"]["licence"] == "MIT"
    assert rows["numpy"]["via"] == ["ai-edge-litert", "onnxruntime"]
    assert shown["environment_bytes"] > 0
    table = provision("runtimes", "show").stdout.splitlines()
    assert table[0].split()[:2] == ["package", "version"]
    assert len(table) == 4


def test_versions_stay_until_they_are_to_be_upgraded(index: Path) -> None:
    provision("runtimes", "lock", "--upgrade")
    make_wheel(index, "numpy", "2.5")
    assert json.loads(provision("runtimes", "lock", "--json").stdout)["changes"] == []
    changes = json.loads(provision("runtimes", "lock", "--upgrade", "--json").stdout)["changes"]
    assert changes == [{"name": "numpy", "before": "2.0", "after": "2.5"}]


def test_a_lock_older_than_the_requirements_is_named_and_can_be_made_anew(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provision("runtimes", "lock", "--upgrade")
    make_wheel(index, "more")
    use_hatserve(tmp_path, monkeypatch, ["onnxruntime", "ai-edge-litert", "more>=1"])
    for command in ("fetch", "show"):
        with pytest.raises(InputError, match=r"older than what hatserve requires: \+more>=1"):
            provision("runtimes", command)
    provision("runtimes", "lock")
    assert len(provision("runtimes", "show").stdout.splitlines()) == 5


def test_another_processor_or_python_has_a_lock_of_its_own(index: Path) -> None:
    with pytest.raises(InputError, match=r"no lock of wheels for amd64 and Python 3\.11"):
        provision("runtimes", "fetch", "--arch", "amd64", "--python", "3.11")
    provision("runtimes", "lock", "--arch", "amd64", "--python", "3.11")
    assert [path.name for path in Path("runtimes").iterdir()] == ["amd64-py3.11.lock"]
    assert provision("runtimes", "lock", "--arch", "riscv64").exit_code == 2
