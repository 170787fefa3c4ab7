"""More words that checks are written with: sentences about many things at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

#: How many of the things that were found a message names.
_NAMED = 8


def agree(found: Mapping[str, str], wanted: Mapping[str, str], what: str) -> None:
    """Assert that values are as wanted, naming every one that is not.

    Raises:
        AssertionError: some are not.
    """
    wrong = [
        f"{key} is {found.get(key, 'not set')!r}, wanted {value!r}"
        for key, value in wanted.items()
        if found.get(key) != value
    ]
    assert not wrong, f"{what}: {'; '.join(wrong)}"


def none_of(found: Iterable[str], what: str) -> None:
    """Assert that nothing was found.

    Raises:
        AssertionError: something was; the message begins with ``what``.
    """
    items = sorted(found)
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    assert not items, f"{what}: {', '.join(items[:_NAMED])}{more}"


def words(text: str) -> Iterator[list[str]]:
    """Yield the words of every line that is not empty."""
    return (line.split() for line in text.splitlines() if line.strip())
