"""Parts of a batch side by side: all are waited for, whatever one of them does."""

import threading

import pytest
from triton_tensorflow.workers import Workers

AT_MOST_S = 30


@pytest.mark.parametrize("count", [1, 3])
def test_every_part_is_worked_on_once(count: int) -> None:
    done: list[int] = []
    parts = list(range(7))
    assert sorted(Workers(count).finished(done.append, parts)) == parts
    assert sorted(done) == parts


def test_one_worker_keeps_the_order_and_the_thread() -> None:
    threads: list[int] = []
    assert list(Workers(1).finished(lambda part: threads.append(threading.get_ident()), ["a", "b"])) == ["a", "b"]
    assert set(threads) == {threading.get_ident()}


def test_a_part_is_handed_over_while_another_is_worked_on() -> None:
    go_on = threading.Event()

    def work(part: str) -> None:
        if part == "long":
            go_on.wait(AT_MOST_S)

    finished = Workers(2).finished(work, ["long", "short"])
    assert next(finished) == "short"
    go_on.set()
    assert list(finished) == ["long"]


def test_an_error_comes_when_no_part_is_worked_on_any_more() -> None:
    ended: list[str] = []
    failed = threading.Event()

    def work(part: str) -> None:
        if part == "bad":
            failed.set()
            raise RuntimeError("broken")
        assert failed.wait(AT_MOST_S)
        ended.append(part)

    with pytest.raises(RuntimeError, match="broken"):
        list(Workers(2).finished(work, ["bad", "good"]))
    assert ended == ["good"]
