"""``provision secrets``, as it is typed: prompts on a real terminal, an editor, files before and after."""

from __future__ import annotations

import os
import pty
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click
import pytest

from hatfleet.cli.complete import complete_secrets
from hatfleet.cli.secrets import secrets
from hatfleet.common.errors import InputError
from hatfleet.common.yamlfile import load_yaml
from hatfleet.fleet.secrets.scratch import in_memory, private_folder
from tests.unit.secret_site import SECRET, SecretSite
from tests.unit.secrets_command import VARIABLES, enter_site, refusal, run


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SecretSite:
    return enter_site(tmp_path, monkeypatch)


def value(site: SecretSite, key: str) -> str:
    node = load_yaml(site.variables).find(key.split("."))
    assert node is not None
    (text,) = site.vault().reveal(node).values()
    return text


def on_terminal(argv: Sequence[str], answers: Sequence[tuple[str, str]]) -> tuple[int, str]:
    """Run the command with a terminal of its own; give each answer after its question. Returns status and screen."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-m", "hatfleet.cli.main", *argv])
    screen = b""
    waiting = list(answers)
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        try:
            screen += os.read(terminal, 4096)
        except OSError:
            break
        if waiting and waiting[0][0].encode() in screen:
            time.sleep(0.1)  # getpass switches the echo off after the question is out
            os.write(terminal, waiting.pop(0)[1].encode() + b"\n")
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), screen.decode()


# init


def test_init_makes_an_identity_and_adds_its_recipient(site: SecretSite, tmp_path: Path) -> None:
    file = tmp_path / "new.txt"
    done = run("init", "--identity", str(file), "--name", "bob@laptop")
    assert done.exit_code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    added = site.recipients.file.read_text().splitlines()[-2:]
    assert added[0] == "# bob@laptop"
    assert added[1] in done.stdout
    assert "AGE-SECRET-KEY" not in done.output
    assert site.recipients.rekeyed() is True


def test_init_with_secrets_says_that_they_must_be_rekeyed(site: SecretSite, tmp_path: Path) -> None:
    site.put("wifi.passphrase", SECRET)
    assert "must run: provision secrets rekey" in run("init", "--identity", str(tmp_path / "new.txt")).stderr
    assert site.recipients.rekeyed() is False


def test_init_does_not_write_over_an_identity_nor_into_the_site(site: SecretSite) -> None:
    before = site.identity.read_bytes()
    assert "never written over" in refusal("init")
    assert site.identity.read_bytes() == before
    assert "lies in the site" in refusal("init", "--identity", "keys/me.txt")


def test_an_identity_with_passphrase_is_asked_for_on_the_terminal(site: SecretSite, tmp_path: Path) -> None:
    file = str(tmp_path / "new.txt")
    answers = [("New passphrase", "open sesame"), ("same again", "open sesame")]
    status, screen = on_terminal(["secrets", "init", "--passphrase", "--identity", file], answers)
    assert status == 0, screen
    assert "open sesame" not in screen
    assert Path(file).read_text().startswith("-----BEGIN AGE")
    site.put("wifi.passphrase", SECRET)
    argv = ["secrets", "doctor", "--identity", file]
    status, screen = on_terminal(argv, [("Passphrase of", "open sesame")])
    assert (status, "all is well" in screen) == (0, True), screen
    # Without a terminal: from a descriptor, or not at all.
    command = [sys.executable, "-m", "hatfleet.cli.main", *argv]
    done = subprocess.run(
        [*command, "--passphrase-fd", "0"], input=b"open sesame\n", capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    alone = subprocess.run(command, capture_output=True, check=False, start_new_session=True, timeout=60)
    assert alone.returncode == 1
    assert b"no terminal to ask on" in alone.stdout
    assert b"--passphrase-fd" in alone.stdout


def test_a_passphrase_is_no_option_and_a_closed_descriptor_is_explained(site: SecretSite) -> None:
    assert run("doctor", "--passphrase", "open sesame").exit_code == 2
    assert "cannot read the passphrase from descriptor 77" in refusal("doctor", "--passphrase-fd", "77")


# encrypt


def test_a_value_from_standard_input_goes_into_the_file(site: SecretSite) -> None:
    done = run("encrypt", "--in", VARIABLES, "--key", "wifi.passphrase", stdin=f"{SECRET}\n")
    assert done.stdout == f"wifi.passphrase in {VARIABLES}, encrypted to 1 recipient\n"
    assert value(site, "wifi.passphrase") == SECRET
    assert "ssid: home # ours" in site.variables.read_text()


def test_a_value_of_several_lines_is_kept_as_it_is(site: SecretSite, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("one\ntwo\n")
    assert run("encrypt", "--in", VARIABLES, "--key", "wifi.token", "--file", str(tmp_path / "key")).exit_code == 0
    assert value(site, "wifi.token") == "one\ntwo\n"


def test_a_value_is_printed_ready_to_paste(site: SecretSite) -> None:
    done = run("encrypt", "--name", "passphrase", stdin=SECRET)
    assert done.stdout.startswith("passphrase: !age |\n  -----BEGIN AGE")
    site.variables.write_text(done.stdout)
    assert value(site, "passphrase") == SECRET
    assert run("encrypt", stdin=SECRET).stdout.startswith("-----BEGIN AGE")


def test_a_value_typed_on_the_terminal_does_not_show(site: SecretSite) -> None:
    argv = ["secrets", "encrypt", "--in", VARIABLES, "--key", "wifi.passphrase"]
    status, screen = on_terminal(argv, [("Value (not shown)", "correct horse")])
    assert status == 0, screen
    assert "correct horse" not in screen
    assert value(site, "wifi.passphrase") == "correct horse"


def test_what_cannot_be_done_leaves_the_file_as_it_was(site: SecretSite) -> None:
    before = site.variables.read_bytes()
    assert "cannot be put here safely" in refusal("encrypt", "--in", VARIABLES, "--key", "wifi", stdin=SECRET)
    assert "at least 4 characters" in refusal("encrypt", "--in", VARIABLES, "--key", "wifi.token", stdin="abc")
    assert run("encrypt", "--in", VARIABLES, stdin=SECRET).exit_code == 2
    assert run("encrypt", "--key", "a", stdin=SECRET).exit_code == 2
    assert run("encrypt", SECRET.replace(" ", "")).exit_code == 2
    site.recipients.file.write_text("")
    assert "there are no recipients" in refusal("encrypt", "--in", VARIABLES, "--key", "a", stdin=SECRET)
    assert site.variables.read_bytes() == before


# edit and show


def editor(path: Path, code: str) -> str:
    """Make an editor that runs ``code`` with the file's path as ``path``."""
    path.write_text(
        f"#!{sys.executable}\nimport os, sys\nfrom pathlib import Path\npath = Path(sys.argv[-1])\n{code}\n"
    )
    path.chmod(0o755)
    return str(path)


