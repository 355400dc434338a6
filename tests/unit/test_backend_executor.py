"""Batches are answered, and nobody pays for a neighbour's mistake. The engine is a numpy function."""

import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from triton_tensorflow.batching import BadOutput
from triton_tensorflow.cutting import Cost
from triton_tensorflow.engines import Failure, Feeds, InvalidInput
from triton_tensorflow.executor import Executor, Request
from triton_tensorflow.plan import Input, Plan
from triton_tensorflow.probing import Padding, probe_padding
from triton_tensorflow.settings import Settings
from triton_tensorflow.signatures import Signature, TensorSpec

IDS = TensorSpec("ids", "ids:0", "DT_INT32", (-1, -1))
SUM = TensorSpec("sum", "sum:0", "DT_INT32", (-1, 1))
STATES = TensorSpec("states", "states:0", "DT_INT32", (-1, -1))
PLAN = Plan(True, False, {"ids": Input(IDS, np.int32, padded=True)}, ("states", "sum"), (), {})
SIGNATURE = Signature("serving_default", "serve", {"ids": IDS}, {"sum": SUM, "states": STATES}, True, False)


class SumEngine:
    """Sums rows; refuses a batch that holds 99, breaks on 77."""

    loader = "numpy"

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, feeds: Feeds, fetch: Sequence[str]) -> Feeds:
        ids = feeds["ids"]
        self.shapes.append(ids.shape)
        if (ids == 99).any():
            raise InvalidInput("99 is refused")
        if (ids == 77).any():
            raise Failure("77 breaks")
        total = ids.sum(axis=1, keepdims=True)
        outputs = {"sum": total, "double": 2 * total, "states": ids * 10}
        return {name: outputs[name] for name in fetch}


def run(
    rows: list[list[list[int]]],
    fetch: str = "sum",
    cost: Cost | None = None,
    stateful: bool = False,
    calls: int = 1,
) -> tuple[list[Request], SumEngine, list[tuple[list[int], bool]], Executor]:
    engine = SumEngine()
    executor = Executor(engine, replace(SIGNATURE, stateful=stateful), PLAN, Settings(parallel_calls=calls))
    executor.cost = cost
    engine.shapes.clear()
    requests = [Request(index, {"ids": np.array(ids, np.int32)}, frozenset([fetch])) for index, ids in enumerate(rows)]
    delivered: list[tuple[list[int], bool]] = []
    executor.run(requests, lambda done, more: delivered.append(([request.index for request in done], more)))
    assert sorted(index for indices, _ in delivered for index in indices) == list(range(len(rows)))
    return requests, engine, delivered, executor


def test_one_call_answers_a_batch() -> None:
    requests, engine, delivered, _ = run([[[1, 2, 3]], [[4], [5]]])
    assert [request.answer["sum"].tolist() for request in requests] == [[[6]], [[4], [5]]]
    assert engine.shapes == [(3, 3)]
    assert delivered == [([0, 1], False)]


def test_a_cut_batch_is_answered_in_parts_the_shortest_first() -> None:
    requests, engine, delivered, executor = run([[[1] * 50], [[2]], [[3, 3]]], cost=Cost(1.0, 1.0))
    assert [request.answer["sum"].tolist() for request in requests] == [[[50]], [[2]], [[6]]]
    assert engine.shapes == [(1, 1), (1, 2), (1, 50)] or engine.shapes == [(2, 2), (1, 50)]
    assert delivered[-1] == ([0], False)
    assert all(more for _, more in delivered[:-1])
    assert executor.counts.parts == len(engine.shapes) - 1


class MeetingEngine(SumEngine):
    """From `meet` on, each call waits until another one is made beside it."""

    def __init__(self) -> None:
        super().__init__()
        self._meeting: threading.Barrier | None = None

    def meet(self) -> None:
        self._meeting = threading.Barrier(2, timeout=30)

    def __call__(self, feeds: Feeds, fetch: Sequence[str]) -> Feeds:
        if self._meeting:
            self._meeting.wait()
        return super().__call__(feeds, fetch)


