"""Rows of words, one column below the other."""

from __future__ import annotations

from collections.abc import Sequence

import click


def echo_columns(rows: Sequence[Sequence[str]]) -> None:
    """Print rows, the first of which names the columns.

    Args:
        rows: All of the same length; each column is as wide as its longest word.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip())
