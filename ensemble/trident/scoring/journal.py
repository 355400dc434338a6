"""How far a run is: a small JSON file beside the output, replaced as a whole at every checkpoint."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from trident.errors import ScoringError


@dataclass(frozen=True)
class Done:
    """What is on the disk.

    Attributes:
        position: the input's, behind the last row that is done.
        lines: lines of the input before it.
        rows: scored.
        bad_rows: in the file of errors.
        output: the sink's mark.
        errors: bytes of the file of errors.
        replaces: whether the output may replace what had its name when the run began.
        complete: nothing is left to do but to give the output its name.
    """

    position: int = 0
    lines: int = 0
    rows: int = 0
    bad_rows: int = 0
    output: int = 0
    errors: int = 0
    replaces: bool = False
    complete: bool = False


class Journal:
    """The journal of one run."""

    def __init__(self, path: Path, about: Mapping[str, object]) -> None:
        """Keep a journal.

        Args:
            path: its file.
            about: the input and the settings; a run goes on only if they are the same.
        """
        self._path = path
        self._new = path.with_name(f"{path.name}.new")
        self._about = dict(about)

    def save(self, done: Done) -> None:
        """Replace the file; a reader finds the old or the new one, also after a power failure."""
        try:
            with self._new.open("w", encoding="utf-8") as file:
                json.dump({"about": self._about, "done": asdict(done)}, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            os.replace(self._new, self._path)
        except BaseException:
            self._new.unlink(missing_ok=True)
            raise
        sync_folder(self._path.parent)

    def load(self) -> Done | None:
        """What an interrupted run has done; None if there was none.

        Raises:
            ScoringError: it was about another input or other settings, or the file is no journal.
        """
        if not self._path.exists():
            return None
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            about, done = dict(content["about"]), Done(**content["done"])
            if any(not isinstance(value, int) or value < 0 for value in asdict(done).values()):
                raise ValueError(f"done is {content['done']}")
        except (ValueError, TypeError, KeyError) as error:
            raise ScoringError(f"{self._path} is no journal ({error!r}); start anew with --overwrite") from None
        for name, value in self._about.items():
            if about.get(name) != value:
                raise ScoringError(
                    f"{name} was {about.get(name)!r} when the run was interrupted and is {value!r} now; "
                    "go on with what it was, or start anew with --overwrite"
                )
        return done

    def remove(self) -> None:
        """Forget the run."""
        self._new.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Bring names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