@pytest.mark.parametrize(
    ("rows", "fetch"),
    [
        ([[[1] * 8], [[2] * 8], [[3] * 8], [[4] * 8]], "sum"),
        ([[[1] * 8, [2] * 8, [3] * 8, [4] * 8]], "sum"),
        ([[[1] * 8, [2] * 8, [3] * 7 + [0], [4] * 8]], "states"),
        ([[[1] * 5, [2] * 5], [[3] * 9], [[4] * 9]], "sum"),
    ],
)
def test_parallel_calls_share_a_batch_and_the_rows_of_a_request(rows: list[list[list[int]]], fetch: str) -> None:
    engine = MeetingEngine()
    executor = Executor(engine, SIGNATURE, PLAN, Settings(parallel_calls=2))
    executor.cost = Cost(0.001, 1.0)
    engine.meet()
    requests = [Request(index, {"ids": np.array(ids, np.int32)}, frozenset([fetch])) for index, ids in enumerate(rows)]
    executor.run(requests, lambda done, more: None)
    for request in requests:
        expected = SumEngine()(request.feeds, [fetch])[fetch]
        assert request.error is None
        assert request.answer[fetch].tolist() == expected.tolist()


def test_parallel_calls_fail_alone() -> None:
    requests, _, _, _ = run([[[1] * 8], [[99] * 8], [[77] * 8], [[4] * 8]], cost=Cost(0.001, 1.0), calls=2)
    assert [type(request.error) for request in requests] == [type(None), InvalidInput, Failure, type(None)]
    assert [requests[place].answer["sum"].tolist() for place in (0, 3)] == [[[8]], [[32]]]


def test_rows_that_end_in_padding_are_units_of_their_own() -> None:
    rows = [[[1] * 50, [2] + [0] * 49, [0] * 50]]
    requests, engine, _, _ = run(rows, cost=Cost(1.0, 1.0))
    assert requests[0].answer["sum"].tolist() == [[50], [2], [0]]
    assert engine.shapes == [(2, 1), (1, 50)]


def test_rows_are_whole_if_a_wanted_output_shows_the_padding() -> None:
    requests, engine, _, _ = run([[[1, 1, 1], [2, 0, 0]]], fetch="states", cost=Cost(0.0, 1.0))
    assert requests[0].answer["states"].tolist() == [[10, 10, 10], [20, 0, 0]]
    assert engine.shapes == [(2, 3)]


def test_only_the_guilty_fail() -> None:
    requests, engine, _, executor = run([[[1]], [[99]], [[77]], [[2]]])
    assert [request.answer.get("sum", np.zeros(0)).tolist() for request in requests] == [[[1]], [], [], [[2]]]
    assert [type(request.error) for request in requests] == [type(None), InvalidInput, Failure, type(None)]
    assert len(engine.shapes) == 5
    assert executor.counts.retries == 1


def test_a_model_with_state_is_called_once() -> None:
    requests, engine, _, _ = run([[[1]], [[99]]], stateful=True)
    assert [type(request.error) for request in requests] == [InvalidInput, InvalidInput]
    assert len(engine.shapes) == 1


def test_padding_is_counted() -> None:
    _, _, _, executor = run([[[1, 2, 3]], [[4]]])
    assert (executor.counts.cells, executor.counts.padding) == (6, 2)


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, r"input 'ids' is missing; send all of \['ids'\]"),
        ({"ids": np.zeros(3, np.int32)}, r"has shape \[3\]; expected \[-1, -1\]"),
        ({"ids": np.array([[11]])}, r"holds 11; expected 0 to 10"),
        ({"ids": np.array([[-1]])}, r"holds -1; expected 0 to 10"),
    ],
)
def test_bad_inputs_are_refused(feeds: Feeds, message: str) -> None:
    executor = Executor(SumEngine(), SIGNATURE, PLAN, Settings(max_value=10))
    with pytest.raises(InvalidInput, match=message):
        executor.check(feeds)
    executor.check({"ids": np.zeros((2, 0), np.int32)})


def test_a_retried_request_has_the_outputs_that_it_wants_and_no_others() -> None:
    """Its rows lie in two parts; one is run for all that the group wants, the other again for it alone."""
    engine = SumEngine()
    executor = Executor(engine, SIGNATURE, replace(PLAN, outputs=("double", "sum")), Settings())
    executor.cost = Cost(1.0, 1.0)
    wide = np.zeros((2, 300), np.int32)
    wide[0], wide[1, :2] = 1, 1
    bad = np.full((1, 300), 99, np.int32)
    requests = [
        Request(0, {"ids": wide}, frozenset(["sum"])),
        Request(1, {"ids": bad}, frozenset(["sum", "double"])),
    ]
    executor.run(requests, lambda done, more: None)
    assert requests[0].answer["sum"].tolist() == [[300], [2]]
    assert isinstance(requests[1].error, InvalidInput)


