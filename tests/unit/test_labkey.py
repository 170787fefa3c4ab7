from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hatfleet.common.errors import InputError
from hatfleet.common.labkey import lab_key_file, lab_public_key


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def test_key_is_made_once_and_openssh_agrees_on_its_public_half() -> None:
    key = lab_key_file()
    derived = subprocess.run(["ssh-keygen", "-y", "-f", key], capture_output=True, text=True, check=True).stdout
    assert derived.split()[:2] == lab_public_key().split()[:2]
    assert lab_public_key().startswith("ssh-ed25519 AAAA")
    assert key.with_suffix(".pub").read_text() == lab_public_key() + "\n"


def test_private_key_is_for_the_owner_only() -> None:
    assert lab_key_file().stat().st_mode & 0o777 == 0o600


def test_simultaneous_first_uses_end_with_one_key() -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: lab_public_key(), range(8)))
    assert len(keys) == 1


def test_lost_public_file_is_written_again() -> None:
    public = lab_key_file().with_suffix(".pub")
    public.unlink()
    assert public.parent / "id_ed25519.pub" == public
    assert lab_public_key() + "\n" == public.read_text()


@pytest.mark.parametrize("content", [b"", b"not a key", b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"])
def test_damaged_key_is_an_error_that_names_the_file(content: bytes) -> None:
    key = lab_key_file()
    key.write_bytes(content)
    with pytest.raises(InputError, match="id_ed25519: the lab key cannot be used"):
        lab_public_key()


def test_key_of_another_kind_is_refused(state: Path) -> None:
    key = state / "hatfleet" / "lab" / "id_ed25519"
    key.parent.mkdir(parents=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", key], check=True)
    with pytest.raises(InputError, match="not an Ed25519 key"):
        lab_key_file()
