"""Lines of a server's log, taken apart.

Source: triton-inference-server/common r24.10, src/logging.cc: LEVEL, MMDD hh:mm:ss.µs in UTC, process, FILE:LINE], and
the message as a string of JSON.
"""

import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

LEVELS = {"E": "ERROR", "W": "WARNING", "I": "INFO", "V": "VERBOSE"}
TRITON = re.compile(
    r"(?P<level>[EWIV])(?P<month>\d\d)(?P<day>\d\d) (?P<clock>\d\d:\d\d:\d\d\.\d{6}) (?P<pid>\d+) "
    r"(?P<source>\S+:\d+)\] (?P<message>.*)"
)
SUPERVISOR = re.compile(r"(?P<time>\d{4}-\d\d-\d\dT\S+) trident: (?P<message>.*)")  # as `server.supervisor` writes
A_DAY = timedelta(days=1)


def parsed(line: str, now: datetime) -> dict[str, Any]:
    """What a line says.

    Args:
        line: of the log, without its end.
        now: with its zone; Triton writes no year, so its lines are of the last twelve months.

    Returns:
        `time` (ISO 8601 with zone), `level` (ERROR, WARNING, INFO, VERBOSE), `pid`, `source` and `message`; all None
        but the message where the line is of another kind.
    """
    found = TRITON.fullmatch(line)
    at = found and _time(found, now)
    if found and at:
        said = {"level": LEVELS[found["level"]], "pid": int(found["pid"]), "source": found["source"]}
        return {"time": at.isoformat(timespec="microseconds")} | said | {"message": _unescaped(found["message"])}
    nothing = {"time": None, "level": None, "pid": None, "source": None}
    if ours := SUPERVISOR.fullmatch(line):
        return nothing | {"time": ours["time"], "source": "trident", "message": ours["message"]}
    return nothing | {"message": line}


def whole_lines(blocks: Iterable[bytes]) -> Iterator[str]:
    """The lines of a text that comes in blocks; the last one may lack its end."""
    pending = b""
    for block in blocks:
        *lines, pending = (pending + block).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace")
    if pending:
        yield pending.decode("utf-8", "replace")


def _time(found: "re.Match[str]", now: datetime) -> datetime | None:
    """None where there is no such day or time: the line is no line of Triton's."""
    for year in (now.year + 1, now.year, now.year - 1):  # of Triton's clock, which may be a little ahead
        try:
            at = datetime.fromisoformat(f"{year}-{found['month']}-{found['day']}T{found['clock']}")
        except ValueError:
            continue
        at = at.replace(tzinfo=timezone.utc)
        if at <= now + A_DAY:
            return at
    return None


def _unescaped(message: str) -> str:
    try:
        text = json.loads(message)
    except ValueError:
        return message
    return text if isinstance(text, str) else message