def test_edit_changes_the_value_in_memory_only(
    site: SecretSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put("wifi.passphrase", SECRET)
    seen = tmp_path / "seen"
    code = (
        f"modes = oct(path.stat().st_mode)[-3:], oct(path.parent.stat().st_mode)[-3:]\n"
        f"Path({str(seen)!r}).write_text(f'{{path}} {{modes}}')\n"
        f"assert path.read_text() == {SECRET!r}\n"
        f"Path(path.parent, 'backup~').write_text('x')\n"
        f"path.write_text('another value\\n')"
    )
    monkeypatch.setenv("EDITOR", editor(tmp_path / "editor", code))
    assert run("edit", VARIABLES).exit_code == 0
    assert value(site, "wifi.passphrase") == "another value"
    path, _, modes = seen.read_text().partition(" ")
    assert modes == "('600', '700')"
    assert in_memory(Path(path).parent.parent)
    assert not Path(path).parent.exists()


@pytest.mark.parametrize(
    "code", ["sys.exit(3)", "path.unlink()", "path.write_bytes(b'\\xff\\xfe')", "path.write_text('ab')"]
)
def test_an_edit_that_fails_changes_nothing(
    site: SecretSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    site.put("wifi.passphrase", SECRET)
    before = site.variables.read_bytes()
    monkeypatch.setenv("EDITOR", editor(tmp_path / "editor", code))
    refusal("edit", VARIABLES)
    assert site.variables.read_bytes() == before


def test_an_edit_without_a_change_encrypts_nothing(
    site: SecretSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put("wifi.passphrase", SECRET)
    before = site.variables.read_bytes()
    monkeypatch.setenv("EDITOR", editor(tmp_path / "editor", "path.write_text(path.read_text() + '\\n')"))
    assert "unchanged" in run("edit", VARIABLES).stdout
    assert site.variables.read_bytes() == before


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_edit_leaves_nothing_behind(
    site: SecretSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    site.put("wifi.passphrase", SECRET)
    seen = tmp_path / "seen"
    code = f"Path({str(seen)!r}).write_text(str(path))\nimport time\ntime.sleep(30)"
    monkeypatch.setenv("EDITOR", editor(tmp_path / "editor", code))
    argv = [sys.executable, "-m", "hatfleet.cli.main", "secrets", "edit", VARIABLES]
    process = subprocess.Popen(argv, stderr=subprocess.DEVNULL, start_new_session=True)
    limit = time.monotonic() + 30
    while not (seen.exists() and seen.read_text()) and time.monotonic() < limit:
        time.sleep(0.05)
    folder = Path(seen.read_text()).parent
    assert folder.exists()
    os.killpg(process.pid, how)
    assert process.wait(30) == 130
    assert not folder.exists()


def test_without_memory_a_disk_must_be_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hatfleet.fleet.secrets.scratch.in_memory", lambda folder: False)
    with pytest.raises(InputError, match="no file system in memory"), private_folder(allow_disk=False):
        pass
    with private_folder(allow_disk=True) as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not folder.exists()


def test_memory_is_told_from_disk() -> None:
    assert in_memory(Path("/dev/shm"))
    assert not in_memory(Path("/usr"))


def test_a_file_with_several_secrets_asks_which(site: SecretSite) -> None:
    site.put("wifi.passphrase", SECRET)
    site.put("wifi.token", SECRET)
    assert "The secrets in it are: wifi.passphrase, wifi.token" in refusal("edit", VARIABLES)
    assert "did you mean 'wifi.token'?" in refusal("edit", VARIABLES, "--key", "wifi.tokn")


def test_show_asks_first_and_needs_a_terminal(site: SecretSite) -> None:
    site.put("wifi.passphrase", "correct horse")
    assert "on a terminal only" in refusal("show", VARIABLES)
    status, screen = on_terminal(["secrets", "show", VARIABLES], [("on this screen?", "y")])
    assert (status, "correct horse" in screen) == (0, True)
    status, screen = on_terminal(["secrets", "show", VARIABLES], [("on this screen?", "n")])
    assert (status, "correct horse" in screen) == (130, False)


# Completion


def test_the_keys_of_the_file_complete(site: SecretSite) -> None:
    site.put("wifi.passphrase", SECRET)
    site.put("wifi.token", SECRET)
    context = click.Context(secrets)
    context.params["file"] = site.variables
    option = click.Option(["--key"])
    assert [item.value for item in complete_secrets(context, option, "wifi.t")] == ["wifi.token"]
    context.params["file"] = site.root / "nowhere"
    assert complete_secrets(context, option, "") == []


def test_every_command_teaches(site: SecretSite) -> None:
    for name in ("init", "encrypt", "edit", "show", "rekey", "doctor"):
        assert len(run(name, "--help").stdout.splitlines()) > 6
