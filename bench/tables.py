"""Tables on standard output, for people or for docs/benchmarks.md."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, words: int, markdown: bool) -> None:
    """Print a table.

    Args:
        headings: Its head.
        rows: What is below.
        words: How many columns, from the left, hold words; all others hold numbers.
        markdown: As Markdown instead of for a terminal.
    """
    if markdown:
        print(f"| {' | '.join(headings)} |")
        print("|" + "---|" * words + "---:|" * (len(headings) - words))
        for row in rows:
            print(f"| {' | '.join(row)} |")
        return
    table = Table(box=None, pad_edge=False)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if number < words else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    # Into a file, as wide as it is.
    Console(highlight=False, width=None if sys.stdout.isatty() else 240).print(table)
