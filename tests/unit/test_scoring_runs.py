"""Whole runs, interrupted ones too: no row is lost, none is scored twice, none changes its place."""

import contextlib
import csv
import json
import os
import pkgutil
import pty
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scoring_server
from conftest import TRIDENT
from scoring_server import MAX_BATCH_SIZE, ScoringServer, expected
from trident.cli import app
from trident.errors import ScoringError
from trident.scoring import loop
from trident.scoring.job import Job, Summary, score_file
from trident.scoring.journal import Done
from trident.scoring.loop import OnProgress
from trident.scoring.scorer import ClientScorer
from trident_client import Client, ClientError, ConnectError, Unavailable
from typer.testing import CliRunner

ROWS = 3000


@pytest.fixture(scope="module")
def server() -> Iterator[ScoringServer]:
    """One server for the module; a test that changes it restores it."""
    with scoring_server.running() as running:
        yield running


@pytest.fixture
def frail(server: ScoringServer) -> Iterator[ScoringServer]:
    """The same, for tests that make it fail."""
    yield server
    server.answers, server.delay_s, server.version = None, 0.0, "1"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with `rows.csv`: ROWS rows, a few of which are bad in one way or another."""
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "rows.csv").open("wb") as file:
        file.write(b"id,text\n")
        for number in range(ROWS):
            if number % 500 == 7:
                file.write(b"%d,b\xffd\n" % number)
            elif number % 500 == 8:
                file.write(b"%d,refuse this\n" % number)
            else:
                file.write(
                    b'%d,"text\n%d"\n' % (number, number) if number % 100 == 5 else b"%d,text %d\n" % (number, number)
                )
    return tmp_path


def unseen(total: int | None, done: Done) -> OnProgress:
    return lambda position, rows: None


def score(server: ScoringServer, job: Job) -> Summary:
    with Client(server.url, timeout_s=10, retry=None) as client:
        return score_file(client, job, unseen)


def command(
    server: ScoringServer, *arguments: object, limit: str | None = None, **options: Any
) -> "subprocess.CompletedProcess[str]":
    """Run `trident infer`, within a limit of prlimit(1) if there is one."""
    line = [TRIDENT, "infer", *map(str, arguments), "--url", server.url]
    if limit is not None:
        line = ["prlimit", limit, *line]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, **options)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"rows.csv"}


def table(path: Path) -> list[dict[str, Any]]:
    """What a file holds, all values as strings."""
    if path.suffix == ".parquet":
        rows = pq.read_table(path).to_pylist()
    elif path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    else:
        rows = read_table(path)
    return [{**row, "score": round(float(row["score"]), 5)} for row in rows]


def read_table(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


def good(text: str, number: int) -> dict[str, Any]:
    ((label, best),) = expected(text)
    return {"id": str(number), "text": text, "label": label, "score": round(best, 5)}


def everything() -> list[dict[str, Any]]:
    numbers = [number for number in range(ROWS) if number % 500 not in (7, 8)]
    return [good(f"text\n{n}" if n % 100 == 5 else f"text {n}", n) for n in numbers]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_rows_come_out_in_order_and_bad_ones_aside(server: ScoringServer, folder: Path, kind: str) -> None:
    output = folder / f"out.{kind}"
    summary = score(server, Job("spam", "rows.csv", str(output)))
    assert table(output) == everything()
    bad = [json.loads(line) for line in (folder / f"out.{kind}.errors.jsonl").read_text().splitlines()]
    assert (summary.rows, summary.bad_rows, summary.resumed_rows) == (ROWS - 12, 12, 0)
    assert summary.errors == f"{output}.errors.jsonl"
    assert [entry["line"] for entry in bad[:4]] == [
        10,
        11,
        515,
        516,
    ]  # a header, and quoted lines before the second two
    assert bad[0]["reason"] == "not UTF-8: invalid start byte at byte 3"
    assert bad[1]["reason"] == "one of 1 texts cannot be read"
    assert files(folder) == {output.name, f"{output.name}.errors.jsonl"}


def test_tsv_puts_aside_what_it_cannot_hold(server: ScoringServer, folder: Path) -> None:
    summary = score(server, Job("spam", "rows.csv", "out.tsv"))
    assert summary.bad_rows == 12 + ROWS // 100
    assert table(folder / "out.tsv") == [row for row in everything() if "\n" not in row["text"]]


def test_parquet_to_parquet_and_text(server: ScoringServer, folder: Path) -> None:
    score(server, Job("spam", "rows.csv", "a.parquet"))
    again = Job("spam", "a.parquet", "b.parquet", prefix="second_")
    assert score(server, again).bad_rows == 0
    assert pq.read_table("b.parquet").column_names == ["id", "text", "label", "score", "second_label", "second_score"]
    score(server, replace(again, output="c.jsonl"))
    rows = [json.loads(line) for line in Path("c.jsonl").read_text().splitlines()]
    assert [row["second_label"] for row in rows] == [row["label"] for row in everything()]
    assert files(folder) >= {"a.parquet", "b.parquet", "c.jsonl"}
    assert "c.jsonl.errors.jsonl" not in files(folder)


def test_images_of_a_folder(server: ScoringServer, folder: Path) -> None:
    (folder / "images").mkdir()
    for number in range(40):
        (folder / "images" / f"{number:02}.png").write_bytes(b"refuse" if number == 20 else b"\x89PNG %d" % number)
    summary = score(server, Job("shapes", "images", "out.csv", top_k=2))
    rows = read_table(folder / "out.csv")
    assert [row["path"] for row in rows] == [f"images/{number:02}.png" for number in range(40) if number != 20]
    assert json.loads(rows[3]["labels"]) == [label for label, _ in expected(b"\x89PNG 3", 2)]
    assert summary.bad_rows == 1


@pytest.fixture
def houses(folder: Path) -> Path:
    """`houses.csv`, .jsonl and .parquet with the same hundred houses; three of them cannot be scored."""
    rows: list[dict[str, Any]] = [{"id": n, "city": f"city {n}", "rooms": 0.5 * n} for n in range(100)]
    rows[40]["rooms"] = None  # which the service refuses
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, folder / "houses.parquet")
    rows[50]["rooms"], rows[60]["city"] = "many", 7  # what a column of Parquet cannot hold
    (folder / "houses.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows[60] = {"id": 60}
    with (folder / "houses.csv").open("w", newline="") as file:
        file.write("id,city,rooms\n")
        csv.writer(file).writerows(row.values() for row in rows)
    return folder


@pytest.mark.parametrize(
    ("kind", "out", "bad"),
    [
        ("csv", "jsonl", {42: "1 of 1 records have no rooms", 52: "'rooms' is 'many'; expected a number, or nothing"}),
        (
            "jsonl",
            "csv",
            {41: "1 of 1 records have no rooms", 61: "record 0: 'city' is int; expected a string or None"},
        ),
        ("parquet", "parquet", {41: "1 of 1 records have no rooms"}),
    ],
)
def test_the_columns_of_a_file_are_the_inputs_of_a_tabular_service(
    server: ScoringServer, houses: Path, kind: str, out: str, bad: dict[int, str]
) -> None:
    summary = score(server, Job("houses", f"houses.{kind}", f"out.{out}", prefix="model_"))
    rows = pq.read_table("out.parquet").to_pylist() if out == "parquet" else None
    rows = rows or (read_table(houses / "out.csv") if out == "csv" else json_lines(houses / "out.jsonl"))
    assert list(rows[0]) == ["id", "city", "rooms", "model_value"]
    refused = {40} if kind == "parquet" else {40, 50, 60}
    expected_values = [(n, f"city {n}", 50.0 * n) for n in range(100) if n not in refused]
    assert [(int(row["id"]), row["city"], float(row["model_value"])) for row in rows] == expected_values
    errors = {entry["line"]: entry["reason"] for entry in json_lines(houses / f"out.{out}.errors.jsonl")}
    assert (len(errors), summary.bad_rows) == (len(refused), len(refused))
    assert errors.items() >= bad.items()


def json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_tabular_service_that_classifies_answers_labels(frail: ScoringServer, houses: Path) -> None:
    job = Job("flats", "houses.csv", "out.csv", top_k=2, concurrency=1)
    frail.answers = 3
    with pytest.raises(Unavailable):
        score(frail, job)
    frail.answers = None
    assert score(frail, replace(job, resume=True)).resumed_rows > 0
    rows = read_table(houses / "out.csv")
    assert [int(row["id"]) for row in rows] == [n for n in range(100) if n not in (40, 50, 60)]
    assert all(json.loads(row["labels"]) == [label for label, _ in expected(row["city"], 2)] for row in rows)


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (
            Job("flats", "rows.csv", "out.csv"),
            "rows.csv has no column 'rooms'; it has id, text, and service 'flats' takes",
        ),
        (Job("houses", "houses.csv", "out.csv", top_k=2), "'houses' answers a value; --top-k and --threshold are for"),
        (Job("records", "houses.csv", "out.csv"), "service 'records' takes record .* Client.infer_records"),
    ],
)
def test_a_table_that_a_service_cannot_take_is_refused_before_anything_is_written(
    server: ScoringServer, houses: Path, job: Job, message: str
) -> None:
    before = files(houses)
    with pytest.raises(ScoringError, match=message):
        score(server, job)
    assert files(houses) == before


def test_a_file_of_bad_rows_alone_needs_little_memory(
    server: ScoringServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "AHEAD_ROWS", 50)
    (folder / "bad.csv").write_text("text,id\na,1\n" + "x\n" * 5000 + "b,2\n" + "x\n" * 10, encoding="utf-8")
    summary = score(server, Job("spam", "bad.csv", "out.csv"))
    assert (summary.rows, summary.bad_rows) == (2, 5010)
    lines = [json.loads(line)["line"] for line in Path("out.csv.errors.jsonl").read_text().splitlines()]
    assert lines == [*range(3, 5003), *range(5004, 5014)]


def test_large_rows_do_not_pile_up(server: ScoringServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "AHEAD_BYTES", 20)
    (folder / "small.csv").write_text("text,id\n" + "some text,1\n" * 50, encoding="utf-8")
    before = len(server.sizes)
    assert score(server, Job("spam", "small.csv", "out.csv")).rows == 50
    assert set(server.sizes[before:]) == {2}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_failing_server_loses_nothing(frail: ScoringServer, folder: Path, kind: str) -> None:
    job = Job("spam", "rows.csv", f"out.{kind}", concurrency=2)
    frail.answers = 60
    with pytest.raises(Unavailable, match=r"rows are done, go on with --resume$"):
        score(frail, job)
    assert files(folder) == {f"out.{kind}{end}" for end in (".part", ".errors.jsonl", ".progress.json")}
    frail.answers = None
    before = sum(frail.sizes)
    summary = score(frail, replace(job, resume=True))
    assert table(folder / f"out.{kind}") == everything()
    assert summary.resumed_rows > 500
    assert sum(frail.sizes) - before <= ROWS - summary.resumed_rows + 16 * 12  # each refused row is looked for
    assert (summary.rows, summary.bad_rows) == (ROWS - 12, 12)


@pytest.fixture
def interrupted(frail: ScoringServer, folder: Path) -> Job:
    """A job that the server did not let come to its end."""
    job = Job("spam", "rows.csv", "out.csv")
    frail.answers = 60
    with pytest.raises(Unavailable):
        score(frail, job)
    frail.answers = None
    return job


def test_a_run_that_was_interrupted_is_not_forgotten(server: ScoringServer, interrupted: Job, folder: Path) -> None:
    with pytest.raises(ScoringError, match=r"go on with it \(--resume\), or start anew \(--overwrite\)"):
        score(server, interrupted)
    assert score(server, replace(interrupted, overwrite=True)).resumed_rows == 0
    assert table(folder / "out.csv") == everything()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top_k": 2}, "--top-k was None when the run was interrupted and is 2 now; go on with what it was, or start"),
        ({"column": "id"}, "--column was 'text' when the run was interrupted and is 'id' now"),
        ({"service": "shapes"}, "service 'shapes' takes image"),
        ({"output_kind": "jsonl"}, "--output-format was 'csv'"),
    ],
)
def test_other_settings_cannot_go_on(
    server: ScoringServer, interrupted: Job, change: dict[str, Any], message: str
) -> None:
    before = Path("out.csv.part").read_bytes()
    with pytest.raises(ScoringError, match=message):
        score(server, replace(interrupted, resume=True, **change))
    assert Path("out.csv.part").read_bytes() == before


def test_another_input_cannot_go_on(server: ScoringServer, interrupted: Job, folder: Path) -> None:
    with (folder / "rows.csv").open("ab") as file:
        file.write(b"1,more\n")
    with pytest.raises(ScoringError, match=r"the input was .* when the run was interrupted and is .* now"):
        score(server, replace(interrupted, resume=True))


def test_another_version_of_the_service_cannot_go_on(frail: ScoringServer, interrupted: Job) -> None:
    frail.version = "2"
    with pytest.raises(ScoringError, match="the service's version was '1' when the run was interrupted and is '2' now"):
        score(frail, replace(interrupted, resume=True))


def at_request(server: ScoringServer, number: int, step: Callable[[], object]) -> None:
    """Have something done when the server has taken so many requests."""

    class Sizes(list[int]):
        def append(self, size: int) -> None:
            super().append(size)
            if len(self) == number:
                step()

    server.sizes = Sizes()


@pytest.mark.parametrize("every_s", [0.01, 60.0])
@pytest.mark.parametrize("fails", [False, True])
def test_an_output_never_mixes_two_versions(
    frail: ScoringServer,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    every_s: float,
    fails: bool,
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", every_s)

    def release() -> None:
        frail.version = "2"
        frail.answers = 20 if fails else None

    at_request(frail, 60, release)
    job = Job("spam", "rows.csv", "out.csv", concurrency=2)
    message = (
        r"the version of service 'spam' was 1 when the run began and is 2 now; [\d,]+ rows are done, all by version "
        r"1\. Go back to it \(`trident rollback spam`\) and go on with --resume, or start anew with --overwrite"
    )
    with pytest.raises(ScoringError, match=message):
        score(frail, job)
    assert not (folder / "out.csv").exists()
    with pytest.raises(ScoringError, match="was '1' when the run was interrupted and is '2' now"):
        score(frail, replace(job, resume=True))
    frail.version, frail.answers = "1", None
    assert score(frail, replace(job, resume=True)).resumed_rows <= 60 * MAX_BATCH_SIZE
    assert table(folder / "out.csv") == everything()


def test_a_stream_of_two_versions_is_no_success(
    frail: ScoringServer, folder: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    at_request(frail, 60, lambda: setattr(frail, "version", "2"))
    with pytest.raises(ScoringError, match="is 2 now, so that rows of both may be in what was written; start anew"):
        score(frail, Job("spam", "rows.csv"))


def test_what_was_answered_is_kept_when_the_server_cannot_be_asked_for_its_version(
    frail: ScoringServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(scorer: ClientScorer, timeout_s: float | None = None) -> None:
        raise ConnectError("gone")

    job = Job("spam", "rows.csv", "out.csv", concurrency=2)
    frail.answers = 60
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(ClientScorer, "check_version", gone)
        with pytest.raises(ClientError, match="rows are done, go on with --resume"):
            score(frail, job)
    frail.answers = None
    assert score(frail, replace(job, resume=True)).resumed_rows > 500
    assert table(folder / "out.csv") == everything()


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"about": {}, "done": {"rows": 1, "strange": 2}}'])
def test_a_damaged_journal_cannot_go_on(server: ScoringServer, interrupted: Job, content: str) -> None:
    Path("out.csv.progress.json").write_text(content)
    with pytest.raises(ScoringError, match=r"out.csv.progress.json is no journal \(.*\); start anew with --overwrite"):
        score(server, replace(interrupted, resume=True))


def test_an_output_that_was_cut_cannot_go_on(server: ScoringServer, interrupted: Job) -> None:
    os.truncate("out.csv.part", 10)
    with pytest.raises(ScoringError, match=r"out.csv.part is shorter than the run left it; .* --overwrite"):
        score(server, replace(interrupted, resume=True))


class Stopped(Exception):
    """What ends a run in the middle of a step."""


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("step", ["os.replace", "shutil.rmtree", "pathlib.Path.unlink", "os.fsync"])
def test_the_end_of_a_run_can_be_interrupted_too(
    server: ScoringServer, folder: Path, monkeypatch: pytest.MonkeyPatch, step: str, kind: str
) -> None:
    """Every state between two of the last steps leads to the same end."""
    (folder / "few.csv").write_text("id,text\n" + "1,some text\n" * 5 + "2\n", encoding="utf-8")
    job = Job("spam", "few.csv", f"out.{kind}")
    score(server, job)
    whole = table(folder / f"out.{kind}")
    real, stops = attribute(step), 0
    for allowed in range(40):
        left = [allowed]

        def limited(*arguments: Any, left: list[int] = left, **options: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise Stopped
            return real(*arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(step, limited)
            try:
                score(server, replace(job, overwrite=True))
            except Stopped:
                stops += 1
            else:
                break
        if Path(f"out.{kind}.progress.json").exists() or Path(f"out.{kind}.part").exists():
            score(server, replace(job, resume=True))
        assert table(folder / f"out.{kind}") == whole
        assert files(folder) == {"few.csv", f"out.{kind}", f"out.{kind}.errors.jsonl"}
    assert stops > 0 or (step, kind) == ("shutil.rmtree", "csv")


def attribute(name: str) -> Any:
    """What a dotted name stands for."""
    return pkgutil.resolve_name(name)


def test_what_exists_is_not_replaced(server: ScoringServer, folder: Path) -> None:
    (folder / "out.csv").write_text("precious")
    job = Job("spam", "rows.csv", "out.csv")
    with pytest.raises(ScoringError, match=r"out.csv exists already; .* replace \(--overwrite\)"):
        score(server, job)
    assert (folder / "out.csv").read_text() == "precious"
    score(server, replace(job, overwrite=True))
    assert table(folder / "out.csv") == everything()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": "nowhere.csv"}, "no file nowhere.csv in "),
        ({"input": "rows.txt"}, "no file rows.txt in "),
        ({"input": "odd.xyz"}, r"odd.xyz has another suffix than .csv, .tsv, .jsonl, .parquet; give --format"),
        ({"service": "shapes", "input": "*.bmp"}, "no images in "),
        ({"input": "-"}, "stdin has no name to tell its format; give --format csv, tsv or jsonl"),
        ({"input": "-", "input_kind": "parquet"}, "parquet cannot be read from stdin"),
        ({"input": "-", "input_kind": "csv", "resume": True}, "--resume cannot read stdin again"),
        ({"output": "out.xyz"}, "out.xyz has another suffix than .*; give --output-format"),
        ({"output": "nowhere/out.csv"}, "no folder nowhere; make it"),
        ({"output": "rows.csv", "overwrite": True}, "rows.csv is the input, and rows.csv is written; choose"),
        ({"output": "-", "output_kind": "parquet"}, "Parquet cannot be written to stdout"),
        ({"output": "-", "resume": True}, "--resume needs a file to go on with"),
        ({"resume": True, "overwrite": True}, "give one of them"),
        ({"column": "body"}, "rows.csv has no column 'body'; it has id, text. Use --column."),
        ({"input": "labelled.csv"}, r"labelled.csv: a column 'label' is there already; .* --prefix"),
    ],
)
def test_a_job_that_cannot_be_done_changes_nothing(
    server: ScoringServer, folder: Path, change: dict[str, Any], message: str
) -> None:
    (folder / "odd.xyz").write_text("text\na\n")
    (folder / "labelled.csv").write_text("text,label\na,ham\n")
    before = files(folder)
    with pytest.raises(ScoringError, match=message):
        score(server, replace(Job("spam", "rows.csv", "out.csv"), **change))
    assert files(folder) == before


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_a_killed_run_goes_on_as_if_nothing_had_been(
    frail: ScoringServer, folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    score(frail, Job("spam", "rows.csv", f"whole.{kind}"))
    frail.delay_s = 0.02  # some seconds for all rows
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    line = [TRIDENT, "infer", "spam", "--input", "rows.csv", "--output", f"out.{kind}", "--concurrency", "2"]
    kills = 0
    while True:
        started = subprocess.Popen([*line, "--resume", "--url", frail.url], stdout=subprocess.DEVNULL)
        try:
            started.wait(chance.uniform(1.2, 3.0))
        except subprocess.TimeoutExpired:
            started.send_signal(signal.SIGKILL)
            kills += started.wait() == -signal.SIGKILL
        else:
            break
        assert kills < 60, f"seed {seed}"
    assert kills > 0, f"seed {seed}"
    assert started.returncode == 1, f"seed {seed}"  # there are bad rows
    for end in (".errors.jsonl", "" if kind != "parquet" else ".errors.jsonl"):
        assert Path(f"out.{kind}{end}").read_bytes() == Path(f"whole.{kind}{end}").read_bytes(), f"seed {seed}"
    assert table(folder / f"out.{kind}") == everything(), f"seed {seed}"
    assert files(folder) == {f"{name}.{kind}{end}" for name in ("whole", "out") for end in ("", ".errors.jsonl")}


def test_ctrl_c_can_be_gone_on_from(frail: ScoringServer, folder: Path) -> None:
    frail.delay_s = 0.05
    line = [TRIDENT, "infer", "spam", "--input", "rows.csv", "--output", "out.csv", "--url", frail.url]
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(line, **streams) as started:
        wait_for(folder / "out.csv.progress.json")
        started.send_signal(signal.SIGINT)
        _, said = started.communicate(timeout=30)
    assert (started.returncode, said.splitlines()[-1]) == (130, "interrupted")
    frail.delay_s = 0.0
    score(frail, Job("spam", "rows.csv", "out.csv", resume=True))
    assert table(folder / "out.csv") == everything()


def wait_for(path: Path) -> None:
    """Return when there is such a file."""
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_run_goes_on_when_a_full_disk_has_room_again(server: ScoringServer, folder: Path, kind: str) -> None:
    """The kernel refuses files that grow beyond a limit as it refuses them on a full disk."""
    output = f"out.{kind}"
    result = command(server, "spam", "--input", "rows.csv", "--output", output, limit="--fsize=8000")
    said = f"error: cannot write {output}: File too large; what is done is kept. Free space or mend the path"
    assert (result.returncode, said in " ".join(result.stderr.split())) == (1, True), result.stderr
    assert not Path(output).exists()
    score(server, Job("spam", "rows.csv", output, resume=True))
    assert table(folder / output) == everything()


def test_two_runs_cannot_write_one_output(frail: ScoringServer, folder: Path) -> None:
    frail.delay_s = 0.5
    line = [TRIDENT, "infer", "spam", "--input", "rows.csv", "--output", "out.csv", "--url", frail.url]
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        try:
            wait_for(folder / "out.csv.progress.json")
            job = Job("spam", "rows.csv", "out.csv")
            for again in (replace(job, resume=True), replace(job, overwrite=True)):
                with pytest.raises(ScoringError, match=r"another run writes out.csv now; wait for it, or end it"):
                    score(frail, again)
        finally:
            first.kill()


def test_the_command_says_what_came_of_it(server: ScoringServer, folder: Path) -> None:
    result = command(server, "spam", "--input", "rows.csv", "--output", "out.parquet", "--column", "text")
    assert result.returncode == 1
    assert result.stdout.startswith("scored 2,988 rows into out.parquet in ")
    assert result.stdout.endswith("; 12 bad rows are in out.parquet.errors.jsonl\n")
    again = command(server, "spam", "--input", "rows.csv", "--output", "out.parquet", "--overwrite", "--json")
    summary = json.loads(again.stdout)
    assert (summary["rows"], summary["bad_rows"], summary["errors"]) == (2988, 12, "out.parquet.errors.jsonl")


def test_the_command_tells_a_pipe_in_plain_lines_if_asked_to(server: ScoringServer, folder: Path) -> None:
    line = ("spam", "--input", "rows.csv", "--output", "out.csv")
    assert command(server, *line).stderr == ""
    told = command(server, *line, "--overwrite", "--progress").stderr
    assert told.replace("\n", "").isprintable(), "no codes that steer a terminal"
    assert re.fullmatch(r"rows.csv: 3,000 rows, [\d,]+/s, 100%, 0:00:00 left", told.splitlines()[-1])


def test_the_command_shows_a_bar_on_a_terminal(server: ScoringServer, folder: Path) -> None:
    terminal, its_end = pty.openpty()
    line = [TRIDENT, "infer", "spam", "--input", "rows.csv", "--output", "out.csv", "--url", server.url]
    environment = os.environ | {"COLUMNS": "100", "TERM": "xterm"}
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=its_end, env=environment):
        os.close(its_end)
        shown = plain(read_all(terminal))
    assert re.search(r"rows.csv .* 3,000 rows +[\d,]+/s +\d:\d\d:\d\d", shown), "rows, rate, time left"


def read_all(terminal: int) -> str:
    """What is written to a terminal until its other end is closed, which is an error here."""
    shown = b""
    with os.fdopen(terminal, "rb", buffering=0) as file, contextlib.suppress(OSError):
        while block := file.read(4096):
            shown += block
    return shown.decode()


def plain(printed: str) -> str:
    """Without what moves a terminal's cursor and colours."""
    return re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", printed)


