"""A small site with roles whose checks end in every way there is, for the compliance tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

from hatfleet.compliance.job import CheckJob
from hatfleet.fleet.job import Connection, RoleRun

SETTINGS = """
    from hatfleet.fleet.settings import RoleSettings
    class Settings(RoleSettings):
        wanted: str = "default"
"""

IMPORTS = """
    import os
    import pytest
    from hatfleet.compliance import control, not_applicable
"""


def write_role(site: Path, name: str, checks: str | None) -> Path:
    """Write a role; importing the role itself is an error, as its code needs what only the fleet's worker loads."""
    role = site / "roles" / name
    role.mkdir(parents=True)
    (role / "__init__.py").write_text("raise RuntimeError('a check must not import the role')\n")
    (role / "settings.py").write_text(dedent(SETTINGS))
    if checks is not None:
        (role / "checks.py").write_text(dedent(IMPORTS) + dedent(checks))
    return role


def job_on_this_machine(site: Path, name: str, roles: Sequence[str], **settings: Any) -> CheckJob:
    return CheckJob(name=name, site=site, roles=_runs(roles, settings), on_this_machine=True)


def job_in_rootfs(site: Path, name: str, roles: Sequence[str], root: Path) -> CheckJob:
    return CheckJob(name=name, site=site, roles=_runs(roles, {}), rootfs=root)


def job_over_ssh(site: Path, name: str, roles: Sequence[str], connection: Connection) -> CheckJob:
    return CheckJob(name=name, site=site, roles=_runs(roles, {}), connection=connection)


def _runs(roles: Sequence[str], settings: dict[str, Any]) -> tuple[RoleRun, ...]:
    return tuple(RoleRun(name=role, settings=settings) for role in roles)
