"""The way of the rows: from the source through the scorer to the target, in order."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

from trident_client import ClientError, InferenceError

from trident.scoring.journal import Done
from trident.scoring.rows import BadRow, Item, Row, Scored, Source
from trident.scoring.scorer import Outcome, Scorer
from trident.scoring.targets import Target

AHEAD_ROWS = 100_000  # read and not yet written, at most: more than a scorer has under way
AHEAD_BYTES = 2**26
WRITTEN_AT_ONCE = 1024  # rows, or
WRITTEN_AT_ONCE_BYTES = 2**22
SHOWN_EVERY_S = 0.1
# An interruption costs a second's work or a hundredth of all, and there are not more than some hundred checkpoints.
CHECKPOINT_EVERY_S = 1.0
CHECKPOINT_SHARE = 0.01
LAST_LOOK_S = 1.0  # at the version of a service whose server fails

OnProgress = Callable[[int, int], None]  # the input's position, and rows done since the beginning


class Loop:
    """One run over an input."""

    def __init__(self, source: Source, scorer: Scorer, target: Target, done: Done, on_progress: OnProgress) -> None:
        """Prepare to go on behind what is done."""
        self._scorer = scorer
        self._target = target
        self._on_progress = on_progress
        self._source = source.rows(done.position, done.lines)
        self._exhausted = False
        self._ahead: deque[Row | BadRow] = deque()  # read, in order; what leads it is not yet settled
        self._ahead_bytes = 0
        self._scored: list[Scored] = []
        self._scored_bytes = 0
        self._position, self._lines = done.position, done.lines
        self.rows, self.bad_rows = done.rows, done.bad_rows
        self._began = self._saved = self._shown = time.monotonic()

    def run(self) -> None:
        """Score everything; if the server fails, what it answered before is kept.

        Raises:
            ClientError: the server fails or is gone.
            VersionChanged: another version is released; what was answered since the last checkpoint is not kept.
        """
        try:
            while not self._exhausted:
                with closing(self._scorer.score(self._items())) as answers:
                    for answer in answers:
                        self._settle(answer)
                self._settle_bad()
            self._checkpoint()
        except ClientError:
            with suppress(ClientError):  # who is gone cannot be asked
                self._scorer.check_version(LAST_LOOK_S)
            self._save()
            raise
        self._on_progress(self._position, self.rows + self.bad_rows)

    def _items(self) -> Iterator[Item]:
        """Items for the scorer, until the input ends or too much waits for answers.

        A scorer waits until it has a full request. Where bad rows or large ones pile up meanwhile, this ends,
        so that it sends what it has.
        """
        for row in self._source:
            if isinstance(row, BadRow):
                self._ahead.append(row)
                if len(self._ahead) == 1:  # nothing is under way
                    self._settle_bad()
            elif reason := self._target.refuse(row.values):
                self._ahead.append(BadRow(row.line, row.end, row.lines, reason))
            else:
                self._ahead.append(row._replace(item=""))  # an image need not wait here
                self._ahead_bytes += row.size_bytes
                yield row.item
            if len(self._ahead) >= AHEAD_ROWS or self._ahead_bytes >= AHEAD_BYTES:
                return
        self._exhausted = True

    def _settle(self, answer: Outcome) -> None:
        """Take the answer to the first row that waits for one."""
        self._settle_bad()
        row = self._ahead.popleft()
        if isinstance(row, BadRow):
            raise RuntimeError("the scorer answers more than it was asked")
        self._ahead_bytes -= row.size_bytes
        if isinstance(answer, InferenceError):
            self._refuse(row.line, str(answer))
        else:
            self._scored.append(Scored(row.values, answer))
            self._scored_bytes += row.size_bytes
            self.rows += 1
        self._reached(row)

    def _settle_bad(self) -> None:
        """Put aside the bad rows that lead."""
        while self._ahead and isinstance(bad := self._ahead[0], BadRow):
            self._ahead.popleft()
            self._refuse(bad.line, bad.reason)
            self._reached(bad)

    def _refuse(self, line: int, reason: str) -> None:
        self._target.write_bad(line, reason)
        self.bad_rows += 1

    def _reached(self, row: Row | BadRow) -> None:
        self._position, self._lines = row.end, row.lines
        if len(self._scored) >= WRITTEN_AT_ONCE or self._scored_bytes >= WRITTEN_AT_ONCE_BYTES:
            self._write()
        now = time.monotonic()
        if now - self._shown >= SHOWN_EVERY_S:
            self._on_progress(self._position, self.rows + self.bad_rows)
            self._shown = now
        if now - self._saved >= max(CHECKPOINT_EVERY_S, CHECKPOINT_SHARE * (now - self._began)):
            self._checkpoint()

    def _write(self) -> None:
        if self._scored:
            self._target.write(self._scored)
            self._scored, self._scored_bytes = [], 0

    def _checkpoint(self) -> None:
        """Save what was answered, once it is known to be of one version."""
        self._scorer.check_version()
        self._save()

    def _save(self) -> None:
        self._write()
        self._target.checkpoint(self._position, self._lines, self.rows, self.bad_rows)
        self._saved = time.monotonic()
