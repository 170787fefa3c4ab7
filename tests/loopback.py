"""Shared by the tests that need no device: a throw-away site with roles of its own, and a target to run them on."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hatfleet.fleet.job import HostJob, Job, Mode, RoleRun
from tests.ssh_server import SshServer, ssh_server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SshServer]:
    with ssh_server(tmp_path / "server") as running:
        yield running


@pytest.fixture
def make_role(tmp_path: Path) -> Callable[[str, str], Path]:
    """Write a role whose settings have one field ``root``: the folder that it may write to."""
    site = tmp_path / "site"

    def write(name: str, code: str) -> Path:
        role = site / "roles" / name
        role.mkdir(parents=True)
        settings = '''
            from hatfleet.fleet.settings import RoleSettings

            class Settings(RoleSettings):
                root: str
                """Where to write."""
        '''
        (role / "settings.py").write_text(textwrap.dedent(settings))
        (role / "__init__.py").write_text("from hatfleet import ops\n" + textwrap.dedent(code))
        return site

    return write


@pytest.fixture
def make_job(tmp_path: Path, server: SshServer) -> Callable[..., Job]:
    """Make a job that runs roles on the loopback server."""
    target = tmp_path / "target"
    target.mkdir()

    def make(*roles: str, mode: Mode = Mode.APPLY, hosts: tuple[HostJob, ...] = ()) -> Job:
        runs = tuple(RoleRun(name=role, settings={"root": str(target)}) for role in roles)
        host = HostJob(name="node-1", connection=server.connection, roles=runs)
        others = tuple(other.model_copy(update={"roles": runs}) for other in hosts)
        return Job(mode=mode, site=tmp_path / "site", hosts=(host, *others))

    return make
