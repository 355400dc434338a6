"""How far the rows of a file are, where stderr is no terminal."""

import pytest
from trident.progress import LINE_EVERY_S, row_bar


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still until its only item is changed."""
    now = [100.0]
    monkeypatch.setattr("trident.progress.time.monotonic", lambda: now[0])
    return now


def test_a_line_comes_every_few_seconds(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with row_bar("rows.csv", 1000, 200, 50, wanted=True) as update:
        for step in range(1, 4 * int(LINE_EVERY_S)):
            clock[0] += 0.5
            update(200 + 20 * step, 50 + 10 * step)
        clock[0] += 0.5
        update(1000, 450)
    assert capsys.readouterr() == (
        "",
        "rows.csv: 60 rows, 20/s, 22%, 0:00:20 left\n"
        "rows.csv: 160 rows, 20/s, 42%, 0:00:14 left\n"
        "rows.csv: 450 rows, 40/s, 100%, 0:00:00 left\n",
    )


def test_where_nobody_knows_the_end_nothing_is_said_of_it(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with row_bar("stdin", None, 0, 0, wanted=True) as update:
        clock[0] += 2
        update(10, 4)
    assert capsys.readouterr().err == "stdin: 4 rows, 2/s\n"


def test_unless_it_is_wanted_nothing_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    with row_bar("rows.csv", 1000, 0, 0, wanted=False) as update:
        update(1000, 10)
    assert capsys.readouterr() == ("", "")
