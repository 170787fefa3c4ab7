from __future__ import annotations

import base64
import io
import json
import shlex
from collections.abc import Callable
from enum import StrEnum
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hatfleet.common.redact import EDGE_LENGTH, MARK, RedactingStream, Redactor

#: Without the mark's own character: a secret made of asterisks is found in every mark.
LETTERS = st.characters(codec="utf-8", exclude_characters="*")
SECRETS = st.text(LETTERS, min_size=4, max_size=60).filter(lambda text: len(text.strip()) >= 4)
TEXTS = st.text(LETTERS, max_size=40)

SHAPES: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "shell": shlex.quote,
    "json": json.dumps,
    "json as written by pydantic": lambda text: json.dumps(text, ensure_ascii=False),
    "python": repr,
    "url": quote,
    "url component": lambda text: quote(text, safe=""),
    "form": quote_plus,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
}


@pytest.mark.parametrize("shape", SHAPES)
@given(secret=SECRETS, before=TEXTS, after=TEXTS)
def test_a_secret_is_covered_in_every_shape(shape: str, secret: str, before: str, after: str) -> None:
    shaped = SHAPES[shape](secret)
    covered = Redactor([secret]).text(f"{before}{shaped}{after}")
    assert MARK in covered
    assert secret not in covered
    assert shaped.strip("'\"=") not in covered


@given(secret=st.text(LETTERS, min_size=8, max_size=60), before=st.binary(max_size=7), after=st.binary(max_size=7))
def test_a_secret_inside_of_base64_is_covered(secret: str, before: bytes, after: bytes) -> None:
    encoded = base64.b64encode(before + secret.encode() + after).decode()
    covered = Redactor([secret]).text(encoded)
    assert MARK in covered
    assert len(covered.replace(MARK, "")) <= len(encoded) - (len(secret.encode()) * 8 // 6 - 2)


@given(st.lists(SECRETS, max_size=5), TEXTS)
def test_nothing_of_any_secret_is_left(secrets: list[str], text: str) -> None:
    mixed = text.join(["", *secrets, "".join(secrets)])
    covered = Redactor(secrets).text(mixed)
    assert not [secret for secret in secrets if secret in covered]


@given(st.text(max_size=200))
def test_without_secrets_text_stays_as_it_is(text: str) -> None:
    assert Redactor([]).text(text) == text
    assert not Redactor([])


def test_what_is_no_secret_stays() -> None:
    assert Redactor(["hunter22"]).text("a hunter with 22 arrows") == "a hunter with 22 arrows"


def test_two_secrets_that_overlap_are_covered_as_one() -> None:
    assert Redactor(["abcdef", "defghij"]).text("<abcdefghij>") == f"<{MARK}>"


def test_each_line_of_a_secret_is_covered_as_in_a_diff() -> None:
    key = "-----BEGIN KEY-----\nAAAAbbbbCCCC\n  dddd\n}\n-----END KEY-----\n"
    diff = "\n".join(f"+{line}" for line in key.splitlines())
    assert Redactor([key]).text(diff) == f"+{MARK}\n+{MARK}\n+  {MARK}\n+}}\n+{MARK}"


def test_what_was_cut_off_is_covered_up_to_the_cut() -> None:
    secret = "0123456789abcdefghijklmnopqrstuvwxyz"
    redactor = Redactor([secret])
    assert redactor.text(f"wrong: {secret[:20]}") == f"wrong: {MARK}"
    assert redactor.text(f"{secret[-20:]} is wrong") == f"{MARK} is wrong"
    assert redactor.text(f"'{secret[:13]}...{secret[-13:]}'") == f"'{MARK}...{MARK}'"
    assert redactor.text(secret[: EDGE_LENGTH - 1]) == secret[: EDGE_LENGTH - 1]


def test_short_secrets_are_not_looked_for() -> None:
    assert Redactor(["abc", ""]).text("abc") == "abc"


class Colour(StrEnum):
    RED = "rosso"


def test_data_keeps_its_shape_its_keys_and_what_programs_go_by() -> None:
    data = {"host": "rosso", "error": "rosso!", "list": ["a rosso", 7, None, Colour.RED], "in": {"host": "rosso"}}
    assert Redactor(["rosso"]).data(data, keep={"host"}) == {
        "host": "rosso",
        "error": f"{MARK}!",
        "list": [f"a {MARK}", 7, None, Colour.RED],
        "in": {"host": "rosso"},
    }


@given(st.lists(st.integers(0, 30), max_size=6))
def test_a_stream_covers_a_secret_that_comes_in_pieces(cuts: list[int]) -> None:
    out = io.StringIO()
    stream = RedactingStream(out, Redactor(["hunter22"]))
    text = "first\npass hunter22 word\nlast hunter22"
    places = sorted(cuts)
    for start, end in zip([0, *places], [*places, len(text)], strict=True):
        stream.write(text[start:end])
        stream.flush()
    stream.finish()
    assert out.getvalue() == f"first\npass {MARK} word\nlast {MARK}"
