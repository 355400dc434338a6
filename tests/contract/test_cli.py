"""The commands that talk to a server, and the exit status of all of them."""

import csv
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import DATA, TRIDENT, RunTrident
from trident.server.lifecycle import Server

SPAM = "WINNER!! You have been selected to receive a £900 prize, call 09061701461 now to claim"
HAM = "Ok, see you at home after the lecture"


@pytest.fixture(params=["http", "grpc"])
def url(request: pytest.FixtureRequest, server: Server) -> str:
    """The server's address for each protocol."""
    return server.http_url if request.param == "http" else server.grpc_url


def test_infer_prints_a_table(trident: RunTrident, url: str) -> None:
    result = trident("infer", "tiny", SPAM, HAM, "--url", url)
    assert result.returncode == 0
    head, spam, ham = result.stdout.splitlines()
    assert head.split() == ["label", "score", "text"]
    assert spam.split()[0] == "spam"
    assert spam.endswith("…")
    assert ham.split()[0] == "ham"
    assert ham.endswith(HAM)
    assert result.stderr == ""


def test_infer_prints_a_json_object_a_text(trident: RunTrident, url: str) -> None:
    result = trident("infer", "tiny", SPAM, "--url", url, "--json", "--top-k", 2)
    answer = json.loads(result.stdout)
    assert answer["text"] == SPAM
    assert [entry["label"] for entry in answer["labels"]] == ["spam", "ham"]
    assert sum(entry["score"] for entry in answer["labels"]) == pytest.approx(1, abs=1e-5)


def test_infer_reads_a_text_a_line_from_stdin(trident: RunTrident, url: str) -> None:
    lines = [SPAM, "", HAM] * 200
    result = trident("infer", "tiny", "-", "--url", url, "--json", input="\n".join(lines) + "\n")
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [answer["text"] for answer in answers] == lines
    assert [answer["labels"][0]["label"] for answer in answers[:3]] == ["spam", "ham", "ham"]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_infer_scores_a_file(trident: RunTrident, url: str, tmp_path: Path, kind: str) -> None:
    texts = [SPAM, HAM, "two\nlines"] * 300
    with (tmp_path / "messages.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "body"], *enumerate(texts), ["no body"]])
    output = tmp_path / f"scored.{kind}"
    line = ("infer", "tiny", "--input", tmp_path / "messages.csv", "--column", "body", "--output", output, "--url", url)
    result = trident(*line, "--progress")
    assert result.returncode == 1
    assert result.stdout.startswith(f"scored 900 rows into {output} in ")
    rows = _csv(output) if kind == "csv" else _parquet(output)
    assert [row["body"] for row in rows] == texts
    assert [row["label"] for row in rows[:2]] == ["spam", "ham"]
    alone = json.loads(trident("infer", "tiny", SPAM, "--url", url, "--json").stdout)["labels"][0]
    assert float(rows[0]["score"]) == pytest.approx(alone["score"], abs=1e-5)
    errors = [json.loads(line) for line in Path(f"{output}.errors.jsonl").read_text().splitlines()]
    assert errors == [{"line": 1202, "reason": "1 fields; expected 2"}]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_run_that_is_killed_goes_on(trident: RunTrident, url: str, tmp_path: Path, kind: str) -> None:
    messages = DATA.read_text(encoding="utf-8").splitlines()[1:]
    texts = [f"{number} {line.partition(chr(9))[2]}" for number, line in enumerate(messages * 3)]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    line = ["infer", "tiny", "--input", "texts.jsonl", "--concurrency", "2", "--url", url]
    whole = trident(*line, "--output", f"whole.{kind}", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    chance = random.Random(seed := random.randrange(2**32))
    resumed = [TRIDENT, *line, "--output", f"out.{kind}", "--resume"]
    journal = tmp_path / f"out.{kind}.progress.json"
    ends = []
    for share in (0, *sorted(chance.uniform(0, 0.8) for _ in range(3))):
        with subprocess.Popen(resumed, cwd=tmp_path, stdout=subprocess.DEVNULL) as running:
            while running.poll() is None and _rows_done(journal) < share * len(texts):
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 0.05))
            running.kill()
        ends.append(running.returncode)
        if not journal.exists():  # it was done before the kill
            break
    assert set(ends) <= {-signal.SIGKILL, 0}, f"seed {seed}"
    assert -signal.SIGKILL in ends, f"seed {seed}"
    if journal.exists():
        assert subprocess.run(resumed, cwd=tmp_path, stdout=subprocess.DEVNULL).returncode == 0, f"seed {seed}"
    expected, found = ((_csv if kind == "csv" else _parquet)(tmp_path / f"{name}.{kind}") for name in ("whole", "out"))
    assert [row["text"] for row in found] == texts, f"seed {seed}"
    assert [row["label"] for row in found] == [row["label"] for row in expected], f"seed {seed}"
    scores = [[float(row["score"]) for row in rows] for rows in (found, expected)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5), f"seed {seed}"