def mean(feeds: Feeds) -> Feeds:
    return {"mean": feeds["ids"].mean(axis=1, keepdims=True)}


def states(feeds: Feeds) -> Feeds:
    return {"states": feeds["ids"] * 2.0, "fixed": np.ones((len(feeds["ids"]), 5))}


def shortened(feeds: Feeds) -> Feeds:
    return {"valid": feeds["ids"][:, 1:]}


def refusing(feeds: Feeds) -> Feeds:
    raise ValueError("no")


def test_what_padding_does_is_found_out() -> None:
    assert probe_padding(PLAN, mean) == Padding({}, frozenset(["mean"]))
    # An axis of 5 that is 5 for every length is the model's own.
    assert probe_padding(PLAN, states) == Padding({"states": {1: ("ids", 1)}}, frozenset())
    assert probe_padding(PLAN, shortened) is None
    assert probe_padding(PLAN, refusing) is None


def test_outputs_follow_the_input_that_they_are_as_long_as() -> None:
    second = replace(IDS, name="other")
    plan = replace(PLAN, inputs={"ids": PLAN.inputs["ids"], "other": Input(second, np.int32, padded=True)})
    found = probe_padding(
        plan, lambda feeds: {"out": feeds["other"], "cross": feeds["ids"][:, :, None] * feeds["other"][:, None]}
    )
    assert found is not None
    assert found.followers == {"out": {1: ("other", 1)}, "cross": {1: ("ids", 1), 2: ("other", 1)}}


def test_a_lone_request_keeps_its_trailing_zeros_if_the_model_minds() -> None:
    class MeanEngine(SumEngine):
        def __call__(self, feeds: Feeds, fetch: Sequence[str]) -> Feeds:
            return mean(feeds)

    executor = Executor(MeanEngine(), SIGNATURE, replace(PLAN, outputs=("mean",)), Settings())
    executor.cost = Cost(1.0, 1.0)
    request = Request(0, {"ids": np.array([[4, 4, 0, 0]], np.int32)}, frozenset(["mean"]))
    executor.run([request], lambda done, more: None)
    assert request.answer["mean"].tolist() == [[2.0]]
    assert "padding changes this model's outputs ['mean']" in executor.warnings[0]


VALUES = replace(IDS, name="values", type_name="DT_FLOAT")


def floats(*names: str) -> Plan:
    inputs = {name: Input(replace(VALUES, name=name), np.float32, padded=True) for name in names}
    return replace(PLAN, inputs=inputs, outputs=("max",))


def largest(feeds: Feeds) -> Feeds:
    return {"max": next(iter(feeds.values())).max(axis=1, keepdims=True)}


class MaxEngine(SumEngine):
    def __call__(self, feeds: Feeds, fetch: Sequence[str]) -> Feeds:
        self.shapes.append(next(iter(feeds.values())).shape)
        return largest(feeds)


def test_padding_that_only_negative_numbers_show_is_found_out() -> None:
    assert probe_padding(floats("values"), largest) == Padding({}, frozenset(["max"]), negative=True)


def test_negative_numbers_are_tried_where_no_ids_and_no_masks_are_and_may_be_refused() -> None:
    def picky(feeds: Feeds) -> Feeds:
        if any((array < 0).any() for array in feeds.values()):
            raise InvalidInput("negative")
        return largest(feeds)

    assert probe_padding(floats("values"), picky) == Padding({}, frozenset())
    # A mask of -1 would make padding look as if it counted.
    for inputs in (PLAN.inputs, floats("values").inputs):
        with_a_mask = replace(PLAN, inputs=inputs | floats("mask").inputs)
        found = probe_padding(with_a_mask, lambda feeds: {"max": feeds["mask"].max(axis=1, keepdims=True)})
        assert found == Padding({}, frozenset())


