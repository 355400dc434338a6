"""The scorer against a server: order, windows, refusals, failures."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import scoring_server
from patience import until
from scoring_server import FAILURE, MAX_BATCH_SIZE, ScoringServer, expected
from trident.errors import ScoringError
from trident.scoring import scorer
from trident.scoring.scorer import ClientScorer
from trident_client import Client, ConnectError, InvalidRequest, NotFound, Prediction, Retry, ServerError, Unavailable

TEXTS = [f"text {number}" for number in range(200)]


@pytest.fixture
def server() -> Iterator[ScoringServer]:
    """A server of the test's own."""
    with scoring_server.running() as running:
        yield running


@pytest.fixture
def client(server: ScoringServer) -> Iterator[Client]:
    """A client of it."""
    with Client(server.url, timeout_s=10, retry=Retry(attempts=3, base_s=0.02)) as connected:
        yield connected


def made(client: Client, service: str = "spam", input_name: str = "text", **options: int) -> ClientScorer:
    return ClientScorer(client, service, input_name, **options)


def labels(text: str | bytes, top_k: int = 1) -> list[Any]:
    return [(label, pytest.approx(score, abs=1e-6)) for label, score in expected(text, top_k)]


def test_answers_come_in_order(client: Client, server: ScoringServer) -> None:
    answers = list(made(client, concurrency=4).score(iter(TEXTS)))
    assert [list(zip(a.labels, a.scores, strict=True)) for a in answers if isinstance(a, Prediction)] == list(
        map(labels, TEXTS)
    )
    assert sorted(server.sizes) == [8, *[MAX_BATCH_SIZE] * 12]


def test_parameters_reach_the_service(client: Client) -> None:
    (answer,) = made(client, top_k=2).score(["hello"])
    assert isinstance(answer, Prediction)
    assert list(zip(answer.labels, answer.scores, strict=True)) == labels("hello", 2)


def test_images_travel_as_bytes(client: Client) -> None:
    answers = made(client, "shapes", "image", top_k=2).score([b"\xff\xd8one", b"\x00two"])
    assert [a.labels for a in answers if isinstance(a, Prediction)] == [
        tuple(label for label, _ in expected(item, 2)) for item in (b"\xff\xd8one", b"\x00two")
    ]


def test_nothing_gives_nothing(client: Client) -> None:
    assert list(made(client).score([])) == []


def test_it_reads_ahead_by_a_window(client: Client) -> None:
    taken = []

    def endless() -> Iterator[str]:
        number = 0
        while True:
            taken.append(number)
            yield f"text {number}"
            number += 1

    answers = made(client, concurrency=2).score(endless())
    for _ in range(5000):
        next(answers)
    answers.close()
    assert len(taken) <= 5000 + MAX_BATCH_SIZE * (scorer.AHEAD * 2 + 2)


def test_an_interrupt_leaves_no_request_under_way(client: Client, server: ScoringServer) -> None:
    def texts() -> Iterator[str]:
        yield from TEXTS[: 2 * MAX_BATCH_SIZE]
        until(lambda: len(server.sizes) == 2, "the server was not asked")
        raise KeyboardInterrupt

    scoring = made(client, concurrency=2)
    server.delay_s = 60
    before = threading.enumerate()
    with pytest.raises(KeyboardInterrupt):
        list(scoring.score(texts()))
    asking = [thread for thread in threading.enumerate() if thread.name.startswith("infer") and thread not in before]
    assert len(asking) == 2
    client.close()
    for thread in asking:
        thread.join(5)  # of the client's ten seconds
        assert not thread.is_alive()


def test_large_items_make_small_requests(
    client: Client, server: ScoringServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scorer, "REQUEST_BYTES", 100)
    assert len(list(made(client).score(["x" * 60] * 6 + ["y" * 200] * 2))) == 8
    assert sorted(server.sizes) == [1, 1, 2, 2, 2]


def test_only_the_refused_item_fails(client: Client, server: ScoringServer) -> None:
    texts = [f"refuse {n}" if n in (3, 4, 40) else f"text {n}" for n in range(50)]
    answers = list(made(client).score(texts))
    assert [n for n, answer in enumerate(answers) if isinstance(answer, InvalidRequest)] == [3, 4, 40]
    assert str(answers[3]) == "one of 1 texts cannot be read"
    assert len(answers) == 50