def test_the_command_reads_stdin_and_writes_stdout(server: ScoringServer, folder: Path) -> None:
    result = command(server, "spam", "--input", "-", "--format", "csv", input="text\nhello\n\xff\nx,y\n")
    ((hello, score_),) = expected("hello")
    assert result.stdout.splitlines()[:2] == ["text,label,score", f"hello,{hello},{score_:g}"]
    assert '{"line": 4, "reason": "2 fields; expected 1"}' in result.stderr
    assert "scored 2 rows in " in result.stderr
    assert result.returncode == 1


def test_the_command_writes_what_it_is_told(server: ScoringServer, folder: Path) -> None:
    line = ("spam", "--input", "rows.csv", "--output-format", "jsonl", "--prefix", "p_", "--top-k", "2", "--json")
    result = command(server, *line)
    first = json.loads(result.stdout.splitlines()[0])
    assert first == {"id": "0", "text": "text 0", "p_labels": [label for label, _ in expected("text 0", 2)]} | {
        "p_scores": pytest.approx([value for _, value in expected("text 0", 2)], abs=1e-5)
    }
    assert json.loads(result.stderr.splitlines()[-1])["rows"] == 2988


@pytest.mark.parametrize("arguments", [("spam",), ("spam", "hello", "--input", "rows.csv")])
def test_texts_or_a_file_are_needed(server: ScoringServer, folder: Path, arguments: tuple[str, ...]) -> None:
    result = command(server, *arguments)
    assert result.returncode == 2
    assert "give either texts or --input FILE" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    "option",
    [
        ("--output", "out.csv"),
        ("--output-format", "csv"),
        ("--format", "csv"),
        ("--column", "text"),
        ("--prefix", "p_"),
        ("--concurrency", "2"),
        ("--resume",),
        ("--overwrite",),
        ("--progress",),
    ],
)
def test_options_of_files_are_refused_with_texts(option: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, ["infer", "spam", "-", *option, "--url", "http://127.0.0.1:9"], input="hello\n")
    assert result.exit_code == 2, result.exception
    said = " ".join(result.output.replace("│", "").split())
    assert f"Invalid value for {option[0]}: it is for files; give --input FILE (- is stdin)" in said


