"""Progress bars on stderr, so that stdout stays for data."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_EVERY_S = 5.0
SHORTEST_S = 1e-3  # of a time that something is divided by


class Update(Protocol):
    """Tells a bar how far the work is."""

    def __call__(self, done: int, total: int | None = None) -> None:
        """Set the units done, and how many there are in all if that has changed."""


def note(description: str) -> None:
    """Say on stderr what begins now."""
    print(f"{description} ...", file=sys.stderr, flush=True)


@contextmanager
def bar(description: str, total: int) -> Iterator[Update]:
    """Show a bar until the block ends; a line where stderr is no terminal.

    Args:
        description: what is being done.
        total: units in all.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    hidden = not console.is_terminal
    if hidden:
        note(description)
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task(description, total=total)

        def update(done: int, total: int | None = None) -> None:
            progress.update(task, completed=done, total=total)

        yield update


@contextmanager
def row_bar(
    description: str, total: int | None, position: int, rows: int, wanted: bool
) -> Iterator[Callable[[int, int], None]]:
    """Show a bar with rows, rate and time left until the block ends; where stderr is no terminal nothing, or lines.

    Args:
        description: what is read.
        total: the last position; None if nobody knows.
        position: where it begins.
        rows: that are done already.
        wanted: where stderr is no terminal, write a line every few seconds.

    Yields:
        A function that takes the position and the rows that are done.
    """
    console = Console(stderr=True)
    if wanted and not console.is_terminal:
        lines = _RowLines(description, total, position, rows)
        yield lines.update
        lines.end()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rows]:,} rows"))
    rate = TextColumn("{task.fields[rate]:,.0f}/s")
    began, before, hidden = time.monotonic(), rows, not console.is_terminal
    with Progress(*columns, rate, TimeRemainingColumn(), console=console, disable=hidden) as progress:
        task = progress.add_task(description, total=total, completed=position, rows=rows, rate=0.0)

        def update(position: int, rows: int) -> None:
            elapsed_s = max(time.monotonic() - began, SHORTEST_S)
            progress.update(task, completed=position, rows=rows, rate=(rows - before) / elapsed_s)

        yield update


class _RowLines:
    """How far rows are, a line every few seconds, for a file or a pipe."""

    def __init__(self, description: str, total: int | None, position: int, rows: int) -> None:
        self._description = description
        self._total = total
        self._first = self._position = position
        self._before = self._rows = rows
        self._began = time.monotonic()
        self._next = self._began  # when the next line is due
        self._is_shown = False

    def update(self, position: int, rows: int) -> None:
        """See `row_bar`."""
        self._position, self._rows, self._is_shown = position, rows, False
        if time.monotonic() >= self._next:
            self._show()

    def end(self) -> None:
        """Show what came after the last line."""
        if not self._is_shown:
            self._show()

    def _show(self) -> None:
        now = time.monotonic()
        elapsed_s = max(now - self._began, SHORTEST_S)
        parts = [f"{self._rows:,} rows", f"{(self._rows - self._before) / elapsed_s:,.0f}/s"]
        if self._total:
            parts.append(f"{self._position / self._total:.0%}")
        if self._total is not None and self._position > self._first:
            left_s = elapsed_s * (self._total - self._position) / (self._position - self._first)
            parts.append(f"{timedelta(seconds=round(left_s))} left")
        print(f"{self._description}: {', '.join(parts)}", file=sys.stderr, flush=True)
        self._next, self._is_shown = now + LINE_EVERY_S, True
