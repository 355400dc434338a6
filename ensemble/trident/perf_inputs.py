"""What perf_analyzer sends: a user's texts as it reads them, or a file in its own form."""

import json
from collections.abc import Callable
from contextlib import closing
from itertools import islice
from pathlib import Path

from trident_client import Client

from trident.errors import BenchError
from trident.scoring.rows import Row
from trident.scoring.text_sources import CsvSource, JsonlSource, TextSource, TsvSource

LIMIT = 5000  # texts that are sent, the first ones; then they are sent again
SOURCES: dict[str, Callable[[str, str], TextSource]] = {".csv": CsvSource, ".tsv": TsvSource, ".jsonl": JsonlSource}
TEXT = "text"  # the input of the services that take texts
FORMAT = '{"data": [{"INPUT": [VALUE, ...]}, ...]}'


def read_texts(path: Path, column: str) -> list[str]:
    """The first texts of a file.

    Args:
        path: .csv, .tsv or .jsonl with a column of texts; any other holds a text a line.
        column: of the texts.

    Raises:
        TridentError: the file cannot be read or has no text.
    """
    kind = SOURCES.get(path.suffix.lower())
    texts = _lines(path) if kind is None else _column(kind(str(path), column))
    if not texts:
        raise BenchError(f"{path} has no text; expected one a line, or .csv, .tsv or .jsonl with a column '{column}'")
    return texts


def _lines(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8") as file:
            return list(islice((line for line in map(str.strip, file) if line), LIMIT))
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"{path} cannot be read: {error}; expected a text a line, in UTF-8") from None


def _column(source: TextSource) -> list[str]:
    with closing(source):
        items = (str(row.item) for row in source.rows(0, 0) if isinstance(row, Row))
        return list(islice((text for text in items if text.strip()), LIMIT))


def write_texts(texts: list[str], path: Path) -> None:
    """Write texts as perf_analyzer reads them."""
    path.write_text(json.dumps({"data": [{TEXT: [text]} for text in texts]}), encoding="utf-8")


def check_input_data(path: Path) -> None:
    """See that a file has perf_analyzer's form, whose own errors about it are hard to read.

    Raises:
        BenchError: it has not.
    """
    try:
        data = json.loads(path.read_bytes())["data"]
        usable = isinstance(data, list) and data and all(isinstance(entry, dict | list) for entry in data)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise BenchError(f"--input-data {path} cannot be read ({error}); expected JSON as {FORMAT}") from None
    if not usable:
        raise BenchError(f"--input-data {path} has no requests under 'data'; expected JSON as {FORMAT}")


def check_takes_texts(client: Client, service: str) -> None:
    """See that a service takes texts and nothing else.

    Raises:
        ClientError: the server does not answer, or has no such service.
        BenchError: it takes other things.
    """
    inputs = client.get_model_metadata(service)["inputs"]
    if [(entry["name"], entry["datatype"]) for entry in inputs] != [(TEXT, "BYTES")]:
        found = ", ".join(f"{entry['name']} {entry['datatype']} {entry['shape']}" for entry in inputs)
        raise BenchError(
            f"'{service}' takes {found}, and --texts is for services of texts; use --input-data FILE: {FORMAT}"
        )