def test_texts_are_classified_as_before(server: ScoringServer, folder: Path) -> None:
    result = command(server, "spam", "hello", "you", "--json", "--top-k", "2")
    assert [json.loads(line)["text"] for line in result.stdout.splitlines()] == ["hello", "you"]
    assert result.returncode == 0


# -- files that are not the run's ------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [".part", ".errors.jsonl", ".progress.json"])
@pytest.mark.parametrize("option", ["resume", "overwrite"])
def test_what_a_run_writes_is_never_its_input(server: ScoringServer, folder: Path, end: str, option: str) -> None:
    place = folder / f"out.csv{end}"
    place.write_text("text\na\n")
    job = Job("spam", place.name, "out.csv", input_kind="csv", **{option: True})  # type: ignore[arg-type]
    with pytest.raises(ScoringError):
        score(server, job)
    assert place.read_text() == "text\na\n"


def test_a_part_that_no_run_left_is_not_removed(server: ScoringServer, folder: Path) -> None:
    (folder / "out.csv.part").write_text("mine")
    with pytest.raises(ScoringError, match=r"out.csv.part is there, and no run left it"):
        score(server, Job("spam", "rows.csv", "out.csv", resume=True))
    assert (folder / "out.csv.part").read_text() == "mine"
    (folder / "out.parquet.part").mkdir()
    (folder / "out.parquet.part" / "thesis.tex").write_text("mine")
    with pytest.raises(ScoringError, match=r"holds thesis.tex, which no run wrote"):
        score(server, Job("spam", "rows.csv", "out.parquet", overwrite=True))
    assert (folder / "out.parquet.part" / "thesis.tex").exists()