def failed(answers: list[Any]) -> list[int]:
    """Which items the server failed at; the others were answered."""
    assert all(isinstance(answer, Prediction | ServerError) for answer in answers)
    return [n for n, answer in enumerate(answers) if isinstance(answer, ServerError)]


def test_only_the_item_fails_that_the_server_fails_at(client: Client, server: ScoringServer) -> None:
    texts = [f"fail {n}" if n in (3, 4, 40) else f"text {n}" for n in range(50)]
    answers = list(made(client).score(texts))
    assert (len(answers), failed(answers), str(answers[3])) == (50, [3, 4, 40], FAILURE)


def test_an_item_that_is_a_batch_of_its_own_fails_alone(client: Client, server: ScoringServer) -> None:
    texts = [f"text {n}" for n in range(2 * MAX_BATCH_SIZE)]
    assert failed(list(made(client).score([*texts, "fail"]))) == [len(texts)]


@pytest.mark.parametrize("at", [0, 1, 9])
def test_an_item_fails_alone_where_a_service_takes_one_at_a_time(
    client: Client, server: ScoringServer, at: int
) -> None:
    server.max_batch_size = 1
    texts = [f"text {n}" for n in range(10)]
    texts[at] = "fail"
    assert failed(list(made(client).score(texts))) == [at]
    assert set(server.sizes) == {1}


def test_of_a_single_item_nobody_knows_whose_fault_it_is(client: Client, server: ScoringServer) -> None:
    with pytest.raises(ServerError, match="the server's log has the cause"):
        list(made(client).score(["fail"]))


def test_a_server_that_begins_to_fail_while_a_bad_item_is_looked_for(client: Client, server: ScoringServer) -> None:
    scoring = made(client, concurrency=1)
    server.answers, server.status = 8, 500  # a batch, five refusals, two smaller batches
    answers: list[object] = []
    with pytest.raises(ServerError, match="the queue is full"):
        answers.extend(scoring.score([*TEXTS[:MAX_BATCH_SIZE], "refuse", *TEXTS[:MAX_BATCH_SIZE]]))
    assert len(answers) == MAX_BATCH_SIZE


@pytest.mark.parametrize(("status", "kind"), [(503, Unavailable), (500, ServerError), (404, NotFound)])
def test_a_failure_ends_it_behind_the_last_answer(
    client: Client, server: ScoringServer, status: int, kind: type[Exception]
) -> None:
    scoring = made(client, concurrency=1)
    server.answers, server.status = 3, status
    answers: list[object] = []
    with pytest.raises(kind):
        answers.extend(scoring.score(TEXTS))
    assert len(answers) == 3 * MAX_BATCH_SIZE


def test_a_busy_server_is_asked_again(client: Client, server: ScoringServer) -> None:
    class Recovering(list[int]):
        def append(self, size: int) -> None:
            super().append(size)
            if len(self) == 4:
                server.answers = None

    scoring = made(client, concurrency=1)
    server.sizes = Recovering()
    server.answers = 2  # the third request is refused once or twice
    assert len(list(scoring.score(TEXTS[:64]))) == 64


def test_a_server_that_goes_away(client: Client, server: ScoringServer) -> None:
    scoring = made(client)
    server.shutdown()
    server.server_close()
    with pytest.raises(ConnectError):
        list(scoring.score(TEXTS))


@pytest.mark.parametrize(
    ("service", "input_name", "message"),
    [
        ("shapes", "text", "service 'shapes' takes image and answers label, score; a file of texts needs one that"),
        ("spam", "image", "service 'spam' takes text and answers label, score; a file of images needs one that takes"),
        (
            "records",
            "text",
            "takes record and .* one that takes an input a column .* from Python: Client.infer_records",
        ),
        ("houses", "image", "service 'houses' takes city, rooms and answers value; a file of images needs one that"),
        ("meanings", "text", "service 'meanings' takes text and answers embedding; a file of texts needs one"),
    ],
)
def test_another_kind_of_service_is_refused(client: Client, service: str, input_name: str, message: str) -> None:
    with pytest.raises(ScoringError, match=message):
        made(client, service, input_name)


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_numbers_of_a_tabular_service_may_have_either_precision(datatype: str) -> None:
    inputs = [{"name": "id", "datatype": datatype, "shape": [-1, 1]}]
    assert scorer._columns({"inputs": inputs, "outputs": [{"name": "value"}]}) == {"id": datatype}


def test_a_service_that_is_not_there(client: Client) -> None:
    with pytest.raises(NotFound, match="'nobody' is not found"):
        made(client, "nobody")
