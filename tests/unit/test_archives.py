"""Archives beside Debian's: who says where they are, whose keys count, and what apt is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from hatfleet.common.errors import HatfleetError, InputError, Where
from hatfleet.image.archives import ArchiveFile, ArchivePlace, checked_keyring, locate, sources
from hatfleet.image.platforms.rpi5 import RASPBERRY_PI

#: Public keys of pairs made for this test; nobody has the private ones.
KEYRINGS = Path(__file__).parent / "fixtures" / "keyrings"
OURS = (KEYRINGS / "ours.fingerprint").read_text().strip()
FOREIGN = (KEYRINGS / "foreign.fingerprint").read_text().strip()

ARCHIVE = replace(RASPBERRY_PI, fingerprints=(OURS,))
WHERE = Where(Path("edge.yaml"), 4, "archive")


def place(keyring: Path) -> ArchivePlace:
    return ArchivePlace(ARCHIVE, "http://mirror.example/debian", keyring, WHERE)


def test_the_recipe_says_where_the_archive_is(tmp_path: Path) -> None:
    written = ArchiveFile(uri="http://mirror.example/rpi/", keyring="keys/rpi.pgp")
    found = locate(ARCHIVE, written, WHERE, tmp_path, {})
    assert (found.uri, found.keyring) == ("http://mirror.example/rpi", tmp_path / "keys" / "rpi.pgp")


def test_the_environment_counts_before_the_recipe(tmp_path: Path) -> None:
    written = ArchiveFile(uri="http://mirror.example/rpi", keyring="rpi.pgp")
    environment = {"HATFLEET_RPI_ARCHIVE": "file:/srv/rpi", "HATFLEET_RPI_KEYRING": "/srv/keys.gpg"}
    found = locate(ARCHIVE, written, WHERE, tmp_path, environment)
    assert (found.uri, found.keyring) == ("file:/srv/rpi", Path("/srv/keys.gpg"))
    assert locate(ARCHIVE, None, WHERE, tmp_path, environment) == found


@pytest.mark.parametrize(
    ("environment", "missing"),
    [
        ({}, "address"),
        ({"HATFLEET_RPI_ARCHIVE": "file:/srv/rpi"}, "keyring"),
        ({"HATFLEET_RPI_ARCHIVE": ""}, "address"),
    ],
)
def test_without_a_word_the_error_says_where_an_admin_finds_it(environment: dict[str, str], missing: str) -> None:
    with pytest.raises(InputError, match=f"the {missing} of Raspberry Pi's package archive is not set") as caught:
        locate(ARCHIVE, None, WHERE, Path(), environment)
    assert caught.value.where == WHERE
    assert "raspi.sources" in str(caught.value.hint)


@pytest.mark.parametrize("uri", ["mirror.example", "ftp://mirror.example/x", "http://a b/", "http:///x", "see below"])
def test_what_is_no_address_is_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no address"):
        locate(ARCHIVE, None, WHERE, tmp_path, {"HATFLEET_RPI_ARCHIVE": uri, "HATFLEET_RPI_KEYRING": "k"})
    with pytest.raises(ValidationError):
        ArchiveFile(uri=uri, keyring="k")


def test_the_right_keyring_comes_back_binary() -> None:
    armored = checked_keyring(place(KEYRINGS / "ours.asc"))
    binary = checked_keyring(place(KEYRINGS / "ours.gpg"))
    assert armored == binary == (KEYRINGS / "ours.gpg").read_bytes()
    # An old-format or new-format public key packet (RFC 9580, 4.2), not text.
    assert binary[0] & 0x80


def test_a_foreign_key_is_refused_with_both_fingerprints() -> None:
    with pytest.raises(InputError) as caught:
        checked_keyring(place(KEYRINGS / "foreign.asc"))
    assert FOREIGN in caught.value.message
    assert OURS in caught.value.message
    assert caught.value.where == WHERE


def test_a_foreign_key_beside_the_right_one_is_refused(tmp_path: Path) -> None:
    both = tmp_path / "both.gpg"
    both.write_bytes((KEYRINGS / "ours.gpg").read_bytes() + (KEYRINGS / "foreign.gpg").read_bytes())
    with pytest.raises(InputError, match=FOREIGN):
        checked_keyring(place(both))


def test_the_real_table_refuses_our_test_key() -> None:
    with pytest.raises(InputError, match="CF8A1AF502A2AA2D763BAE7E82B129927FA3303E"):
        checked_keyring(replace(place(KEYRINGS / "ours.asc"), archive=RASPBERRY_PI))


@pytest.mark.parametrize("junk", [b"", b"not a key\n", bytes(64), b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n"])
def test_what_is_no_keyring_is_refused(junk: bytes, tmp_path: Path) -> None:
    (tmp_path / "junk.gpg").write_bytes(junk)
    with pytest.raises(InputError, match=r"is no OpenPGP keyring|holds no OpenPGP key"):
        checked_keyring(place(tmp_path / "junk.gpg"))


def test_a_missing_keyring_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read the keyring .*no such file"):
        checked_keyring(place(tmp_path / "none.gpg"))


def test_apt_reads_one_stanza_that_names_the_keyring() -> None:
    text = sources(place(Path("k")), suite="trixie", arch="arm64", keyring=Path("/build/keys/rpi.gpg"))
    assert text == (
        "Types: deb\nURIs: http://mirror.example/debian\nSuites: trixie\nComponents: main\nArchitectures: arm64\n"
        "Signed-By: /build/keys/rpi.gpg\n"
    )


@pytest.mark.parametrize("keyring", ["keys/rpi.gpg", "/a b/rpi.gpg", "/keys/rpi.asc"])
def test_a_path_that_apt_would_misread_is_refused(keyring: str) -> None:
    with pytest.raises(HatfleetError, match="apt needs an absolute path"):
        sources(place(Path("k")), suite="trixie", arch="arm64", keyring=Path(keyring))
