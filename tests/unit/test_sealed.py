from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hatfleet.common.errors import HatfleetError
from hatfleet.fleet.secrets.sealed import new_identity, seal, unseal

IDENTITY, RECIPIENT = new_identity()


@given(st.binary(max_size=5000))
def test_what_is_sealed_comes_out_again(data: bytes) -> None:
    assert unseal(seal(data, RECIPIENT), IDENTITY) == data


def test_the_data_cannot_be_read_on_the_way() -> None:
    assert b"the password" not in seal(b"the password", RECIPIENT)


def test_every_identity_is_another() -> None:
    assert new_identity() != new_identity()


def test_another_worker_cannot_unseal() -> None:
    with pytest.raises(HatfleetError, match="another worker"):
        unseal(seal(b"data", RECIPIENT), new_identity()[0])


@pytest.mark.parametrize("position", [0, 60, -1])
def test_altered_data_is_refused(position: int) -> None:
    data = bytearray(seal(b"data", RECIPIENT))
    data[position] ^= 1
    with pytest.raises(HatfleetError, match="altered"):
        unseal(bytes(data), IDENTITY)


def test_a_private_key_as_recipient_is_refused_and_not_shown() -> None:
    with pytest.raises(HatfleetError) as caught:
        seal(b"data", IDENTITY)
    assert IDENTITY not in str(caught.value)
