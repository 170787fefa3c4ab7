"""A run with secrets, from the command line to the device: the device gets them, and nobody else sees them."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hatfleet.common.redact import MARK
from tests.ssh_server import SshServer
from tests.unit.secret_site import SECRET, SecretSite

WRITE = """
    def image(settings):
        ops.file(name="settings", path=settings.root + "/conf", content="psk=" + settings.passphrase.get_secret_value(),
                 mode="0600", **OWNER)
"""


@pytest.fixture
def site(tmp_path: Path, server: SshServer) -> SecretSite:
    made = SecretSite(tmp_path / "site", tmp_path / "home" / "identity.txt")
    made.connect(server.connection)
    made.write("target/seen", "")
    made.variables.write_text(f"wifi:\n  root: {made.root / 'target'}\n")
    made.put("wifi.passphrase", SECRET)
    return made


def provision(site: SecretSite, *args: str) -> subprocess.CompletedProcess[str]:
    """Run the command; whatever it prints and whatever report it leaves must not hold the secret in any form."""
    environment = {**os.environ, "XDG_STATE_HOME": str(site.root.parent / "state")}
    argv = [sys.executable, "-m", "hatfleet.cli.main", *args, "--identity", str(site.identity)]
    done = subprocess.run(
        argv, cwd=site.root, env=environment, capture_output=True, text=True, timeout=60, check=False, stdin=-3
    )
    reports = [path.read_text() for path in (site.root.parent / "state").rglob("*.json")]
    for text in (done.stdout, done.stderr, *reports):
        for form in (SECRET, json.dumps(SECRET)[1:-1], base64.b64encode(SECRET.encode()).decode()[:20], SECRET[:13]):
            assert form not in text
        assert "Traceback" not in text
    return done


def test_the_device_gets_the_secret_and_the_diff_hides_it(site: SecretSite) -> None:
    site.role(WRITE)
    done = provision(site, "plan", "-v")
    assert done.returncode == 0, done.stderr
    assert f"psk={MARK}" in done.stdout
    assert provision(site, "apply", "-v").returncode == 0
    assert (site.root / "target/conf").read_text() == f"psk={SECRET}"


def test_reports_and_json_hide_it(site: SecretSite) -> None:
    site.role(WRITE)
    report = site.root / "report.json"
    done = provision(site, "apply", "--json", "--report", str(report))
    assert done.returncode == 0, done.stderr
    assert MARK in json.dumps([json.loads(line) for line in done.stdout.splitlines()])
    assert SECRET not in report.read_text()
    assert SECRET not in json.dumps(json.loads(report.read_text()), ensure_ascii=False)


def test_an_exception_that_quotes_it_is_covered(site: SecretSite) -> None:
    site.role("def image(settings):\n    raise ValueError('wrong: ' + settings.passphrase.get_secret_value())\n")
    done = provision(site, "apply")
    assert done.returncode == 1
    assert f"wrong: {MARK}" in done.stdout + done.stderr


def test_a_command_that_fails_and_echoes_it_is_covered(site: SecretSite) -> None:
    site.role("""
        import shlex

        def image(settings):
            first = ops.file(name="first", path=settings.root + "/a", content="x", **OWNER)
            said = shlex.quote(settings.passphrase.get_secret_value())
            command = f"echo {said} >&2; printf %s {said} | base64 >&2; false"
            ops.on_change(name="show " + said, triggers=[first], command=command)
    """)
    done = provision(site, "apply", "-v")
    assert done.returncode == 1
    assert done.stdout.count(MARK) + done.stderr.count(MARK) >= 2


def test_what_a_role_prints_and_a_crash_of_the_worker_are_covered(site: SecretSite) -> None:
    site.role("""
        import os, sys, signal

        def image(settings):
            secret = settings.passphrase.get_secret_value()
            print("printed", secret, flush=True)
            os.write(2, b"written " + secret.encode() + b"\\n")
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    done = provision(site, "apply")
    assert done.returncode == 1
    assert f"written {MARK}" in done.stdout + done.stderr


def test_it_is_in_no_argument_and_no_environment_of_our_processes(site: SecretSite) -> None:
    site.role("""
        import os
        from pathlib import Path

        def image(settings):
            needles = (settings.passphrase.get_secret_value().encode(), b"AGE-SECRET-KEY")
            looked, found, process = 0, [], os.getpid()
            while process > 1:
                for name in ("cmdline", "environ"):
                    data = Path(f"/proc/{process}/{name}").read_bytes()
                    found += [f"{process} {name}"] * any(needle in data for needle in needles)
                    looked += 1
                status = Path(f"/proc/{process}/stat").read_text()
                process = int(status.rpartition(")")[2].split()[1])
            Path(settings.root, "seen").write_text(f"{looked} {found}")
    """)
    assert provision(site, "apply").returncode == 0
    looked, _, found = (site.root / "target/seen").read_text().partition(" ")
    assert int(looked) >= 6  # the worker, the command line and this test, at least
    assert found == "[]"


def test_a_check_that_quotes_it_is_covered(site: SecretSite) -> None:
    site.write(
        "roles/wifi/checks.py",
        "from hatfleet.compliance import control\n\n\n"
        "@control('T-1', 'first', refs=['x'])\n"
        "def test_first(host, settings):\n"
        "    secret = settings.passphrase.get_secret_value()\n"
        "    print(secret)\n"
        "    assert secret == 'x' + secret[:30]\n\n\n"
        "@control('T-2', 'second', refs=['x'])\n"
        "def test_second(host, settings):\n"
        "    raise ValueError(settings.passphrase.get_secret_value())\n\n\n"
        "@control('T-3', 'third', refs=['x'])\n"
        "def test_third(host, settings):\n"
        "    assert host.run('echo fine').rc == 0\n",
    )
    junit = site.root / "junit.xml"
    done = provision(site, "check", "--json", "--junit", str(junit))
    assert done.returncode == 5, done.stderr
    controls = json.loads(done.stdout)["hosts"][0]["controls"]
    assert [one["outcome"] for one in controls] == ["failed", "error", "passed"]
    assert MARK in controls[0]["message"]
    assert MARK in controls[1]["message"]
    assert SECRET[:13] not in junit.read_text()


def test_it_is_decrypted_for_the_hosts_chosen_only(site: SecretSite) -> None:
    site.role(WRITE)
    broken = site.variables.read_text().replace("BEGIN AGE", "BEGIN")
    site.write("inventory/prod/host_vars/n2.yaml", broken)
    hosts = site.root / "inventory/prod/hosts.yaml"
    hosts.write_text(hosts.read_text() + "    n2:\n")
    assert provision(site, "plan", "-l", "n1").returncode == 0
    done = provision(site, "plan")
    assert done.returncode == 2
    assert "n2.yaml:3 at wifi.passphrase: cannot be decrypted: not an age file" in done.stderr
