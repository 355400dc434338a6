"""`trident embed`: vectors as lines, as JSON and as a file."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import RunTrident
from trident_client.testing import FakeServer


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A service whose vectors have the text's length in front."""
    with FakeServer() as server:
        server.add("lengths", lambda text: np.array([len(text), 0.1]), max_batch_size=2)
        yield server.url


def test_a_vector_a_line(trident: RunTrident, url: str) -> None:
    result = trident("embed", "lengths", "cat", "kitten", "--url", url)
    assert [json.loads(line) for line in result.stdout.splitlines()] == [[3, 0.1], [6, 0.1]], result.stderr


def test_json_has_the_text_too_and_lines_come_from_stdin(trident: RunTrident, url: str) -> None:
    lines = [f"{'x' * (number % 7)}" for number in range(600)]
    result = trident("embed", "lengths", "-", "--json", "--url", url, input="\n".join(lines) + "\n")
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert answers == [{"text": text, "embedding": [len(text), 0.1]} for text in lines], result.stderr


def test_a_file_has_all_vectors(trident: RunTrident, url: str, tmp_path: Path) -> None:
    line = ("embed", "lengths", "cat", "kitten", "dog", "--output", "out.npy", "--url", url)
    result = trident(*line, cwd=tmp_path)
    assert result.stdout == "wrote out.npy: float32 [3, 2]\n", result.stderr
    found = np.load(tmp_path / "out.npy")
    assert found.dtype == np.float32
    assert found[:, 0].tolist() == [3, 6, 3]
    result = trident(*line, "--json", cwd=tmp_path)
    assert json.loads(result.stdout) == {"output": "out.npy", "shape": [3, 2]}
    assert [path.name for path in tmp_path.iterdir()] == ["out.npy"]


def test_no_answer_in_time_is_a_failure(trident: RunTrident) -> None:
    with FakeServer() as server:
        server.add("lengths", np.ones(2))
        server.delay_s = 5
        result = trident("embed", "lengths", "cat", "--timeout", "0.5", env=os.environ | {"TRIDENT_URL": server.url})
        assert result.returncode == 1
        assert result.stderr == f"error: {server.url} gave no answer within 0.5 s; raise timeout_s\n"


@pytest.mark.parametrize(
    ("output", "message"),
    [("out.txt", "expected a name that ends in .npy"), ("nowhere/out.npy", "no folder nowhere; make it")],
)
def test_a_file_that_cannot_be_written_is_refused(
    trident: RunTrident, url: str, tmp_path: Path, output: str, message: str
) -> None:
    result = trident("embed", "lengths", "cat", "--output", output, "--url", url, cwd=tmp_path)
    assert (result.returncode, message in result.stderr) == (1, True), result.stderr
    assert not list(tmp_path.iterdir())