INTEGERS = replace(PLAN, outputs=("max",))
MIXED = replace(INTEGERS, inputs=floats("values").inputs | PLAN.inputs)


@pytest.mark.parametrize("plan", [floats("values"), INTEGERS, MIXED])
def test_a_lone_request_keeps_its_trailing_zeros_behind_negative_numbers(plan: Plan) -> None:
    engine = MaxEngine()
    executor = Executor(engine, SIGNATURE, plan, Settings())
    executor.cost = Cost(1.0, 1.0)
    first = next(iter(plan.inputs))
    feeds = {name: np.array([[-1 if name == first else 1, 0]], entry.dtype) for name, entry in plan.inputs.items()}
    request = Request(0, feeds, frozenset(["max"]))
    executor.run([request], lambda done, more: None)
    assert request.answer["max"].tolist() == [[0]]


def test_negative_numbers_are_cut_like_others_where_they_were_tried() -> None:
    class ValuesEngine(SumEngine):
        def __call__(self, feeds: Feeds, fetch: Sequence[str]) -> Feeds:
            return super().__call__({"ids": feeds["values"]}, fetch)

    engine = ValuesEngine()
    executor = Executor(engine, SIGNATURE, replace(floats("values"), outputs=("sum",)), Settings())
    executor.cost = Cost(1.0, 1.0)
    request = Request(0, {"values": np.array([[-1.0] + [0.0] * 49], np.float32)}, frozenset(["sum"]))
    executor.run([request], lambda done, more: None)
    assert request.answer["sum"].tolist() == [[-1.0]]
    assert engine.shapes[-1] == (1, 1)


class UniqueEngine(SumEngine):
    """An axis of `unique` is as long as there are different values in the batch; `rows` has one value for each."""

    def __call__(self, feeds: Feeds, fetch: Sequence[str]) -> Feeds:
        self.shapes.append(feeds["ids"].shape)
        values = np.unique(feeds["ids"][feeds["ids"] > 0])
        return {name: np.tile(values, (len(feeds["ids"]), 1)) for name in fetch}


@pytest.mark.parametrize("calls", [1, 2])
def test_rows_are_whole_if_a_wanted_output_is_as_long_as_the_values_say(calls: int) -> None:
    unique = replace(STATES, name="unique")
    engine = UniqueEngine()
    plan = replace(PLAN, outputs=("unique",))
    executor = Executor(engine, replace(SIGNATURE, outputs={"unique": unique}), plan, Settings(parallel_calls=calls))
    executor.cost = Cost(0.001, 1.0)
    request = Request(0, {"ids": np.array([[1, 2, 3], [4, 0, 0]], np.int32)}, frozenset(["unique"]))
    executor.run([request], lambda done, more: None)
    assert request.answer["unique"].tolist() == [[1, 2, 3, 4]] * 2
    assert engine.shapes[-1] == (2, 3)


def test_a_request_whose_rows_do_not_fit_together_fails_alone() -> None:
    """The signature says that the output has one column."""
    engine = UniqueEngine()
    executor = Executor(engine, SIGNATURE, replace(PLAN, outputs=("sum",)), Settings())
    executor.cost = Cost(0.001, 1.0)
    rows = [np.array([[1] * 50, [4, 5] + [0] * 48]), np.array([[6] * 20])]
    requests = [Request(index, {"ids": ids}, frozenset(["sum"])) for index, ids in enumerate(rows)]
    executor.run(requests, lambda done, more: None)
    assert isinstance(requests[0].error, BadOutput)
    assert "output 'sum': the rows of a request do not fit together" in str(requests[0].error)
    assert requests[1].answer["sum"].tolist() == [[6]]


class TwoInputsEngine(SumEngine):
    """Ids and a mask must be of one length; what `longer` holds may be of any, and gives the states."""

    def __call__(self, feeds: Feeds, fetch: Sequence[str]) -> Feeds:
        self.shapes.append(feeds["ids"].shape)
        if feeds["ids"].shape != feeds["mask"].shape:
            raise InvalidInput("incompatible shapes")
        total = (feeds["ids"] * feeds["mask"]).sum(axis=1, keepdims=True)
        outputs = {"sum": total, "states": total + feeds.get("longer", feeds["ids"])}
        return {name: outputs[name] for name in fetch}