def _rows_done(journal: Path) -> int:
    """As its journal says; -1 if there is none, or none any more."""
    try:
        return int(json.loads(journal.read_text())["done"]["rows"])
    except FileNotFoundError:
        return -1


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _parquet(path: Path) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = pq.read_table(path).to_pylist()
    return rows


def test_the_address_comes_from_the_environment_too(
    trident: RunTrident, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIDENT_URL", server.grpc_url)
    assert trident("infer", "tiny", HAM).returncode == 0


def test_a_line_that_is_not_utf8_is_named(server: Server) -> None:
    command = [TRIDENT, "infer", "tiny", "-", "--url", server.http_url]
    result = subprocess.run(command, input=b"good\nb\xffd\n", capture_output=True, timeout=60)
    assert result.returncode == 1
    assert b"line 2 of stdin is not UTF-8: invalid start byte at byte 1" in result.stderr


def test_a_reader_that_goes_away_ends_it_quietly(server: Server) -> None:
    script = (
        f"yes hello | head -5000 | {TRIDENT} infer tiny - --url {server.http_url} | head -1; exit ${{PIPESTATUS[2]}}"
    )
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=120)
    assert result.stdout.split() == ["label", "score", "text"]
    assert result.stderr == ""


def test_ctrl_c_counts_from_the_beginning(tmp_path: Path) -> None:
    (tmp_path / "rich.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    result = subprocess.run(
        [TRIDENT, "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert (result.returncode, result.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("infer", "nobody", "a"), "error: .*nobody"),
        (("infer", "tiny", "a", "--url", "ftp://x"), r"error: url is 'ftp://x'; expected http://HOST:PORT"),
        (("infer", "tiny", "a", "--url", "http://127.0.0.1:1"), r"error: cannot reach .*trident serve"),
        (("infer", "tiny", "a", "--url", "grpc://127.0.0.1:1"), r"error: cannot reach .*trident serve"),
        (("build", "nowhere"), "error: no service.toml in nowhere"),
        (("train", "nowhere.tsv", "--name", "a"), "error: no file nowhere.tsv"),
        (("train", "nowhere.tsv", "--name", "a/b"), "error: service name 'a/b'"),
    ],
)
def test_a_failure_is_one_line_and_exit_status_1(
    trident: RunTrident, server: Server, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = trident(*arguments, cwd=tmp_path, env=os.environ | {"TRIDENT_URL": server.http_url})
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert re.match(message, line)
    assert result.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [("infer", "tiny"), ("nonsense",), ("infer", "tiny", "a", "--top-k", "0"), ("serve", "--http-port", "x")],
)
def test_wrong_usage_is_exit_status_2(trident: RunTrident, arguments: tuple[str, ...]) -> None:
    result = trident(*arguments)
    assert result.returncode == 2
    assert "Usage" in result.stderr


def test_build_finds_out_whether_padding_changes_a_models_answers(
    trident: RunTrident, tiny_service: Path, models: Path, tmp_path: Path
) -> None:
    service, repository = tmp_path / "tiny", tmp_path / "model_repository"
    shutil.copytree(tiny_service, service)
    built = trident("build", service, "--model-repository", repository, "--json")
    assert (json.loads(built.stdout)["ragged"], built.stderr) == (True, "")
    shutil.rmtree(service / "model.savedmodel")
    shutil.copytree(models / "mean", service / "model.savedmodel")
    shutil.rmtree(repository)
    built = trident("build", service, "--model-repository", repository)
    assert "padding changes this model's answers" in built.stderr
    assert "allow_ragged_batch" not in (repository / "tiny_model" / "config.pbtxt").read_text(encoding="utf-8")
