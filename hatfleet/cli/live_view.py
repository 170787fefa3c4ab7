"""What the live views share: a table on a terminal, lines elsewhere, nothing when a machine reads."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Self

from rich.console import RenderableType
from rich.live import Live

from hatfleet.common.progress import console


class LiveView:
    """A table on standard error that follows something; it disappears at the end.

    Args:
        quiet: Show nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self.shows_lines = not quiet and not console.is_terminal
        self._shows_table = not quiet and console.is_terminal
        self._stack = ExitStack()

    def table(self) -> RenderableType:
        """Return the table as it is now."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        if self._shows_table:
            # The table is made when it is shown, not at every event: with a thousand hosts that is what takes time.
            live = Live(get_renderable=self.table, console=console, transient=True, refresh_per_second=8)
            self._stack.enter_context(live)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