def test_a_part_that_goes_away_is_no_success(frail: ScoringServer, folder: Path) -> None:
    frail.delay_s = 0.05
    line = [TRIDENT, "infer", "spam", "--input", "rows.csv", "--output", "out.csv", "--url", frail.url]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        wait_for(folder / "out.csv.part")
        (folder / "out.csv.part").unlink()
        frail.delay_s = 0.0
        _, said = started.communicate(timeout=60)
    assert started.returncode == 1
    assert "out.csv.part is gone" in said
    assert not (folder / "out.csv").exists()


def test_an_input_that_changes_meanwhile_is_no_success(frail: ScoringServer, folder: Path) -> None:
    frail.delay_s = 0.05
    line = [TRIDENT, "infer", "spam", "--input", "rows.csv", "--output", "out.csv", "--url", frail.url]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        wait_for(folder / "out.csv.progress.json")
        with (folder / "rows.csv").open("a") as file:
            file.write("99999,late\n")
        frail.delay_s = 0.0
        _, said = started.communicate(timeout=60)
    assert (started.returncode, "rows.csv changed while it was read" in said) == (1, True), said
    assert not (folder / "out.csv").exists()


def test_an_output_that_appears_meanwhile_is_not_replaced(frail: ScoringServer, folder: Path) -> None:
    frail.delay_s = 0.05
    line = [TRIDENT, "infer", "spam", "--input", "rows.csv", "--output", "out.csv", "--url", frail.url]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        wait_for(folder / "out.csv.progress.json")
        (folder / "out.csv").write_text("mine")
        frail.delay_s = 0.0
        _, said = started.communicate(timeout=60)
    assert (started.returncode, "out.csv appeared while this run went on; move it" in said) == (1, True), said
    assert (folder / "out.csv").read_text() == "mine"
    (folder / "out.csv").rename(folder / "mine.csv")
    score(frail, Job("spam", "rows.csv", "out.csv", resume=True))
    assert table(folder / "out.csv") == everything()


