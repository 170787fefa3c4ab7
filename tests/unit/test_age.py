from __future__ import annotations

import base64
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyrage
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from hatfleet.common.age import (
    NoMatchError,
    Stanza,
    decrypt,
    encrypt,
    parse_identities,
    parse_recipient,
    read_stanzas,
)
from hatfleet.common.errors import InputError

KEY = pyrage.x25519.Identity.generate()
IDENTITY = parse_identities(f"# mine\n\n{KEY}\n".encode(), lambda: "")
RECIPIENT = parse_recipient(str(KEY.to_public()))
SSH_KEYS: dict[str, Any] = {
    "ssh-ed25519": Ed25519PrivateKey.generate(),
    "ssh-rsa": generate_rsa(65537, 2048),
    "ecdsa": generate_ec(SECP256R1()),
}


def ssh_key(kind: str, passphrase: bytes = b"", form: PrivateFormat = PrivateFormat.OpenSSH) -> tuple[bytes, str]:
    key = SSH_KEYS[kind]
    protection = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return key.private_bytes(Encoding.PEM, form, protection), public


@settings(max_examples=50)
@given(st.binary(max_size=5000))
def test_what_is_encrypted_is_decrypted(data: bytes) -> None:
    armour = encrypt(data, [RECIPIENT])
    assert armour.startswith("-----BEGIN AGE")
    assert decrypt(armour, IDENTITY) == data
    assert decrypt("\n".join(f"  {line} " for line in armour.splitlines()), IDENTITY) == data


def test_the_header_tells_kinds_and_ssh_keys() -> None:
    ssh = [parse_recipient(ssh_key(kind)[1] + " me@laptop") for kind in ("ssh-ed25519", "ssh-rsa")]
    stanzas = read_stanzas(encrypt(b"data", [RECIPIENT, *ssh]))
    assert stanzas == (Stanza("X25519"), ssh[0].stanza, ssh[1].stanza)
    assert len({stanza.tag for stanza in stanzas}) == 3


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ssh-rsa"])
@pytest.mark.parametrize("passphrase", [b"", b"open sesame"])
@pytest.mark.parametrize("form", [PrivateFormat.OpenSSH, PrivateFormat.PKCS8])
def test_ssh_keys_decrypt_with_and_without_passphrase(kind: str, passphrase: bytes, form: PrivateFormat) -> None:
    private, public = ssh_key(kind, passphrase, form)
    (identity,) = parse_identities(private, passphrase.decode)
    assert identity.recipient == parse_recipient(f"{public} comment").text
    assert decrypt(encrypt(b"data", [parse_recipient(public)]), [identity]) == b"data"


@pytest.mark.parametrize("form", [PrivateFormat.OpenSSH, PrivateFormat.PKCS8])
def test_a_wrong_passphrase_of_an_ssh_key_is_said_so(form: PrivateFormat) -> None:
    with pytest.raises(InputError, match="wrong passphrase"):
        parse_identities(ssh_key("ssh-ed25519", b"open sesame", form)[0], lambda: "abracadabra")


def test_an_identity_file_with_passphrase_is_opened_with_it_only() -> None:
    data = pyrage.passphrase.encrypt(f"{KEY}\n".encode(), "open sesame", armored=True)
    assert parse_identities(data, lambda: "open sesame") == IDENTITY
    with pytest.raises(InputError, match="wrong passphrase"):
        parse_identities(data, lambda: "abracadabra")


def test_other_ssh_keys_are_refused() -> None:
    private, public = ssh_key("ecdsa")
    with pytest.raises(InputError, match="no SSH private key that age can use"):
        parse_identities(private, lambda: "")
    with pytest.raises(InputError, match="is no recipient"):
        parse_recipient(public)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "there is no identity in it"),
        (b"# only comments\n", "there is no identity in it"),
        (b"age1qqq", "line 1 is no age identity (a public key)"),
        (b"hunter22", "line 1 is no age identity (something else)"),
        (b"# x\nAGE-SECRET-KEY-1QQQ", "line 2 is a damaged age identity"),
        (b"\xff\xfe\x00", "line 1 is no age identity"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", "no SSH private key"),
    ],
)
def test_what_is_no_identity_is_refused_and_not_shown(content: bytes, says: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_identities(content, lambda: "")
    assert says in caught.value.message
    assert "hunter22" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is no recipient"),
        ("age1qqq", "is damaged"),
        ("ssh-ed25519", "is damaged"),
        ("ssh-ed25519 AAAA", "is damaged"),
        ("ssh-rsa !!!", "is damaged"),
    ],
)
def test_what_is_no_recipient_is_refused(text: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_recipient(text)
    assert says in caught.value.message


@pytest.mark.parametrize("case", [str.upper, str.lower])
def test_a_private_key_among_recipients_is_refused_and_not_shown(case: Callable[[str], str]) -> None:
    with pytest.raises(InputError, match="a private key stands where only public ones may") as caught:
        parse_recipient(case(str(KEY)))
    assert str(KEY)[20:].lower() not in f"{caught.value}{caught.value.hint}".lower()


def test_another_identity_does_not_match() -> None:
    other = parse_identities(str(pyrage.x25519.Identity.generate()).encode(), lambda: "")
    with pytest.raises(NoMatchError):
        decrypt(encrypt(b"data", [RECIPIENT]), other)


def test_an_identity_does_not_show_itself() -> None:
    assert str(KEY) not in repr(IDENTITY)


def test_damage_never_gives_other_data_nor_a_traceback() -> None:
    armour = encrypt(b"the data" * 10, [RECIPIENT])
    chance = random.Random(7)
    for _ in range(300):
        place = chance.randrange(len(armour))
        changed = armour[:place] + chance.choice(["", "A", "=", "\n", "ü"]) + armour[place + chance.randrange(40) :]
        try:
            assert decrypt(changed, IDENTITY) == b"the data" * 10
        except InputError as error:
            assert error.hint or isinstance(error, NoMatchError)


def test_a_file_encrypted_with_a_passphrase_is_no_secret_of_the_site() -> None:
    header = base64.b64encode(b"age-encryption.org/v1\n-> scrypt c2FsdA 18\nS0VZ\n--- TUFD\n").decode()
    armour = f"-----BEGIN AGE ENCRYPTED FILE-----\n{header}\n-----END AGE ENCRYPTED FILE-----"
    with pytest.raises(InputError, match="with a passphrase"):
        decrypt(armour, IDENTITY)


needs_age = pytest.mark.skipif(not shutil.which("age"), reason="the program age is not installed")


@needs_age
def test_age_reads_what_we_write(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    argv = ["age", "-d", "-i", str(tmp_path / "key")]
    done = subprocess.run(argv, input=encrypt(b"data", [RECIPIENT]).encode() + b"\n", capture_output=True, check=True)
    assert done.stdout == b"data"


@needs_age
def test_we_read_what_age_writes(tmp_path: Path) -> None:
    (tmp_path / "recipients.txt").write_text(f"# all\n{RECIPIENT.text}\n{ssh_key('ssh-ed25519')[1]} me\n")
    argv = ["age", "-a", "-R", str(tmp_path / "recipients.txt")]
    armour = subprocess.run(argv, input=b"data", capture_output=True, check=True).stdout.decode()
    assert decrypt(armour, IDENTITY) == b"data"
    assert decrypt(armour, parse_identities(ssh_key("ssh-ed25519")[0], lambda: "")) == b"data"
    assert [stanza.kind for stanza in read_stanzas(armour)] == ["X25519", "ssh-ed25519"]
