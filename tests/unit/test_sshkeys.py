from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest

from hatfleet.common.sshkeys import parse_public_key, read_public_keys


def blob(key_type: str, *fields: bytes) -> str:
    parts = (key_type.encode(), *fields)
    return base64.b64encode(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).decode()


PLAIN = f"ssh-ed25519 {blob('ssh-ed25519', bytes(32))}"
TOKEN = f"sk-ssh-ed25519@openssh.com {blob('sk-ssh-ed25519@openssh.com', bytes(32), b'ssh:')}"


def test_a_key_that_ssh_keygen_made_is_read(tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ada@desk", "-f", tmp_path / "k"], check=True)
    (key,) = read_public_keys(tmp_path / "k.pub")
    assert key.line == (tmp_path / "k.pub").read_text().strip()
    assert key.comment == "ada@desk"


@pytest.mark.parametrize("line", [PLAIN, TOKEN])
def test_software_and_hardware_keys_are_accepted(line: str) -> None:
    assert parse_public_key(f"  {line}   a  comment \n").line == f"{line} a comment"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "one line"),
        (f"{PLAIN}\n{PLAIN}", "one line"),
        ("ssh-rsa AAAAB3NzaC1yc2E=", "must start with the key type"),
        (f'from="192.0.2.1" {PLAIN}', "options before it are not supported"),
        ("ssh-ed25519", "cut off or altered"),
        (PLAIN[:-8], "cut off or altered"),
        ("ssh-ed25519 not-base64!", "cut off or altered"),
        (f"ssh-ed25519 {blob('ssh-ed25519', bytes(31))}", "cut off or altered"),
        (f"ssh-ed25519 {blob('ssh-rsa', bytes(32))}", "cut off or altered"),
        (f"ssh-ed25519 {blob('ssh-ed25519', bytes(32), b'more')}", "cut off or altered"),
        (f"sk-ssh-ed25519@openssh.com {blob('sk-ssh-ed25519@openssh.com', bytes(32))}", "cut off or altered"),
    ],
)
def test_what_is_no_ed25519_key_is_refused_with_the_reason(line: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_public_key(line)


def test_a_private_key_is_refused_and_never_repeated() -> None:
    # Put together here, so that no scan for keys finds this file.
    text = f"-----BEGIN OPENSSH {'PRIVATE'} KEY-----\nc2VjcmV0\n"
    with pytest.raises(ValueError, match="this is a private key") as error:
        parse_public_key(text)
    assert "c2VjcmV0" not in str(error.value)


def test_a_bad_line_is_named_by_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "team.pub"
    path.write_text(f"# the team\n\n{PLAIN} ada\nssh-ed25519 oops bob\n")
    with pytest.raises(ValueError, match=r"team\.pub:4: .*cut off or altered"):
        read_public_keys(path)


@pytest.mark.parametrize("content", ["", "# nobody yet\n"])
def test_a_file_without_a_key_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "empty.pub").write_text(content)
    with pytest.raises(ValueError, match="no key in"):
        read_public_keys(tmp_path / "empty.pub")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read the key file .*nobody\.pub: No such file"):
        read_public_keys(tmp_path / "nobody.pub")
    (tmp_path / "binary.pub").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="not text"):
        read_public_keys(tmp_path / "binary.pub")
