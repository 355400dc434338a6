"""Which models hang: requests wait for them, and none is answered for longer than their limit."""

import pytest
from trident.server.hangs import Hangs

LIMITS_S = {"slow": 10.0}


class Clock:
    """Says what it is told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def metrics(done: int, waiting: int, model: str = "slow", rejected: int = 0) -> str:
    labels = f'model="{model}",version="1"'
    return (
        "# TYPE nv_inference_request_success counter\n"
        f"nv_inference_request_success{{{labels}}} {done}\n"
        f'nv_inference_request_failure{{model="{model}",reason="REJECTED",version="1"}} {rejected}\n'
        f'nv_inference_request_failure{{model="{model}",reason="BACKEND",version="1"}} 0\n'
        f"nv_inference_pending_request_count{{{labels}}} {waiting}\n"
    )


def test_one_that_answers_nothing_while_requests_wait_hangs(clock: Clock) -> None:
    hangs = Hangs(clock)
    assert hangs.find(metrics(5, 1), LIMITS_S) == []
    clock.now = 9.9
    assert hangs.find(metrics(5, 3), LIMITS_S) == []
    clock.now = 10.0
    assert hangs.find(metrics(5, 3), LIMITS_S) == [("slow", "1")]


def test_an_answer_begins_the_time_anew(clock: Clock) -> None:
    hangs = Hangs(clock)
    hangs.find(metrics(5, 1), LIMITS_S)
    clock.now = 9
    hangs.find(metrics(6, 1), LIMITS_S)
    clock.now = 12
    assert hangs.find(metrics(6, 1), LIMITS_S) == []
    clock.now = 19
    assert hangs.find(metrics(6, 1), LIMITS_S) == [("slow", "1")]


def test_a_version_that_is_unloaded_does_not_hang(clock: Clock) -> None:
    hangs = Hangs(clock)
    hangs.find(metrics(5, 1), LIMITS_S)
    clock.now = 10
    assert hangs.find("", LIMITS_S) == []


def test_requests_that_are_refused_while_they_wait_are_no_answers(clock: Clock) -> None:
    hangs = Hangs(clock)
    hangs.find(metrics(5, 1), LIMITS_S)
    clock.now = 10
    assert hangs.find(metrics(5, 0, rejected=1), LIMITS_S) == [("slow", "1")]


def test_one_that_nobody_waits_for_is_idle(clock: Clock) -> None:
    hangs = Hangs(clock)
    hangs.find(metrics(5, 0), LIMITS_S)
    clock.now = 1000
    assert hangs.find(metrics(5, 0), LIMITS_S) == []
    assert hangs.find(metrics(5, 1), LIMITS_S) == []  # the first request after a long peace


def test_one_without_a_limit_is_not_judged(clock: Clock) -> None:
    hangs = Hangs(clock)
    hangs.find(metrics(5, 1, "other"), LIMITS_S)
    clock.now = 1000
    assert hangs.find(metrics(5, 1, "other"), LIMITS_S) == []


def test_one_that_was_replaced_begins_anew(clock: Clock) -> None:
    hangs = Hangs(clock)
    hangs.find(metrics(5, 1), LIMITS_S)
    clock.now = 10
    hangs.forget(("slow", "1"))
    assert hangs.find(metrics(5, 1), LIMITS_S) == []
