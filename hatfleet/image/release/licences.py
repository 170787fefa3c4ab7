"""Licences of Debian packages, as far as their copyright files say them for machines.

Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/. A best effort: what a file says in prose, or
by a name that SPDX does not know, stays a name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from cyclonedx.spdx import fixup_id, is_expression

#: How the short names of Debian's format are called in SPDX's list, where a rule does not do.
_NAMES = {
    "apache-2": "Apache-2.0",
    "artistic": "Artistic-1.0-Perl",
    "artistic-1": "Artistic-1.0-Perl",
    "boost-1.0": "BSL-1.0",
    "bsd-2-clauses": "BSD-2-Clause",
    "bsd-3-clauses": "BSD-3-Clause",
    "expat": "MIT",
    "mit/x11": "MIT",
    "mpl-2": "MPL-2.0",
    "psf-2": "PSF-2.0",
    "python-2.0": "Python-2.0",
    "zope-2.1": "ZPL-2.1",
}

#: "GPL-2+", "LGPL-2.1", "GFDL-1.3+": family, version, and whether later ones do as well.
_GNU = re.compile(r"(A?GPL|LGPL|GFDL)-(\d)(\.\d)?(\+?)", re.IGNORECASE)


@dataclass(frozen=True)
class Licence:
    """What a package says about its licence."""

    names: tuple[str, ...] = ()
    """The names it uses, sorted."""
    expression: str | None = None
    """All of them as one SPDX expression; None when one of them is none of SPDX's."""


def read_copyright(text: str) -> Licence:
    """Return the licences that a copyright file names; none when it is not in the machine-readable format."""
    lines = text.splitlines()
    if not any(line.lower().startswith("format:") and "copyright-format" in line for line in lines[:5]):
        return Licence()
    names: set[str] = set()
    files = True
    for line in lines:
        key, colon, value = line.partition(":")
        if not line.strip():
            files = False
        elif colon and key.lower() in ("format", "files"):
            files = True
        elif colon and files and key.lower() == "license" and value.strip():
            # Paragraphs without Files repeat the text of a licence, they say about no file that it has it.
            names.add(" ".join(value.split()))
    return combine(names)


def combine(names: Iterable[str]) -> Licence:
    """Return licences that hold side by side, each a name or several joined by "and" and "or"."""
    found = tuple(sorted(set(names)))
    expressions = [spdx_expression(name) for name in found]
    if not found or None in expressions:
        return Licence(found)
    # "A and B" is nothing else than both; with "or" in it, a name keeps its own brackets.
    parts = {part for text in expressions if text for part in ([text] if " OR " in text else text.split(" AND "))}
    joined = " AND ".join(f"({part})" if " OR " in part and len(parts) > 1 else part for part in sorted(parts))
    return Licence(found, joined)


@cache
def spdx_expression(name: str) -> str | None:
    """Return an SPDX expression for a licence as Debian's format writes it, or None.

    A comma changes which of "and" and "or" binds; we leave such names alone rather than get them wrong.
    """
    words = name.split()
    if "," in name or not words:
        return None
    parts = [word.upper() if word.lower() in ("and", "or") else spdx_id(word) for word in words]
    text = " ".join(part or "?" for part in parts)
    return text if None not in parts and is_expression(text) else None


def spdx_id(name: str) -> str | None:
    """Return the SPDX identifier of one licence by its Debian short name, or None."""
    if match := _GNU.fullmatch(name):
        family, major, minor, later = match.groups()
        name = f"{family.upper()}-{major}{minor or '.0'}-{'or-later' if later else 'only'}"
    return fixup_id(_NAMES.get(name.lower(), name))
