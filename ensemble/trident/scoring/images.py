"""Images in a folder or behind a pattern: a file a row."""

import glob
import hashlib
from collections.abc import Iterator
from pathlib import Path

from trident.errors import ScoringError
from trident.scoring.rows import BadRow, Row

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")  # what image services decode
COLUMN = "path"


def is_images(place: str) -> bool:
    """Whether a place is a folder, an image or a pattern, and not a file of rows."""
    path = Path(place)
    return path.is_dir() or (not path.exists() and glob.has_magic(place)) or path.suffix.lower() in SUFFIXES


class ImageSource:
    """Images, sorted by path; positions are numbers of files. See `Source`."""

    def __init__(self, place: str) -> None:
        """Look for images: in a folder and all folders in it, or what matches a pattern with *, ** and ?.

        Raises:
            ScoringError: there are none.
        """
        found = Path(place).rglob("*") if Path(place).is_dir() else map(Path, _matches(place))
        self._paths = sorted(path for path in found if path.suffix.lower() in SUFFIXES and path.is_file())
        if not self._paths:
            raise ScoringError(f"no images in {place}; expected files with {', '.join(SUFFIXES)}")
        self.columns = [COLUMN]
        self.total = len(self._paths)
        self.fingerprint = self._hash()

    def rows(self, position: int, lines: int) -> Iterator[Row | BadRow]:
        """See `Source.rows`."""
        for number, path in enumerate(self._paths[position:], start=position + 1):
            try:
                str(path).encode()
                raw = path.read_bytes()
            except UnicodeEncodeError:
                yield BadRow(number, number, number, f"the path is not UTF-8: {str(path)!a}")
            except OSError as error:
                yield BadRow(number, number, number, f"{path} cannot be read: {error.strerror}")
            else:
                yield Row(number, number, number, raw, {COLUMN: str(path)}, 0)

    def close(self) -> None:
        """See `Source.close`; no file stays open."""

    def _hash(self) -> str:
        digest = hashlib.sha256()
        for path in self._paths:
            status = path.stat()
            digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape"))
        return f"{len(self._paths)} images, {digest.hexdigest()}"


def _matches(place: str) -> list[str]:
    """A name that exists is taken literally, also with brackets in it."""
    return [place] if Path(place).exists() else glob.glob(place, recursive=True)  # noqa: PTH207 - absolute ones, too
