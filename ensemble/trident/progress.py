"""Progress bars on stderr, so that stdout stays for data."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


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
    """Show a bar with rows, rate and time left until the block ends; nothing where stderr is no terminal.

    Args:
        description: what is read.
        total: the last position; None if nobody knows.
        position: where it begins.
        rows: that are done already.
        wanted: show it where stderr is no terminal, too.

    Yields:
        A function that takes the position and the rows that are done.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rows]:,} rows"))
    rate = TextColumn("{task.fields[rate]:,.0f}/s")
    console = Console(stderr=True, force_terminal=True if wanted else None)
    hidden = not console.is_terminal
    began, before = time.monotonic(), rows
    with Progress(*columns, rate, TimeRemainingColumn(), console=console, disable=hidden) as progress:
        task = progress.add_task(description, total=total, completed=position, rows=rows, rate=0.0)

        def update(position: int, rows: int) -> None:
            elapsed_s = max(time.monotonic() - began, 1e-3)
            progress.update(task, completed=position, rows=rows, rate=(rows - before) / elapsed_s)

        yield update
