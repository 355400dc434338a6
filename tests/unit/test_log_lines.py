"""Lines of a server's log, taken apart."""

from datetime import datetime, timezone
from typing import Any

import pytest
from trident.log_lines import parsed, whole_lines

NOW = datetime(2025, 3, 2, 12, 0, tzinfo=timezone.utc)
NOTHING = {"time": None, "level": None, "pid": None, "source": None}


def test_a_line_of_tritons() -> None:
    line = "I0302 11:59:58.024500 4711 model_lifecycle.cc:839] \"successfully loaded 'spam'\""
    assert parsed(line, NOW) == {
        "time": "2025-03-02T11:59:58.024500+00:00",
        "level": "INFO",
        "pid": 4711,
        "source": "model_lifecycle.cc:839",
        "message": "successfully loaded 'spam'",
    }


@pytest.mark.parametrize(
    ("letter", "level"), [("E", "ERROR"), ("W", "WARNING"), ("I", "INFO"), ("V", "VERBOSE")], ids=str
)
def test_levels_have_names(letter: str, level: str) -> None:
    assert parsed(f'{letter}0302 11:59:58.024500 1 a.cc:1] "x"', NOW)["level"] == level


@pytest.mark.parametrize(
    ("raw", "message"),
    [(r'"two\nlines and \"quotes\""', 'two\nlines and "quotes"'), ("as it is", "as it is"), ("5", "5"), ("", "")],
    ids=["escaped", "bare", "a number", "empty"],
)
def test_messages_are_as_they_were_written(raw: str, message: str) -> None:
    assert parsed(f"I0302 11:59:58.024500 1 a.cc:1] {raw}", NOW)["message"] == message


@pytest.mark.parametrize(
    ("day", "year"), [("0302", 2025), ("0303", 2025), ("0304", 2024), ("1231", 2024), ("0229", 2024)], ids=str
)
def test_the_year_is_that_of_the_last_twelve_months(day: str, year: int) -> None:
    at = parsed(f'I{day} 11:00:00.000000 1 a.cc:1] "x"', NOW)["time"]
    assert at.startswith(f"{year}-")


def test_at_new_year_a_clock_may_be_ahead() -> None:
    silvester = datetime(2025, 12, 31, 23, 59, 59, tzinfo=timezone.utc)
    assert parsed('I0101 00:00:01.000000 1 a.cc:1] "x"', silvester)["time"].startswith("2026-01-01")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "+------+",
        "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
        "I0000 00:00:1795632486.288487   27385 port.cc:153] oneDNN custom operations are on.",
        'I1399 11:59:58.024500 1 a.cc:1] "no such day"',
    ],
)
def test_other_lines_are_a_message(line: str) -> None:
    assert parsed(line, NOW) == NOTHING | {"message": line}


def test_what_trident_itself_writes() -> None:
    line = "2025-03-02T12:59:59.123+01:00 trident: spam_model: its process 4711 was ended by SIGKILL"
    expected: dict[str, Any] = NOTHING | {"time": "2025-03-02T12:59:59.123+01:00", "source": "trident"}
    assert parsed(line, NOW) == expected | {"message": "spam_model: its process 4711 was ended by SIGKILL"}


def test_lines_come_whole_however_they_are_cut() -> None:
    text = "schön\n\nlast".encode()
    for size in range(1, len(text)):
        blocks = [text[start : start + size] for start in range(0, len(text), size)]
        assert list(whole_lines(blocks)) == ["schön", "", "last"]
