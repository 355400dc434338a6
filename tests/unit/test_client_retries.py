"""What is tried again, how often, and never beyond the deadline."""

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from trident_client import (
    AnswerLost,
    AsyncClient,
    Client,
    ClientError,
    ConnectError,
    Forbidden,
    InvalidRequest,
    NotFound,
    Prediction,
    RequestTimeout,
    Retry,
    ServerError,
    Unavailable,
)
from trident_client.deadline import Deadline
from trident_client.retries import attempts
from trident_client.testing import FakeServer

QUICK = Retry(attempts=3, base_s=0.001, max_s=0.002)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as running:
        running.add("spam", Prediction(("ham",), (1.0,)))
        yield running


def infer(server: FakeServer, **options: Any) -> str | None:
    with Client(server.url, **options) as client:
        return client.infer("spam", ["a"])[0].label


def infer_async(server: FakeServer, **options: Any) -> str | None:
    async def main() -> str | None:
        async with AsyncClient(server.url, **options) as client:
            return (await client.infer("spam", ["a"]))[0].label

    return asyncio.run(main())


both = pytest.mark.parametrize("ask", [infer, infer_async], ids=["blocking", "async"])


@both
def test_a_server_that_is_busy_is_asked_again(ask: Any, server: FakeServer) -> None:
    server.be_unavailable(times=2)
    assert ask(server, retry=QUICK) == "ham"
    assert len(server.requests) == 3


@both
def test_it_is_asked_as_often_as_said(ask: Any, server: FakeServer) -> None:
    server.be_unavailable(times=100)
    with pytest.raises(Unavailable, match="Exceeds maximum queue size"):
        ask(server, retry=QUICK)
    assert len(server.requests) == 3


@both
def test_without_retries_it_is_asked_once(ask: Any, server: FakeServer) -> None:
    server.be_unavailable()
    with pytest.raises(Unavailable):
        ask(server, retry=None)
    assert len(server.requests) == 1


@both
@pytest.mark.parametrize("error", [InvalidRequest, NotFound, Forbidden, ServerError, ValueError])
def test_other_errors_are_not_worth_it(ask: Any, server: FakeServer, error: type[Exception]) -> None:
    def fail(text: str) -> Prediction:
        raise error("no")

    server.add("spam", fail)
    with pytest.raises(ClientError, match="no"):
        ask(server, retry=QUICK)
    assert len(server.requests) == 1


@both
def test_no_attempt_begins_after_the_deadline(ask: Any, server: FakeServer) -> None:
    server.be_unavailable(times=100)
    with pytest.raises(Unavailable):
        ask(server, retry=Retry(attempts=100, base_s=0.2, max_s=0.2), timeout_s=0.5)
    assert 2 <= len(server.requests) <= 6  # of the hundred


def test_a_sleep_that_ends_late_does_not_hide_the_last_error() -> None:
    asked = 0

    async def ask() -> None:
        nonlocal asked
        asked += 1
        raise ConnectError("nobody is there")

    async def oversleep(seconds: float) -> None:
        await asyncio.sleep(seconds + 0.5)

    with pytest.raises(ConnectError, match="nobody is there"):
        asyncio.run(attempts(ask, Retry(attempts=9, base_s=0.01, max_s=0.01), Deadline(0.5), oversleep))
    assert asked == 1


@both
@pytest.mark.parametrize("lost_answers", [False, True])
def test_an_attempt_may_have_an_end_of_its_own(ask: Any, server: FakeServer, lost_answers: bool) -> None:
    over, hanging = threading.Event(), iter([True])

    def classify(text: str) -> Prediction:
        if next(hanging, False):
            over.wait(30)
        return Prediction(("ham",), (1.0,))

    server.add("spam", classify)
    retry = Retry(attempts=2, base_s=0.001, max_s=0.002, attempt_timeout_s=2, lost_answers=lost_answers)
    try:
        if lost_answers:
            assert ask(server, retry=retry) == "ham"
        else:
            with pytest.raises(AnswerLost, match=r"gave no answer within 2 s; raise attempt_timeout_s"):
                ask(server, retry=retry)
    finally:
        over.set()


@both
def test_a_server_may_say_when_to_come_back(ask: Any, server: FakeServer) -> None:
    server.be_unavailable(retry_after_s=1)
    started = time.monotonic()
    assert ask(server, retry=QUICK) == "ham"
    assert time.monotonic() - started >= 1
    server.be_unavailable(retry_after_s=60)
    with pytest.raises(Unavailable):  # at once: the deadline comes first
        ask(server, retry=QUICK, timeout_s=10)


@pytest.mark.parametrize(
    ("error", "retry", "again"),
    [
        (Unavailable(), Retry(), True),
        (ConnectError(), Retry(), True),
        (AnswerLost(), Retry(), False),
        (AnswerLost(), Retry(lost_answers=True), True),
        (RequestTimeout(), Retry(lost_answers=True), False),
        (ServerError(), Retry(lost_answers=True), False),
        (Unavailable(), Retry(attempts=1), False),
    ],
)
def test_what_is_worth_another_attempt(error: ClientError, retry: Retry, again: bool) -> None:
    assert (retry.pause_s(error, 1) is not None) is again


def test_pauses_grow_to_a_limit_and_are_never_the_same() -> None:
    retry = Retry(attempts=1000, base_s=0.1, max_s=2)
    for attempt, longest_s in ((1, 0.1), (2, 0.2), (4, 0.8), (6, 2), (900, 2)):
        pauses = [retry.pause_s(Unavailable(), attempt) or 0 for _ in range(100)]
        assert longest_s / 2 <= min(pauses) < max(pauses) <= longest_s


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"base_s": 0}, {"base_s": 3.0}, {"base_s": -1.0}])
def test_a_retry_out_of_range_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidRequest, match=next(iter(wrong))):
        Retry(**wrong)
