"""Keeps secrets out of everything that is printed, logged, reported or sent.

Not the first line of defence (settings hold secrets as ``SecretStr``, files are declared ``sensitive``) but the last:
whatever a role, a device or an exception says, in whatever common encoding, passes through here on its way out.
"""

from __future__ import annotations

import atexit
import base64
import io
import json
import shlex
import sys
from collections.abc import Collection, Iterable, Iterator
from enum import Enum
from itertools import takewhile
from typing import Any, TextIO, cast
from urllib.parse import quote, quote_plus

#: What stands in place of a secret. Shorter than any secret, so that it never holds one itself.
MARK = "***"

#: This many characters of the beginning or the end of a secret are covered even where the rest was cut off: error
#: messages are shortened, and pytest puts an ellipsis into the middle.
EDGE_LENGTH = 12

#: Shorter text cannot be told from ordinary words and digits; a secret must have at least this many characters.
MIN_LENGTH = 4


class Redactor:
    """Finds secrets in text and covers them.

    Found are the values themselves, every line of at least ``MIN_LENGTH`` characters of a value of several lines, and
    both as base64 (on its own or inside of longer data), as quoted by a shell, by JSON, by Python and in a URL; and of
    each of these the first and last ``EDGE_LENGTH`` characters and whatever of it follows or precedes them.

    Args:
        secrets: The values; those shorter than ``MIN_LENGTH`` are left alone.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        # Looked up by their first and last characters, so that a text costs the same for one secret and for thousands.
        self._heads: dict[str, list[str]] = {}
        self._tails: dict[str, list[str]] = {}
        self._secrets: set[str] = set()
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """Cover these, too."""
        new = set(secrets) - self._secrets
        self._secrets |= new
        for form in {form for secret in new for part in _parts(secret) for form in _encodings(part)}:
            if len(form) >= MIN_LENGTH:
                self._heads.setdefault(form[:EDGE_LENGTH], []).append(form)
                self._tails.setdefault(form[-EDGE_LENGTH:], []).append(form)
        self._lengths = sorted({len(edge) for edge in self._heads})

    def __bool__(self) -> bool:
        return bool(self._heads)

    def text(self, text: str) -> str:
        """Return the text with every secret in it replaced by ``MARK``."""
        pieces, done = [], 0
        for start, end in _union(self._places(text)):
            pieces += [text[done:start], MARK]
            done = end
        return "".join([*pieces, text[done:]])

    def _places(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield where a form of a secret stands in the text, also where only its beginning or its end does."""
        for length in self._lengths:
            for start in range(len(text) - length + 1):
                end = start + length
                edge = text[start:end]
                for form in self._heads.get(edge, ()):
                    found = text[start : start + _alike(form, text[start : start + len(form)])]
                    # A line break at the end belongs to the text around: a diff keeps its lines.
                    yield start, start + len(found.rstrip("\n"))
                for form in self._tails.get(edge, ()):
                    yield end - _alike(form[::-1], text[max(0, end - len(form)) : end][::-1]), end

    def data(self, value: Any, keep: Collection[str] = ()) -> Any:
        """Return data with the secrets in all its strings covered.

        Args:
            value: Dictionaries, lists and tuples of anything; members of enumerations are ours and stay.
            keep: Keys whose values stay as they are, because programs tell things apart by them.
        """
        if isinstance(value, dict):
            return {key: item if key in keep else self.data(item, keep) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.data(item, keep) for item in value]
        return self.text(value) if isinstance(value, str) and not isinstance(value, Enum) else value


class RedactingStream(io.TextIOBase):
    """A text stream that covers secrets in whole lines before it passes them on."""

    def __init__(self, stream: TextIO, redactor: Redactor) -> None:
        self._stream = stream
        self._redactor = redactor
        self._line = ""

    def writable(self) -> bool:
        """It can be written to."""
        return True

    def fileno(self) -> int:
        """Return the descriptor behind it."""
        return self._stream.fileno()

    def write(self, text: str) -> int:
        """Pass on the lines that are complete; a secret may arrive in pieces."""
        whole, newline, self._line = (self._line + text).rpartition("\n")
        if newline:
            self._stream.write(self._redactor.text(whole) + newline)
            self._stream.flush()
        return len(text)

    def flush(self) -> None:
        """Do nothing: what is not a whole line may be half a secret."""

    def finish(self) -> None:
        """Pass on the last line, which has no end."""
        self._stream.write(self._redactor.text(self._line))
        self._stream.flush()
        self._line = ""


def redact_output(redactor: Redactor) -> RedactingStream:
    """Send whatever this process prints, tracebacks included, to standard error with the secrets covered."""
    stream = RedactingStream(sys.stderr, redactor)
    sys.stdout = sys.stderr = cast("TextIO", stream)
    atexit.register(stream.finish)
    return stream


def _parts(secret: str) -> Iterator[str]:
    """Yield what of a secret must not be seen: the whole, and its lines, which diffs and logs show one by one."""
    yield secret
    yield secret.strip()
    if "\n" in secret:
        yield from (line.strip() for line in secret.splitlines() if len(line.strip()) >= MIN_LENGTH)


def _encodings(text: str) -> Iterator[str]:
    if len(text) < MIN_LENGTH:
        return
    yield text
    yield shlex.quote(text)[1:-1]
    yield text.replace("'", "'\\''")
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield repr(text)[1:-1]
    yield quote(text)
    yield quote(text, safe="")
    yield quote_plus(text)
    yield from _base64_forms(text.encode(errors="surrogatepass"))


def _base64_forms(data: bytes) -> Iterator[str]:
    """Yield what base64 shows of the data, wherever it stands in what is encoded: three bytes give four characters."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + data)
        # The first and last characters also hold bits of what stands before and behind.
        first = -(-before * 8 // 6)
        last = (before + len(data)) * 8 // 6
        for form in (encoded, encoded.translate(bytes.maketrans(b"+/", b"-_"))):
            yield form[first:last].decode()
    yield from base64.encodebytes(data).decode().splitlines()


def _alike(one: str, other: str) -> int:
    """Return how many characters at the beginning are the same."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _union(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Merge spans that overlap: of two secrets that do, no part stays visible."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