def test_what_a_run_replaces_it_replaces_after_an_interruption_too(frail: ScoringServer, folder: Path) -> None:
    (folder / "out.csv").write_text("old")
    frail.answers = 20
    with pytest.raises(Unavailable):
        score(frail, Job("spam", "rows.csv", "out.csv", overwrite=True))
    assert (folder / "out.csv").read_text() == "old"
    frail.answers = None
    score(frail, Job("spam", "rows.csv", "out.csv", resume=True))
    assert table(folder / "out.csv") == everything()


def test_a_file_larger_than_memory_is_scored(server: ScoringServer, folder: Path) -> None:
    memory, row = 400_000_000, "x" * 100_000
    with (folder / "large.jsonl").open("w") as file:
        for number in range(memory // len(row) + 500):
            file.write(json.dumps({"text": f"{number} {row}"}) + "\n")
    assert (folder / "large.jsonl").stat().st_size > memory

    line = ("spam", "--input", "large.jsonl", "--output", "large.csv", "--json")
    result = command(server, *line, limit=f"--data={memory}")
    assert result.returncode == 0, (result.returncode, result.stderr)
    assert json.loads(result.stdout)["rows"] == memory // len(row) + 500, result.stderr
    (folder / "large.jsonl").unlink()
    (folder / "large.csv").unlink()


def test_only_regular_files_are_written_and_links_are_followed(server: ScoringServer, folder: Path) -> None:
    os.mkfifo(folder / "pipe.csv")
    with pytest.raises(ScoringError, match=r"pipe.csv is no regular file"):
        score(server, Job("spam", "rows.csv", "pipe.csv", overwrite=True))
    (folder / "there").mkdir()
    (folder / "link.csv").symlink_to(folder / "there" / "out.csv")
    score(server, Job("spam", "rows.csv", "link.csv"))
    assert (folder / "link.csv").is_symlink()
    assert table(folder / "there" / "out.csv") == everything()
