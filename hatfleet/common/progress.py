"""Progress for people, on standard error, so that standard output stays data.

On a terminal a step shows a spinner with the time it has taken; elsewhere it prints a line when it starts and one
when it ends. Domain code calls :func:`step`; nothing but this module and ``hatfleet.cli`` knows about terminals.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from rich.console import Console

console = Console(stderr=True, highlight=False)


@dataclass
class Step:
    """A running step; ``note`` is shown behind its name when it ends."""

    name: str
    started_s: float = field(default_factory=time.monotonic)
    note: str = ""
    show: Callable[[str], None] = field(default=lambda text: None, repr=False)
    """Changes the text behind the spinner; does nothing where there is none."""

    def update(self, detail: str) -> None:
        """Show what the step is at, while it runs; only on a terminal."""
        self.show(f"{self.name} … {detail}")

    @property
    def seconds(self) -> float:
        """Seconds since the step started."""
        return time.monotonic() - self.started_s


@contextlib.contextmanager
def step(name: str) -> Iterator[Step]:
    """Show ``name`` while the block runs, then how long it took; a failing block is marked as failed."""
    current = Step(name)
    shown: contextlib.AbstractContextManager[object]
    if console.is_terminal:
        status = console.status(f"{name} …")
        current.show = status.update
        shown = status
    else:
        console.print(f"  … {name}", markup=False)
        shown = contextlib.nullcontext()
    try:
        with shown:
            yield current
    except BaseException:
        console.print(f"[red]  ✗ {name}[/red] [dim]{current.seconds:.1f} s[/dim]")
        raise
    note = f" [dim]{current.note}[/dim]" if current.note else ""
    console.print(f"[green]  ✓[/green] {name} [dim]{current.seconds:.1f} s[/dim]{note}")


#: A step shorter than this needs no word about it, seconds.
SLOW_S = 2.0


@contextlib.contextmanager
def slow_step(name: str) -> Iterator[None]:
    """Show ``name`` while the block runs: a spinner on a terminal, elsewhere one line if it takes over SLOW_S."""
    if console.is_terminal:
        with console.status(f"{name} …"):
            yield
        return
    timer = threading.Timer(SLOW_S, say, [f"  … {name}"])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def say(message: str) -> None:
    """Print one line for people on standard error."""
    console.print(message, markup=False)