def two_inputs(*names: str) -> Executor:
    inputs = {name: Input(replace(IDS, name=name), np.int32, padded=True) for name in names}
    return Executor(TwoInputsEngine(), SIGNATURE, replace(PLAN, inputs=inputs), Settings())


def of_lengths(*lengths: dict[str, int], fetch: str) -> list[Request]:
    feeds = [{name: np.ones((1, length), np.int32) for name, length in entry.items()} for entry in lengths]
    return [Request(index, entry, frozenset([fetch])) for index, entry in enumerate(feeds)]


@pytest.mark.parametrize("cost", [None, Cost(1.0, 1.0)])
def test_a_request_that_is_refused_alone_is_refused_beside_a_longer_one(cost: Cost | None) -> None:
    """Padded to the longer one's length, its mask would fit its ids."""
    executor = two_inputs("ids", "mask")
    executor.cost = cost
    lengths = ({"ids": 7, "mask": 7}, {"ids": 5, "mask": 3}, {"ids": 4, "mask": 4})
    requests = of_lengths(*lengths, fetch="sum")
    requests[1].feeds["ids"][:, 1:] = requests[1].feeds["mask"][:, 1:] = 0
    executor.run(requests, lambda done, more: None)
    assert [type(request.error) for request in requests] == [type(None), InvalidInput, type(None)]
    assert [requests[index].answer["sum"].tolist() for index in (0, 2)] == [[[7]], [[4]]]


def test_what_follows_an_input_of_another_length_is_not_cut() -> None:
    """Made-up values of one length for all inputs do not tell which of these an output follows."""
    executor = two_inputs("ids", "mask", "longer")
    lengths = [{"ids": own, "mask": own, "longer": longer} for own, longer in ((2, 6), (2, 6), (3, 5), (4, 4), (2, 2))]
    requests = of_lengths(*lengths, fetch="states")
    executor.run(requests, lambda done, more: None)
    assert [request.error for request in requests] == [None] * 5
    assert [request.answer["states"].tolist() for request in requests] == [
        [[own + 1] * longer] for own, longer in ((2, 6), (2, 6), (3, 5), (4, 4), (2, 2))
    ]


def test_requests_of_unequal_lengths_are_apart_if_nobody_knows_what_padding_does() -> None:
    class PickyEngine(SumEngine):
        def __call__(self, feeds: Feeds, fetch: Sequence[str]) -> Feeds:
            if (feeds["ids"] == 1).all():
                raise InvalidInput("made-up values are refused")
            return super().__call__(feeds, fetch)

    engine = PickyEngine()
    executor = Executor(engine, SIGNATURE, PLAN, Settings())
    rows = [np.array([[2, 3]]), np.array([[4]]), np.array([[5, 6]])]
    requests = [Request(index, {"ids": ids}, frozenset(["sum"])) for index, ids in enumerate(rows)]
    executor.run(requests, lambda done, more: None)
    assert [request.answer["sum"].tolist() for request in requests] == [[[5]], [[4]], [[11]]]
    assert engine.shapes == [(2, 2), (1, 1)]


def test_rows_without_a_request_become_zeros() -> None:
    ready = TensorSpec("ready", "ready:0", "DT_BOOL", (-1, 1))
    inputs = {"ids": Input(replace(IDS, shape=(-1, 2)), np.int32), "ready": Input(ready, np.bool_, control=True)}
    plan = replace(PLAN, sequence=True, inputs=inputs, outputs=("sum",), ready="ready")
    executor = Executor(SumEngine(), SIGNATURE, plan, Settings(max_value=9))
    garbage = np.array([[2_000_000_000, -3], [4, 5]], np.int32)
    feeds: Feeds = {"ids": garbage, "ready": np.array([[False], [True]])}
    executor.check(feeds)
    assert feeds["ids"].tolist() == [[0, 0], [4, 5]]
    assert garbage[0, 1] == -3, "the request's memory belongs to Triton"


def test_a_refused_request_keeps_nothing_of_its_batch_alive() -> None:
    """An error with a traceback would hold the frames, and with them the shared memory of the whole batch."""
    requests, _, _, _ = run([[[1]], [[99]]])
    error = requests[1].error
    assert error is not None
    assert error.__traceback__ is None
    assert error.__cause__ is None
    assert error.__context__ is None
