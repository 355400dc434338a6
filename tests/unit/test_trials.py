"""What puts a candidate out: another engine than was asked for, other answers than the untuned service gives."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from trident.candidates import Candidate
from trident.errors import ServerStartError
from trident.service import Service, load_service
from trident.trials import Trials
from trident.tuning import Goal, Refused
from trident_client import Prediction
from trident_client.testing import FakeServer

TEXTS = [f"text {number}" for number in range(100)]


@pytest.fixture
def service(service_folder: Path) -> Service:
    return load_service(service_folder)


@pytest.fixture
def trials(service: Service, tmp_path: Path) -> Trials:
    goal = Goal(latency=False, p99_ms=None, concurrency=4)
    return Trials(service, TEXTS, tmp_path / "texts.json", tmp_path, goal, 1.0, allowed=0.02)


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


def answer(server: FakeServer, differing: int, score: float = 0.9) -> None:
    """Serve `spam`, which answers the first texts otherwise."""
    others = {*TEXTS[:differing]}
    server.add("spam", lambda text: Prediction(("ham" if text in others else "spam",), (score,)))


def test_all_candidates_are_of_one_service_whatever_becomes_of_its_folder(
    trials: Trials, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*args: Any, **more: Any) -> Any:
        raise ServerStartError("no server")

    monkeypatch.setattr("trident.trials.Server", start)
    monkeypatch.setattr("trident.repository.probing.probe", lambda service, pipeline: True)
    trials.prepare()
    (service.folder / "labels.txt").write_text("ham\nscam\n")
    with pytest.raises(Refused, match="no server"):  # it was built
        trials.measure(Candidate.of(service.spec.serving))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            "W1 pb_stub.cc:1] cpu_execution_accelerator 'openvino' cannot serve this model, TensorFlow does: strings",
            "cpu_execution_accelerator 'openvino' cannot serve this model, TensorFlow does: strings",
        ),
        ("openvino's PRECISION is bf16 and this CPU (old) has none, so it computes in f32", "this CPU .old. has none"),
    ],
)
def test_what_is_served_by_something_else_is_out(trials: Trials, tmp_path: Path, line: str, reason: str) -> None:
    server: Any = SimpleNamespace(log=tmp_path / "log")
    server.log.write_text("I1 all is well\n")
    trials._check_log(server)
    server.log.write_text(f"I1 all is well\n{line}\nI1 more\n")
    with pytest.raises(Refused, match=reason):
        trials._check_log(server)


def test_answers_are_compared_once_for_each_way_to_compute(trials: Trials, service: Service, fake: FakeServer) -> None:
    start = Candidate.of(service.spec.serving)
    answer(fake, differing=0)
    trials._check_answers(fake.url, start)
    asked = len(fake.requests)
    assert asked > 0
    trials._check_answers(fake.url, replace(start, model_instances=2))
    assert len(fake.requests) == asked
    answer(fake, differing=1)
    with pytest.raises(Refused, match=r"1.00% of 100 texts get another answer; expected at most 0.00%"):
        trials._check_answers(fake.url, replace(start, accelerator="xla"))
    bf16 = replace(start, accelerator="openvino", precision="bf16")
    trials._check_answers(fake.url, bf16)
    assert trials.differing == {
        start: 0.0,
        replace(start, model_instances=2): 0.0,
        replace(start, accelerator="xla"): 0.01,
        bf16: 0.01,
    }
    answer(fake, differing=3)
    with pytest.raises(Refused, match=r"3.00% of 100 texts get another answer; expected at most 2.00%"):
        trials._check_answers(fake.url, replace(start, precision="bf16"))


def test_scores_may_move_further_in_bf16(trials: Trials, service: Service, fake: FakeServer) -> None:
    start = Candidate.of(service.spec.serving)
    answer(fake, differing=0)
    trials._check_answers(fake.url, start)
    answer(fake, differing=0, score=0.93)
    trials._check_answers(fake.url, replace(start, precision="bf16"))
    with pytest.raises(Refused, match=r"100\.00% of 100 texts"):
        trials._check_answers(fake.url, replace(start, accelerator="openvino"))
