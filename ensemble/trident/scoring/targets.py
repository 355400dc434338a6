"""Where a run puts what it has: files with a journal beside them, or stdout and stderr."""

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol

from trident.errors import ScoringError
from trident.scoring.journal import Done, Journal, sync_folder
from trident.scoring.rows import Scored
from trident.scoring.sinks import Sink, StdoutSink, fsync, open_at


class Target(Protocol):
    """Takes scored rows and bad ones, each kind in the order of the input."""

    def refuse(self, values: Any) -> str | None:
        """Why a row's values cannot be written, or None."""

    def write(self, rows: Sequence[Scored]) -> None:
        """Take at least one scored row."""

    def write_bad(self, line: int, reason: str) -> None:
        """Take a bad row."""

    def checkpoint(self, position: int, lines: int, rows: int, bad_rows: int) -> None:
        """Bring everything to the disk, and note that the run can go on from here."""


class Places:
    """The names of a run's files: the output, and what stands beside it meanwhile."""

    def __init__(self, output: Path) -> None:
        """Name them after the output."""
        self.output = output
        self.part = output.with_name(f"{output.name}.part")
        self.errors = output.with_name(f"{output.name}.errors.jsonl")
        self.journal = output.with_name(f"{output.name}.progress.json")

    def check(self, *, resume: bool, overwrite: bool) -> None:
        """Check that a run may write here.

        Raises:
            ScoringError: something is there that must not be lost.
        """
        if not self.output.parent.is_dir():
            raise ScoringError(f"no folder {self.output.parent}; make it, or choose another --output")
        if self.output.exists() and not self.output.is_file():
            raise ScoringError(f"{self.output} is no regular file; choose another --output")
        interrupted = self.journal.exists()
        if self.part.exists() and not interrupted and not overwrite:
            raise ScoringError(f"{self.part} is there, and no run left it; move it, or replace it (--overwrite)")
        if overwrite or (resume and interrupted):
            return
        if interrupted:
            raise ScoringError(
                f"a run that writes {self.output} was interrupted, or is not done yet; "
                "go on with it (--resume), or start anew (--overwrite)"
            )
        if self.output.exists():
            unless = ", and no run of it was interrupted" if resume else ""
            raise ScoringError(
                f"{self.output} exists already{unless}; choose another --output, or replace (--overwrite)"
            )
        if self.errors.exists() and self.errors.stat().st_size:
            raise ScoringError(f"{self.errors} is left of another run; move it, or replace it (--overwrite)")

    def discard_part(self) -> None:
        """Remove what was written but is not complete."""
        if self.part.is_dir():
            strange = sorted(path.name for path in self.part.iterdir() if path.suffix != ".parquet")
            if strange:
                raise ScoringError(f"the folder {self.part} holds {strange[0]}, which no run wrote; move the folder")
            shutil.rmtree(self.part)
        else:
            self.part.unlink(missing_ok=True)


class FileTarget:
    """Files that a run can go on with after it was interrupted, even killed; nobody else writes them meanwhile.

    Attributes:
        done: what is on the disk.
    """

    def __init__(self, places: Places, sink: Sink, journal: Journal, *, resume: bool) -> None:
        """Lock the files and begin, or go on where the journal says.

        Raises:
            ScoringError: another run writes them, or the run is about something else.
        """
        self.refuse = sink.refuse
        self.write = sink.write
        self._places = places
        self._sink = sink
        self._journal = journal
        with ExitStack() as opened:
            lock = opened.enter_context(places.errors.open("ab"))  # is there during all of a run
            self._lock(lock)
            interrupted = journal.load() if resume else None
            self.done = interrupted or Done(replaces=places.output.exists())
            self._was_complete = self.done.complete
            if interrupted is None:
                places.discard_part()
                journal.save(self.done)  # before there is a part, so that nobody takes it for a stranger's
            self._errors = opened.enter_context(open_at(places.errors, self.done.errors))
            opened.callback(sink.close)
            if not self.done.complete:
                sink.open(self.done.output)
                self.checkpoint(self.done.position, self.done.lines, self.done.rows, self.done.bad_rows)
            self._opened = opened.pop_all()

    def __enter__(self) -> "FileTarget":
        """Return the target itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let others write the files."""
        self._opened.close()

    def write_bad(self, line: int, reason: str) -> None:
        """See `Target.write_bad`."""
        self._errors.write(as_error(line, reason).encode())

    def checkpoint(self, position: int, lines: int, rows: int, bad_rows: int) -> None:
        """See `Target.checkpoint`."""
        output, errors = self._sink.sync(), fsync(self._errors)
        self._save(Done(position, lines, rows, bad_rows, output, errors, self.done.replaces))

    def finish(self) -> None:
        """Give the complete output its name; whatever interrupts this, the next run does the rest."""
        if not self.done.complete:
            self._sink.complete()
            self._save(replace(self.done, complete=True))
        if not self._sink.ready.exists() and not (self._was_complete and self._places.output.exists()):
            raise ScoringError(f"{self._sink.ready} is gone, and with it what was scored; start anew with --overwrite")
        if self._sink.ready.exists():
            if self._places.output.exists() and not self.done.replaces:
                raise ScoringError(
                    f"{self._places.output} appeared while this run went on; move it, then go on with --resume"
                )
            os.replace(self._sink.ready, self._places.output)
            sync_folder(self._places.output.parent)
        self._places.discard_part()
        if self.done.bad_rows == 0:
            self._places.errors.unlink(missing_ok=True)
        self._journal.remove()

    def _save(self, done: Done) -> None:
        self._journal.save(done)
        self.done = done

    def _lock(self, file: BinaryIO) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ScoringError(f"another run writes {self._places.output} now; wait for it, or end it") from None


class StreamTarget:
    """Rows to stdout, bad rows to stderr; a run cannot go on. See `Target`."""

    def __init__(self, sink: StdoutSink) -> None:
        """Write with a sink."""
        self.refuse = sink.refuse
        self.write = sink.write
        self._sink = sink

    def write_bad(self, line: int, reason: str) -> None:
        """See `Target.write_bad`."""
        print(as_error(line, reason), end="", file=sys.stderr)

    def checkpoint(self, position: int, lines: int, rows: int, bad_rows: int) -> None:
        """See `Target.checkpoint`."""
        self._sink.flush()


def as_error(line: int, reason: str) -> str:
    """A line of the file of errors."""
    return json.dumps({"line": line, "reason": reason}, ensure_ascii=False) + "\n"
