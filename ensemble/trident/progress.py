"""Progress bars on stderr, so that stdout stays for data."""

import sys
from collections.abc import Iterator
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
