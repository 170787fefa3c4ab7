"""What roles declare, without any host, through the real program."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hatfleet.fleet.job import Connection, HostJob, Job, Mode, RoleRun

MakeRole = Callable[[str, str], Path]


def declare(site: Path, *roles: str, secrets: tuple[str, ...] = ()) -> Any:
    connection = Connection(address="none.invalid", user="x", known_hosts=Path("none"))
    runs = tuple(RoleRun(name=role, settings={"root": "/srv"}, secrets=secrets) for role in roles)
    job = Job(mode=Mode.PLAN, site=site, hosts=(HostJob(name="a", connection=connection, roles=runs),))
    done = subprocess.run(
        [sys.executable, "-m", "hatfleet.fleet.engine.declare"],
        input=job.model_dump_json(),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_operations_are_declared_in_order_with_a_digest_of_their_content(make_role: MakeRole) -> None:
    site = make_role("one", "def image(settings):\n    ops.file(name='f', path=settings.root + '/f', content='x')\n")
    make_role("two", "def device(settings, device):\n    ops.absent(name=device.name, path='/x')\n")
    answer = declare(site, "one", "two")
    found = [(op["role"], op["half"], op["name"]) for op in answer["hosts"]["a"]]
    assert found == [("one", "image", "f"), ("two", "device", "a")]
    assert all(len(op["digest"]) == 64 for op in answer["hosts"]["a"])


def test_a_role_that_fails_is_an_error_of_its_host_and_hides_secrets(make_role: MakeRole) -> None:
    site = make_role("bad", "def image(settings):\n    raise ValueError('it says hunter22 here')\n")
    answer = declare(site, "bad", secrets=("hunter22",))
    (error,) = answer["errors"]
    assert (error["host"], error["role"]) == ("a", "bad")
    assert error["message"] == "ValueError: it says *** here"
    assert answer["hosts"] == {}


def test_operations_of_pyinfra_need_a_device_and_are_no_failure(make_role: MakeRole) -> None:
    code = "from pyinfra.operations import server\n\ndef image(settings):\n    server.shell(commands=['true'])\n"
    (error,) = declare(make_role("native", code), "native")["errors"]
    assert error["needs_device"] is True
    assert "pyinfra" in error["message"]
