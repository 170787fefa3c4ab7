"""``provision secrets`` run in a site with secrets: what the tests of its commands share."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hatfleet.cli.secrets import secrets
from hatfleet.common.errors import HatfleetError
from hatfleet.fleet.secrets.vault import IDENTITY_VARIABLE
from tests.unit.secret_site import SECRET, SecretSite

VARIABLES = "inventory/prod/group_vars/all.yaml"


def enter_site(folder: Path, monkeypatch: pytest.MonkeyPatch) -> SecretSite:
    """Make a site with secrets in a folder and go there, with its identity chosen and no editor."""
    made = SecretSite(folder / "site", folder / "home" / "identity.txt")
    monkeypatch.chdir(made.root)
    monkeypatch.setenv(IDENTITY_VARIABLE, str(made.identity))
    monkeypatch.delenv("VISUAL", raising=False)
    return made


def run(*args: str, stdin: str = "") -> Result:
    result = CliRunner().invoke(secrets, list(args), input=stdin)
    assert result.exception is None or isinstance(result.exception, HatfleetError | SystemExit), result.exception
    assert SECRET not in result.output
    return result


def refusal(*args: str, stdin: str = "") -> str:
    error = run(*args, stdin=stdin).exception
    assert isinstance(error, HatfleetError)
    return f"{error} | {error.hint}"
