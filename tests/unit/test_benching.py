"""What perf_analyzer is given, and what is said before it is started."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from trident.bench_picture import check_picture, draw_bench
from trident.benching import Load, arguments, bench, check_target, requests_file
from trident.errors import BenchError, ScoringError
from trident.machine import gpus
from trident.perf_analyzer import NoAnswer
from trident.perf_inputs import LIMIT, read_texts
from trident.perf_report import Point

LOAD = Load("spam", "grpc://127.0.0.1:8001", Path("texts.json"), seconds=3.6, timeout_s=5)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("texts.txt", "one\n\n  two \n"),
        ("texts.csv", 'id,text\n1,one\n2,""\n3,two\n'),
        ("texts.tsv", "text\tid\none\t1\ntwo\t2\n"),
        ("texts.JSONL", '{"text": "one"}\n{"no": 1}\n{"text": "two"}\n'),
    ],
)
def test_texts_are_read_as_their_file_has_them(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert read_texts(tmp_path / name, "text") == ["one", "two"]


def test_the_first_texts_of_a_long_file_are_taken(tmp_path: Path) -> None:
    (tmp_path / "texts").write_text("".join(f"{number}\n" for number in range(LIMIT + 10)))
    assert read_texts(tmp_path / "texts", "text") == [str(number) for number in range(LIMIT)]


def test_texts_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "latin").write_bytes(b"\xe4\n")
    (tmp_path / "other.csv").write_text("id\n1\n")
    for name, error in (("empty", "has no text"), ("latin", "UTF-8"), ("missing", "No such file")):
        with pytest.raises(BenchError, match=error):
            read_texts(tmp_path / name, "text")
    with pytest.raises(ScoringError, match="no column 'text'; it has id"):
        read_texts(tmp_path / "other.csv", "text")


def test_requests_have_perf_analyzers_form(tmp_path: Path) -> None:
    (tmp_path / "texts").write_text('a "quoted" text\nänother\n', encoding="utf-8")
    with requests_file(tmp_path / "texts", "text", None) as data:
        assert json.loads(data.read_text()) == {"data": [{"text": ['a "quoted" text']}, {"text": ["änother"]}]}
    assert not data.exists()
    (tmp_path / "own.json").write_text('{"data": [{"image": {"b64": "aGk=", "shape": [1]}}]}')
    with requests_file(None, "text", tmp_path / "own.json") as data:
        assert data == tmp_path / "own.json"


@pytest.mark.parametrize("content", ["", "[]", '{"data": []}', '{"data": [1]}', '{"rows": []}'])
def test_other_input_data_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "own.json").write_text(content)
    with pytest.raises(BenchError, match="--input-data"), requests_file(None, "text", tmp_path / "own.json"):
        pass


def test_either_texts_or_input_data_is_needed(tmp_path: Path) -> None:
    for texts, data in ((None, None), (tmp_path, tmp_path)):
        with pytest.raises(BenchError, match="give either --texts FILE or --input-data FILE"):
            requests_file(texts, "text", data).__enter__()


def test_three_windows_take_the_seconds_that_were_asked_for() -> None:
    given = dict(zip(*[iter(arguments(LOAD, 16))] * 2, strict=True))
    assert (given["-m"], given["-i"], given["-u"]) == ("spam", "grpc", "127.0.0.1:8001")
    assert (given["--concurrency-range"], given["--max-trials"]) == ("16", "3")
    assert int(given["--measurement-interval"]) * 3 * 1.2 == 3600


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/", "HTTP://127.0.0.1:8000"])
def test_a_url_is_taken_as_the_client_takes_it(url: str) -> None:
    given = arguments(replace(LOAD, url=url), 1)
    assert given[2:6] == ["-i", "http", "-u", "127.0.0.1:8000"]


def test_tls_is_left_to_perf_analyzer_itself() -> None:
    with pytest.raises(BenchError, match="--url is https://host:8000; expected http:// or grpc://"):
        check_target("https://host:8000", "spam", 1, of_texts=True)


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("echo 'error: no such model' >&2; echo usage; exit 99", "perf_analyzer: error: no such model"),
        (
            "echo Failed to obtain stable measurement within 3 windows; exit 2",
            "no answer in one of its windows; .*--seconds",
        ),
        ("exit 0", "perf_analyzer: it failed and said nothing"),
        ("sleep 60", "did not end within"),
    ],
)
def test_what_perf_analyzer_complains_about_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, error: str
) -> None:
    program = tmp_path / "perf_analyzer"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(BenchError, match=error):
        bench(Load("spam", LOAD.url, LOAD.data, seconds=0.1, timeout_s=0.5), [1], lambda done: None)


@pytest.mark.parametrize(
    ("rates", "runs"),
    [([100, 105], 2), ([100, 90], 2), ([None, 20, 80, 120, 130], 5), ([None] * 9, 5), ([1, 2, 4, 8, 16, 32], 5)],
)
def test_a_server_is_asked_until_it_gets_no_faster(
    monkeypatch: pytest.MonkeyPatch, rates: list[float | None], runs: int
) -> None:
    """None is a run in which nothing was answered."""
    asked: list[tuple[int, float]] = []

    def measured(load: Load, concurrency: int) -> Point:
        asked.append((concurrency, load.seconds))
        rate = rates[len(asked) - 1] if concurrency == 8 and len(asked) <= runs else 1.0
        if rate is None:
            raise NoAnswer("nothing")
        return Point(concurrency, 1, rate, 1.0, 1.0, 1.0, 0.0, ())

    monkeypatch.setattr("trident.benching._run", measured)
    points = bench(LOAD, [1, 8], lambda done: None)
    assert [point.concurrency for point in points] == [1, 8]
    assert asked == [(8, 2.0)] * runs + [(1, 3.6), (8, 3.6)]


def test_windows_without_an_answer_are_made_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def slow(load: Load, concurrency: int) -> Point:
        asked.append(load.seconds)
        if load.seconds < 10:
            raise NoAnswer("nothing")
        return Point(concurrency, 1, 0.1, 1.0, 1.0, 1.0, 0.0, ())

    monkeypatch.setattr("trident.benching._run", slow)
    (point,) = bench(LOAD, [4], lambda done: None)
    assert (point.throughput, asked[-2:]) == (0.1, [3.6, pytest.approx(10.8)])
    with pytest.raises(NoAnswer):
        bench(replace(LOAD, seconds=1), [4], lambda done: None)


def test_the_picture_is_drawn_where_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = [Point(callers, 10, 100.0 * callers, 1.0, 2.0, 3.0, 0.1, ()) for callers in (1, 8)]
    for suffix, beginning in ((".png", b"\x89PNG"), (".svg", b"<?xml")):
        path = tmp_path / f"a picture{suffix}"
        check_picture(path)
        draw_bench(points, "spam for $1 and $2", path)
        assert path.read_bytes().startswith(beginning)
    for path, error in ((tmp_path / "p.gif", "ends in .png or .svg"), (tmp_path / "no" / "p.png", "no folder")):
        with pytest.raises(BenchError, match=error):
            check_picture(path)
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(BenchError, match=r"pip install '\.\[bench\]'"):
        check_picture(tmp_path / "p.png")


@pytest.mark.parametrize(("told", "expected"), [(None, 2), ("", 0), ("-1", 0), ("1", 1), ("0,1,2", 2)])
def test_gpus_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str | None, expected: int) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if told is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", told)
    assert gpus(tmp_path) == expected
