"""The pure parts of `benchmarks/peers.py`: texts, samples, points, table, and how servers are started."""

import math
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from comparison import texts  # noqa: E402
from comparison.environments import PEERS, versions  # noqa: E402
from comparison.load import Event, Sample, is_complete, post, summarize  # noqa: E402
from comparison.points import Point, evaluate  # noqa: E402
from comparison.results import BATCH, LOADS, MANY, MIXED, TINY_LOADS, Bounds, Results, Row  # noqa: E402
from comparison.rounds import difference  # noqa: E402
from comparison.servers import ACCELERATED, OURS, PEER, ours, peers  # noqa: E402
from comparison.table import markdown, spread  # noqa: E402

MESSAGES = [" ".join(f"w{number}" for number in range(1 + place % 60)) for place in range(600)]


def count(text: str) -> int:
    return len(text.split()) + 2


def sample(rate: float, latency: float = 10.0, failed: int = 0) -> Sample:
    return Sample(rate, latency, 2 * latency, 3 * latency, failed)


def row(name: str, kind: str, rate: float, latency: float = 10.0) -> Row:
    loads = {load.name: [sample(rate, latency)] for load in [*LOADS, *TINY_LOADS]}
    return Row(name, kind, 2, loads, [6.0], [900.0])


def results(*rows: Row) -> Results:
    bounds = Bounds([90.0], [9.0], {"short": [400.0], "mixed": [90.0]}, [400.0], [5.0], [500.0], 0.99)
    return Results(list(rows), bounds, {"fast": 0.989})


def test_short_texts_have_the_mean_and_each_is_there_once() -> None:
    found = texts.short(MESSAGES, count, 200)
    assert len(found.texts) == 200
    assert found.mean == pytest.approx(texts.SHORT_MEAN, abs=0.5)
    assert found.lengths == [count(text) for text in found.texts]
    assert all(found.short)
    assert texts.short(MESSAGES, count, 200) == found


def test_every_other_mixed_text_is_an_email_and_45_percent_reach_the_limit() -> None:
    found = texts.mixed(MESSAGES, count)
    assert found.short[:4] == [True, False, True, False]
    assert found.full == pytest.approx(0.45, abs=0.03)
    emails = [length for length, short in zip(found.lengths, found.short, strict=True) if not short]
    assert min(emails) >= 40
    assert all(length < texts.LONGEST for length in found.lengths if length != texts.LONGEST)


def test_a_rate_lies_between_the_last_answers_before_both_times() -> None:
    # Batches of two at 1, 2, 3, 4 s; the window encloses those at 2 and 3 and ends just before the one at 4.
    events = [Event(at, 0.5, number, True) for at in (1.0, 2.0, 3.0, 4.0) for number in (0, 1)]
    found = summarize(events, 1.1, 3.9, [True, False])
    assert found.rate == pytest.approx(2.0)
    assert (found.p50_ms, found.short_p95_ms, found.failed) == (500.0, 500.0, 0)


def test_only_short_texts_have_no_percentile_of_their_own_and_failures_are_counted() -> None:
    events = [Event(1.0, 0.1, 0, True), Event(1.5, 0.1, 0, False)]
    found = summarize(events, 0.0, 2.0, [True], "HTTP/1.1 500")
    assert math.isnan(found.short_p95_ms)
    assert (found.failed, found.failure, found.rate) == (1, "HTTP/1.1 500", 1.0)
    assert summarize([], 0.0, 1.0, [True]).failure == "no answer in time"


def test_requests_and_lengths_of_answers() -> None:
    assert post("/predict", b"{}", 80).endswith(b"Content-Length: 2\r\n\r\n{}")
    assert not is_complete(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n")
    assert not is_complete(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab")
    assert is_complete(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc")
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    assert not is_complete(chunked)
    assert is_complete(chunked + b"0\r\n\r\n")
    with pytest.raises(ValueError, match="without its length"):
        is_complete(b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n")


def test_points_name_who_was_best_and_judge() -> None:
    found = evaluate(results(row("slow", PEER, 100, 20), row("peer", PEER, 200, 12), row("we", OURS, 320, 10)))
    first = found[0]
    assert first == Point(1, f"{MANY.name}: we / peer", 1.6, "≥ 1.5", True)
    assert [point.reached for point in found if point.number == 3] == [True, True]
    assert [point.reached for point in found if point.number == 6] == [None]
    memory, start = (point for point in found if point.number == 7)
    assert memory.reached  # 900 MB, and 1.1 × 2 × 500 + 250 are allowed
    assert (start.value, start.reached) == (1.2, True)
    assert {point.number for point in found} == set(range(1, 8))


def test_points_without_figures_are_not_measured_rather_than_missed() -> None:
    found = evaluate(results(row("we", OURS, 320)))
    assert found[0].reached is None
    assert [point.reached for point in evaluate(Results([])) if point.number == 5] == [None, None]


def test_accelerated_servers_and_accuracy_are_judged_apart() -> None:
    found = evaluate(results(row("peer", PEER, 100), row("we", OURS, 120), row("fast", ACCELERATED, 310)))
    second = [point for point in found if point.number == 2]
    assert [point.reached for point in second] == [True, True, True]
    assert second[0].what == f"{MANY.name}: fast / peer"
    assert not found[0].reached


def test_a_round_with_failed_requests_gives_no_figure() -> None:
    failed = Row("peer", PEER, samples={MIXED.name: [sample(500, failed=3), sample(40)]})
    assert failed.rate(MIXED.name) == 40


def test_the_table_has_a_row_for_everything_and_the_reason_of_what_failed() -> None:
    broken = Row("broken", PEER, failure="EnvironmentFailed: no wheel")
    measured = results(row("we", OURS, 320), broken)
    shown = markdown(measured, evaluate(measured))
    lines = shown.splitlines()
    assert len({line.count("|") for line in lines[:6]}) == 1
    assert "- broken: EnvironmentFailed: no wheel" in lines
    assert BATCH in lines[0]
    assert "| not measured |" in shown
    assert spread([3.0, 1.0, 200.0]) == "3 (1–200)"
    assert spread([math.nan]) == ""


def test_every_peer_has_a_server_and_pins() -> None:
    servers = [*peers(2), *ours("spam", 2)]
    assert len({server.name for server in servers}) == len(servers) == 20
    for server in peers(1):
        assert (PEERS / server.folder / "server.py").is_file()
        assert versions(server.folder)["tensorflow"] == "2.21.0"
    pins = [line for file in PEERS.glob("*/requirements.txt") for line in file.read_text().splitlines()]
    assert all("==" in line or line.startswith("#") for line in pins)


def test_one_text_goes_out_and_its_label_comes_back_in_every_format() -> None:
    for server in peers(1):
        assert b"hello" in server.body(["hello"])
    triton = next(server for server in ours("spam", 2))
    answer = b'{"outputs": [{"name": "score", "data": [0.9]}, {"name": "label", "data": ["ham"]}]}'
    assert triton.answer(answer) == [("ham", 0.9)]
    assert difference(("ham", 0.4), ("spam", 0.55)) == pytest.approx(0.05)
