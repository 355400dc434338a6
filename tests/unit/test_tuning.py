"""The search on made-up measurements: what it tries, how it decides, when it stops."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from trident.bench_picture import draw_trials, frontier
from trident.candidates import Candidate, Machine, stages
from trident.service import Serving
from trident.tuning import ROUNDS, Figures, Goal, Outcome, Refused, Search, Trial

START = Candidate.of(Serving())
SMALL = Machine(cores=2, gpus=0, bf16=True, openvino=True)
THROUGHPUT = Goal(latency=False, p99_ms=None, concurrency=32)
LATENCY = Goal(latency=True, p99_ms=None, concurrency=32)
TRIAL_S = 10.0


def rate(candidate: Candidate) -> float:
    """Requests a second of a service that likes two instances, OpenVINO and nothing else."""
    speed = 100.0 * {"": 1.0, "openvino": 1.5, "xla": 0.5}[candidate.accelerator]
    return speed * (1.2 if candidate.model_instances == 2 else 1.0)


@dataclass
class Bench:
    """Measures by a formula; each measurement takes ten seconds."""

    formula: Callable[[Candidate], Any] = rate
    noise: list[float] = field(default_factory=list)
    now: float = 0.0
    measured: list[Candidate] = field(default_factory=list)

    def measure(self, candidate: Candidate) -> Figures:
        self.now += TRIAL_S
        self.measured.append(candidate)
        found = self.formula(candidate)
        if isinstance(found, str):
            raise Refused(found)
        if isinstance(found, Figures):
            return found
        factor = self.noise[len(self.measured) - 1] if len(self.measured) <= len(self.noise) else 1.0
        return Figures(found * factor, p99_ms=3200 / found, alone_ms=1000 / found)

    def search(self, goal: Goal = THROUGHPUT, machine: Machine = SMALL, seconds: float = 1e9) -> Outcome:
        shown: list[Trial] = []
        found = Search(
            self.measure, goal, machine, lambda: self.now, seconds, lambda trial, figures: shown.append(trial)
        )
        outcome = found.run(START)
        assert len(shown) == len(self.measured)
        return outcome


def test_each_kind_of_setting_is_tried_on_top_of_the_best_so_far() -> None:
    bench = Bench()
    outcome = bench.search()
    assert outcome.best.candidate.changes(START) == {"accelerator": "openvino", "model_instances": 2}
    assert outcome.gains == pytest.approx([0.8, 0.8])
    assert (outcome.sure, outcome.skipped, outcome.pays(THROUGHPUT)) == (True, [], True)
    tried = [candidate.changes(START) for candidate in bench.measured]
    assert tried[0] == {}
    assert {"accelerator": "openvino", "threads": 1} in tried
    assert {"accelerator": "openvino", "model_instances": 2, "queue_delay_ms": 5.0} in tried
    assert {"model_instances": 2} not in tried
    explored = [trial.candidate for trial in outcome.trials]
    assert len({*explored}) == len(explored)


def test_the_finalists_and_the_untuned_take_turns() -> None:
    bench = Bench()
    outcome = bench.search()
    last = bench.measured[len(outcome.trials) :]
    assert len(last) == ROUNDS * 3
    assert last[:3] == last[3:]
    assert last[0] == START
    assert all(len(trial.rounds) == ROUNDS for trial in outcome.trials if trial.candidate in last)


def test_a_busy_minute_does_not_decide() -> None:
    """The whole exploration is noise; in the rounds all are equal but for what hits every one."""
    bench = Bench(lambda candidate: 100.0, noise=[1.0, 9.0, 0.1, 8.0, 7.0])
    outcome = bench.search()
    assert outcome.gains == pytest.approx([0.0, 0.0])
    assert not outcome.pays(THROUGHPUT)


def test_a_gain_in_one_round_alone_is_no_gain() -> None:
    """The untuned service is held up in the first round, and only there."""
    bench = Bench(lambda candidate: 103.0 if candidate.model_instances == 2 else 100.0)
    explored = len(Bench(bench.formula).search().trials)
    bench.noise = [1.0] * explored + [0.2]
    outcome = bench.search()
    assert outcome.gains == pytest.approx([4.15, 0.03])
    assert not outcome.pays(THROUGHPUT)


def test_below_five_percent_nothing_changes() -> None:
    bench = Bench(lambda candidate: 104.0 if candidate.model_instances == 2 else 100.0)
    outcome = bench.search()
    assert outcome.best.candidate.model_instances == 2
    assert outcome.gains == pytest.approx([0.04, 0.04])
    assert not outcome.pays(THROUGHPUT)


def test_for_latency_a_lone_caller_counts_and_nothing_is_gathered() -> None:
    bench = Bench(lambda candidate: Figures(100.0, 50.0, 5.0 if candidate.threads == 1 else 8.0))
    outcome = bench.search(LATENCY)
    assert outcome.best.candidate.threads == 1
    assert outcome.gains == pytest.approx([0.6, 0.6])
    keys = {key for candidate in bench.measured for key in candidate.changes(START)}
    assert keys == {"accelerator", "precision", "model_instances", "parallel_calls", "threads"}


def test_a_latency_that_callers_do_not_bear_is_out() -> None:
    goal = replace(THROUGHPUT, p99_ms=100.0)

    def figures(candidate: Candidate) -> Figures:
        if candidate.accelerator == "openvino":
            return Figures(500.0, 300.0, 5.0)
        return Figures(120.0 if candidate.model_instances == 2 else 100.0, 90.0, 5.0)

    outcome = Bench(figures).search(goal)
    assert outcome.best.candidate.changes(START) == {"model_instances": 2, "parallel_calls": 1}
    assert outcome.pays(goal)


def test_what_brings_the_latency_within_bounds_pays_though_it_is_slower() -> None:
    goal = replace(THROUGHPUT, p99_ms=100.0)
    outcome = Bench(lambda c: Figures(90.0, 80.0, 5.0) if c.max_batch_size == 8 else Figures(100.0, 200.0, 5.0)).search(
        goal
    )
    assert outcome.best.candidate.max_batch_size == 8
    assert outcome.pays(goal)


def test_if_nothing_keeps_the_latency_the_nearest_is_best() -> None:
    goal = replace(THROUGHPUT, p99_ms=10.0)
    outcome = Bench().search(goal)
    assert outcome.best.candidate.accelerator == "openvino"
    assert min(outcome.gains) > 0.5


def test_a_refused_candidate_is_told_and_never_best() -> None:
    def formula(candidate: Candidate) -> float | str:
        return "1 % of 500 texts get another answer" if candidate.precision == "bf16" else rate(candidate)

    outcome = Bench(formula).search()
    refused = [trial for trial in outcome.trials if trial.refused]
    assert {trial.candidate.precision for trial in refused} == {"bf16"}
    assert outcome.best.candidate.precision == "f32"


def test_a_candidate_that_is_refused_late_leaves_time_for_the_others() -> None:
    bench = Bench()

    def formula(candidate: Candidate) -> float | str:
        if candidate.accelerator == "xla":
            bench.now += 120
            return "it did not answer in time"
        return rate(candidate)

    bench.formula = formula
    outcome = bench.search(seconds=400)
    assert (outcome.sure, outcome.skipped) == (True, [])


def test_the_service_as_it_is_must_run() -> None:
    with pytest.raises(Refused, match="it does not load"):
        Bench(lambda candidate: "it does not load").search()


def test_a_finalist_that_fails_in_the_rounds_is_out() -> None:
    bench = Bench()

    def formula(candidate: Candidate) -> float | str:
        in_rounds = bench.measured.count(candidate) > 1
        return "it did not start" if in_rounds and candidate.model_instances == 2 else rate(candidate)

    bench.formula = formula
    assert bench.search().best.candidate.model_instances == 1


@pytest.mark.parametrize("seconds", [0.0, 30.0, 115.0, 160.0, 400.0])
def test_the_time_is_kept_and_without_rounds_nothing_changes(seconds: float) -> None:
    bench = Bench()
    outcome = bench.search(seconds=seconds)
    assert bench.now <= max(seconds, 2 * TRIAL_S)
    assert len(outcome.trials) >= 2
    if seconds < 115:
        assert not outcome.sure
        assert not outcome.pays(THROUGHPUT)
        assert outcome.skipped
    if seconds == 400:
        assert (outcome.sure, outcome.skipped) == (True, [])


def candidates(machine: Machine, concurrency: int = 32) -> dict[str, list[dict[str, Any]]]:
    asking = stages(START, machine, concurrency)
    found = dict([next(asking)])
    while True:
        try:
            found |= dict([asking.send(START)])
        except StopIteration:
            return {name: [candidate.changes(START) for candidate in listed] for name, listed in found.items()}


def test_candidates_on_a_cpu_fit_its_cores() -> None:
    found = candidates(Machine(cores=6, gpus=0, bf16=False, openvino=False))
    assert found["accelerator and precision"] == [{}, {"accelerator": "xla"}]
    one = {"parallel_calls": 1}
    assert found["instances and threads"] == [
        *(one, {}),  # the two calls that are made anyway
        *({"model_instances": 2} | one, {"parallel_calls": 4}),
        *({"model_instances": 4} | one, {"parallel_calls": 6}),
        *({"model_instances": 6} | one, {"threads": 1} | one),
    ]
    assert found["queue delay"] == [{}, {"queue_delay_ms": 1.0}, {"queue_delay_ms": 5.0}]
    assert found["batch size"] == [{"max_batch_size": 8}, {"max_batch_size": 16}]
    assert candidates(SMALL, concurrency=128)["batch size"][-1] == {"max_batch_size": 128}


def test_candidates_on_a_cpu_compute_with_what_is_there() -> None:
    assert candidates(SMALL)["accelerator and precision"] == [
        {},
        {"accelerator": "openvino"},
        {"accelerator": "openvino", "precision": "bf16"},
        {"precision": "bf16"},
        {"accelerator": "xla"},
    ]


def test_candidates_on_a_gpu_are_mixed_precision_xla_and_instances_of_each_gpu() -> None:
    found = candidates(Machine(cores=64, gpus=2, bf16=True, openvino=True))
    assert found["accelerator and precision"] == [
        {},
        {"precision": "bf16"},
        {"accelerator": "xla"},
        {"accelerator": "xla", "precision": "bf16"},
    ]
    assert [each.get("model_instances", 1) for each in found["instances and threads"]] == [1, 2, 3, 4]


def test_a_candidate_is_described_as_service_toml_has_it() -> None:
    changed = replace(START, accelerator="openvino", model_instances=2, queue_delay_ms=1.5)
    assert changed.described(START) == 'accelerator = "openvino", model_instances = 2, queue_delay_ms = 1.5'
    assert START.described(START) == "untuned"


def test_the_frontier_is_what_nothing_beats_in_both() -> None:
    assert frontier([(5, 100), (4, 80), (6, 90), (3, 80), (9, 200)]) == [(3, 80), (5, 100), (9, 200)]


def test_the_frontier_is_drawn(tmp_path: Any) -> None:
    draw_trials(Bench().search(), "spam", 32, tmp_path / "tuned.png")
    assert (tmp_path / "tuned.png").read_bytes().startswith(b"\x89PNG")
