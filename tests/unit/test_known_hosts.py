from __future__ import annotations

import base64
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from paramiko.hostkeys import HostKeys

from hatfleet.common.errors import InputError
from hatfleet.fleet.known_hosts import keys_of


def key() -> str:
    public = Ed25519PrivateKey.generate().public_key()
    return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def found(file: Path, host: str) -> list[str]:
    keys = keys_of(file, host).lookup(host) or {}
    return [f"{name} {value.get_base64()}" for name, value in keys.items()]


def test_a_host_has_its_own_keys_by_any_of_its_names(tmp_path: Path) -> None:
    one, two, hashed = key(), key(), key()
    file = tmp_path / "known_hosts"
    file.write_text(
        f"# a comment\n\na,[10.0.0.1]:2222 {one} of a\nb {two}\n{HostKeys.hash_host('c')} {hashed}\n"
        f"@revoked a {two}\n*.example {two}\n"
    )
    assert found(file, "a") == found(file, "[10.0.0.1]:2222") == [one]
    assert found(file, "b") == [two]
    assert found(file, "c") == [hashed]
    assert found(file, "10.0.0.1") == found(file, "x.example") == []


def test_a_changed_file_is_read_again_and_a_missing_one_is_empty(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    assert found(file, "a") == []
    old, new = key(), key()
    file.write_text(f"a {old}\n")
    assert found(file, "a") == [old]
    file.write_text(f"a {new}\nb {old}\n")
    assert found(file, "a") == [new]


@pytest.mark.parametrize("rest", ["ssh-ed25519 AAAA", "ssh-ed25519", "nonsense x", "ssh-ed25519 %%%"])
def test_a_damaged_line_is_an_error_of_its_own_host_only(tmp_path: Path, rest: str) -> None:
    file = tmp_path / "known_hosts"
    good = key()
    file.write_text(f"b {good}\na {rest}\n")
    assert found(file, "b") == [good]
    try:
        assert found(file, "a") == [], "never a key that is not there"
    except InputError as error:
        assert error.where is not None and error.where.line == 2


def test_a_folder_in_its_place_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        keys_of(tmp_path, "a")


def test_a_thousand_hosts_cost_no_more_than_one_each(tmp_path: Path) -> None:
    """paramiko takes about half a second for each of them."""
    line = key()
    file = tmp_path / "known_hosts"
    file.write_text("".join(f"host-{n} {line}\n" for n in range(1000)))
    start = time.process_time()
    for n in range(1000):
        assert found(file, f"host-{n}") == [line]
    assert time.process_time() - start < 5
    assert base64.b64decode(line.split()[1])
