"""The `tensorflow` backend serves what NVIDIA's served: each row of its README's table, on a real tritonserver."""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import parity_models
import pytest
import real_models
from backend_server import ONE_INSTANCE, BackendServer
from trident_client import InvalidRequest

TENSORFLOW = 'backend: "tensorflow"\n'
SLOW_BATCH = "dynamic_batching { max_queue_delay_microseconds: 300000 }\n"


def tensor(kind: str, name: str, data_type: str, dims: str, more: str = "") -> str:
    return f'{kind} {{ name: "{name}" data_type: TYPE_{data_type} dims: {dims} {more} }}\n'


def at_once(backend: BackendServer, name: str, inputs: list[dict[str, Any]]) -> list[Any]:
    """Answers to requests sent together; an exception stands for itself."""

    def ask(arrays: dict[str, Any]) -> Any:
        try:
            return backend.infer(name, **arrays)
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(inputs)) as pool:
        return list(pool.map(ask, inputs))


def wait_for_metric(backend: BackendServer, metric: str, name: str) -> float:
    """A count of the backend's once it is there: it hands them over once a second."""
    deadline = time.monotonic() + 20
    while not backend.metric(metric, name) > 0 and time.monotonic() < deadline:
        time.sleep(0.1)
    return backend.metric(metric, name)


# -- platforms, files, versions -------------------------------------------------------------------------------------


def test_the_removed_backends_platform_and_file_name_serve(backend: BackendServer, models: Path) -> None:
    config = 'platform: "tensorflow_savedmodel"\ndefault_model_filename: "exported"\n'
    with backend.model("renamed", models / "doubled", config, file="exported") as name:
        assert backend.infer(name, x=[[1, 2, 3]])["y"].tolist() == [[2, 4, 6]]


def test_a_frozen_graph_serves_its_placeholders_and_nodes(backend: BackendServer, models: Path) -> None:
    tensors = tensor("input", "x", "FP32", "2") + tensor("output", "y", "FP32", "2")
    config = 'platform: "tensorflow_graphdef"\nmax_batch_size: 8\n' + tensors
    with backend.model("graph", models / "plain.graphdef", config, file="model.graphdef") as name:
        assert backend.infer(name, x=[[1, 2], [3, 4]])["y"].tolist() == [[2, 4], [6, 8]]


def test_a_frozen_graph_with_other_names_is_refused(backend: BackendServer, models: Path) -> None:
    tensors = tensor("input", "z", "FP32", "2") + tensor("output", "w", "FP32", "2")
    config = 'platform: "tensorflow_graphdef"\nmax_batch_size: 8\n' + tensors
    text = backend.refusal("graph_names", models / "plain.graphdef", config, file="model.graphdef")
    assert "input 'z': expected one of the placeholders ['x']" in text
    assert "output 'w': expected the name of a node" in text


def test_several_versions_serve_side_by_side(backend: BackendServer, models: Path) -> None:
    versions = {1: models / "doubled", 2: models / "tripled"}
    with backend.model("versions", versions, TENSORFLOW + "version_policy { all {} }\n") as name:
        x = {"x": np.ones((1, 3), np.float32)}
        assert backend.client.infer_tensors(name, x, version="1")["y"].tolist() == [[2, 2, 2]]
        assert backend.client.infer_tensors(name, x, version="2")["y"].tolist() == [[3, 3, 3]]


# -- tensors --------------------------------------------------------------------------------------------------------


def test_every_data_type_travels_both_ways(backend: BackendServer, models: Path) -> None:
    with backend.model("dtypes", models / "dtypes", TENSORFLOW) as name:
        inputs: dict[str, Any] = {
            key: np.array([[b"\x00\xff", "ß".encode()]], object) if key == "string" else np.array([[0, 1]], key)
            for key in parity_models.DTYPES
        }
        answer = backend.infer(name, **inputs)
        for key, array in inputs.items():
            assert answer[f"{key}_out"].dtype == array.dtype
            assert answer[f"{key}_out"].tolist() == array.tolist()
        found = {entry["name"]: entry["data_type"] for entry in backend.client.get_model_config(name)["input"]}
        assert found == {key: f"TYPE_{value}" for key, value in parity_models.DTYPES.items()}


def test_inputs_and_outputs_whose_names_are_no_identifiers_serve(backend: BackendServer, models: Path) -> None:
    with backend.model("odd_names", models / "odd_names", TENSORFLOW) as name:
        inputs: dict[str, Any] = {"user-id": [[1]], "0": [[2]], "mobilenet_1.00_input": [[3]]}
        assert backend.infer(name, **inputs)["y-1"].tolist() == [[123]]
        assert "loader TensorFlow 2" in backend.log(name)
        del inputs["0"]
        with pytest.raises(InvalidRequest):
            backend.infer(name, **inputs)


def test_a_data_type_that_triton_cannot_carry_is_a_load_error(backend: BackendServer, models: Path) -> None:
    assert "output 'y' is of type DT_COMPLEX64" in backend.refusal("complex", models / "complex", TENSORFLOW)


def test_reshape_works_for_inputs_and_outputs(backend: BackendServer, models: Path) -> None:
    config = (
        TENSORFLOW
        + "max_batch_size: 4\n"
        + tensor("input", "x", "FP32", "6", "reshape { shape: [ 2, 3 ] }")
        + tensor("output", "y", "FP32", "[ 1, 6 ]", "reshape { shape: [ 3, 2 ] }")
    )
    with backend.model("reshaped", models / "matrix", config) as name:
        assert backend.infer(name, x=[[1, 2, 3, 4, 5, 6]])["y"].tolist() == [[[1, 4, 2, 5, 3, 6]]]


def test_one_value_a_row_is_dims_1_with_an_empty_reshape(backend: BackendServer, models: Path) -> None:
    with backend.model("rank1", models / "rank1", TENSORFLOW) as name:
        entry = backend.client.get_model_config(name)["input"][0]
        assert ([int(size) for size in entry["dims"]], entry["reshape"]) == ([1], {"shape": []})
        assert backend.infer(name, x=[[1], [2]])["y"].tolist() == [[2], [3]]


def test_scalars_of_an_unbatched_model_travel_as_dims_1(backend: BackendServer, models: Path) -> None:
    tensors = tensor("input", "x", "FP32", "[ 1 ]") + tensor("output", "y", "FP32", "[ 1 ]")
    with backend.model("scalar", models / "rank0", TENSORFLOW + "max_batch_size: 0\n" + tensors) as name:
        assert backend.infer(name, x=[41])["y"].tolist() == [42]


def test_an_axis_of_length_zero_serves(backend: BackendServer, models: Path) -> None:
    config = (
        TENSORFLOW
        + "max_batch_size: 4\n"
        + tensor("input", "words", "STRING", "[ -1 ]")
        + tensor("output", "y", "STRING", "[ -1 ]")
    )
    with backend.model("zero", models / "upper", config) as name:
        assert backend.infer(name, words=np.empty((2, 0), object))["y"].shape == (2, 0)
        assert backend.infer(name, words=np.array([[b"a"]], object))["y"].tolist() == [[b"A"]]


def test_a_model_of_unknown_rank_takes_what_the_config_says(backend: BackendServer, models: Path) -> None:
    tensors = tensor("input", "x", "FP32", "[ -1, -1 ]") + tensor("output", "y", "FP32", "[ -1 ]")
    with backend.model("unknown", models / "unknown_rank", TENSORFLOW + "max_batch_size: 0\n" + tensors) as name:
        assert backend.infer(name, x=np.ones((2, 5), np.float32))["y"].tolist() == [2, 5]


def test_an_optional_input_may_be_left_out_if_the_graph_has_a_default(backend: BackendServer, models: Path) -> None:
    config = (
        TENSORFLOW
        + "max_batch_size: 4\n"
        + tensor("input", "x", "FP32", "2")
        + tensor("input", "scale", "FP32", "1", "reshape { } optional: true")
        + tensor("output", "y", "FP32", "2")
        + SLOW_BATCH
    )
    with backend.model("optional", models / "defaults", config) as name:
        without, given = at_once(backend, name, [{"x": [[1, 2]]}, {"x": [[1, 2]], "scale": [[3]]}])
        assert without["y"].tolist() == [[10, 20]]
        assert given["y"].tolist() == [[3, 6]]


def test_only_requested_outputs_are_computed(backend: BackendServer, models: Path) -> None:
    """The union of what the requests of a batch ask for; each gets its own."""
    config = TENSORFLOW + "max_batch_size: 4\n" + SLOW_BATCH
    with backend.model("dtypes_some", models / "dtypes", config) as name:
        x: dict[str, Any] = {key: np.zeros((1, 2), key) for key in parity_models.DTYPES if key != "string"}
        x["string"] = np.full((1, 2), b"", object)
        answer = backend.infer(name, outputs=["int8_out"], **x)
        assert list(answer) == ["int8_out"]


# -- batching: ragged inputs, batch inputs and outputs --------------------------------------------------------------


def test_batch_inputs_and_outputs_are_those_of_nvidias_collector(backend: BackendServer, models: Path) -> None:
    config = (
        TENSORFLOW
        + "max_batch_size: 8\n"
        + SLOW_BATCH
        + tensor("input", "values", "FP32", "[ -1 ]", "allow_ragged_batch: true")
        + "".join(
            tensor("output", f"{name}_out", "FP32", "[ 1 ]" if name == "widest" else "[ -1 ]")
            for name in ("values", *parity_models.BATCH_KINDS)
        )
        + tensor("output", "doubled", "FP32", "[ -1 ]")
        + 'batch_output { target_name: "doubled" kind: BATCH_SCATTER_WITH_INPUT_SHAPE source_input: "values" }\n'
    )
    for target, kind in parity_models.BATCH_KINDS.items():
        data_type = "TYPE_FP32" if target == "counts" else "TYPE_INT32"
        names = f'target_name: "{target}" source_input: "values"'
        config += f"batch_input {{ kind: {kind} data_type: {data_type} {names} }}\n"
    with backend.model("batch_inputs", models / "batch_inputs", config) as name:
        first, second = at_once(backend, name, [{"values": [[1, 2, 3], [4, 5, 6]]}, {"values": [[7, 8, 9, 10]]}])
    swapped = first["values_out"][0, 0] == 7  # which of the two came first is Triton's choice
    counts, joined = ([4, 6], [7, 8, 9, 10, 1, 2, 3, 4, 5, 6]) if swapped else ([6, 4], list(range(1, 11)))
    items = [4, 3, 3] if swapped else [3, 3, 4]
    expected = {
        "values_out": joined,
        "counts_out": counts,
        "ends_out": [counts[0], 10],
        "bounds_out": [0, counts[0], 10],
        "widest_out": [6],
        "items_out": items,
        "flat_items_out": items,
    }
    for key, row in expected.items():
        assert first[key].tolist() == [row, row], key
        assert second[key].tolist() == [row], key
    assert first["doubled"].tolist() == [[2, 4, 6], [8, 10, 12]]
    assert second["doubled"].tolist() == [[14, 16, 18, 20]]


RAGGED = tensor("input", "ids", "INT32", "[ -1 ]", "allow_ragged_batch: true")


def test_ragged_requests_are_padded_with_the_value_asked_for(backend: BackendServer, models: Path) -> None:
    config = TENSORFLOW + "max_batch_size: 8\n" + SLOW_BATCH + RAGGED + tensor("output", "total", "FP32", "2")
    config += 'parameters { key: "PAD_VALUE" value { string_value: "9" } }\n'
    with backend.model("pad_value", models / "sums", config) as name:
        ids = [{"ids": np.zeros((1, length), np.int32)} for length in (1, 2)]
        totals = [answer["total"].tolist() for answer in at_once(backend, name, ids)]
        # Row 9 of the table is [18, 19]: the shorter request shows that it was padded with it.
        assert totals in ([[[18, 20]], [[0, 2]]], [[[0, 1]], [[0, 2]]])
        assert totals == [[[18, 20]], [[0, 2]]], "the requests did not meet in a batch"


def test_a_frozen_graphs_ragged_inputs_are_padded_or_joined_as_its_placeholders_say(
    backend: BackendServer, models: Path
) -> None:
    tensors = "".join(tensor("input", name, "FP32", "[ -1 ]", "allow_ragged_batch: true") for name in ("x", "flat"))
    tensors += tensor("output", "total", "FP32", "1") + tensor("output", "joined", "FP32", "[ -1 ]")
    config = 'platform: "tensorflow_graphdef"\nmax_batch_size: 8\n' + SLOW_BATCH + tensors
    with backend.model("ragged_graph", models / "ragged.graphdef", config, file="model.graphdef") as name:
        inputs = [{"x": [[1, 2, 3]], "flat": [[7, 8]]}, {"x": [[4]], "flat": [[9]]}]
        answers = at_once(backend, name, inputs)
    assert [answer["total"].tolist() for answer in answers] == [[[6]], [[4]]]
    assert all(sorted(answer["joined"][0].tolist()) == [7, 8, 9] for answer in answers)


@pytest.mark.parametrize("rank", [3])
def test_a_ragged_input_of_another_rank_is_a_load_error(backend: BackendServer, models: Path, rank: int) -> None:
    config = TENSORFLOW + "max_batch_size: 8\n" + tensor("output", "y", "FP32", "[ 3, 2 ]")
    config += tensor("input", "x", "FP32", "[ -1 ]", "allow_ragged_batch: true")
    text = backend.refusal("ragged_rank", models / "matrix", config)
    assert "input 'x': expected [-1, 2, 3]; found [-1, -1]" in text


ATTENTIVE = (
    TENSORFLOW
    + "max_batch_size: 64\n"
    + SLOW_BATCH
    + RAGGED
    + tensor("output", "total", "FP32", "1")
    + tensor("output", "longest", "INT32", "1")
)


def test_a_batch_of_unequal_lengths_is_cut_and_answered(backend: BackendServer, models: Path) -> None:
    with backend.model("cut", models / "attentive", ATTENTIVE) as name:
        lengths = [1, 900, 2, 1000, 3]
        answers = at_once(backend, name, [{"ids": np.ones((2, length), np.int32)} for length in lengths])
        for length, answer in zip(lengths, answers, strict=True):
            assert answer["total"].tolist() == [[length]] * 2
        longest = [int(answer["longest"].max()) for answer in answers]
        assert max(longest[0], longest[2], longest[4]) < 900, "short requests were padded to the long ones"
        assert longest[3] == 1000
        assert wait_for_metric(backend, "tf_extra_sub_batches", name) >= 1


def test_rows_that_end_in_padding_are_cut_one_by_one(backend: BackendServer, models: Path) -> None:
    with backend.model("rows", models / "attentive", ATTENTIVE) as name:
        ids = np.zeros((4, 1000), np.int32)
        for row, length in enumerate((2, 1000, 0, 3)):
            ids[row, :length] = 1
        assert backend.infer(name, outputs=["total"], ids=ids)["total"].tolist() == [[2], [1000], [0], [3]]
        assert wait_for_metric(backend, "tf_extra_sub_batches", name) == 1
        # An output that shows the padding: the rows stay as they were sent.
        assert backend.infer(name, ids=ids)["longest"].tolist() == [[1000]] * 4
        assert backend.log(name, "padding changes this model's outputs ['longest']")


def test_an_answer_equals_that_of_the_request_alone(backend: BackendServer, made: Path) -> None:
    """For a model that padding does not change; this one pads its mask with 0 too."""
    config = TENSORFLOW + "max_batch_size: 16\n" + SLOW_BATCH + tensor("output", "embedding", "FP32", "8")
    for key in ("input_ids", "attention_mask"):
        config += tensor("input", key, "INT32", "[ -1 ]", "allow_ragged_batch: true")
    generator = np.random.default_rng(7)
    with backend.model("encoder", made / "encoder" / "1" / "model.savedmodel", config) as name:
        requests: list[dict[str, Any]] = [
            {
                "input_ids": generator.integers(1, 50, (2, length)).astype(np.int32),
                "attention_mask": np.ones((2, length), np.int32),
            }
            for length in (1, 5, 9, 17, 30)
        ]
        together = at_once(backend, name, requests)
        for request, answer in zip(requests, together, strict=True):
            alone = backend.infer(name, **request)["embedding"]
            np.testing.assert_allclose(answer["embedding"], alone, atol=1e-5)
        assert "loader TensorFlow 2" in backend.log(name)


# -- sequences ------------------------------------------------------------------------------------------------------

SEQUENCE = (
    TENSORFLOW
    + "max_batch_size: 4\n"
    + tensor("input", "x", "INT32", "1")
    + tensor("output", "total", "FP32", "1")
    + tensor("output", "by_id", "FP32", "1")
    + tensor("output", "controls", "FP32", "4")
    + """sequence_batching {
  max_sequence_idle_microseconds: 60000000
  direct { }
  control_input { name: "start" control { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } }
  control_input { name: "end" control { kind: CONTROL_SEQUENCE_END fp32_false_true: [ 0, 1 ] } }
  control_input { name: "ready" control { kind: CONTROL_SEQUENCE_READY bool_false_true: [ false, true ] } }
  control_input { name: "corrid" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } }
}
"""
)
WAIT_FOR_TWO = "{ max_queue_delay_microseconds: 500000 minimum_slot_utilization: 1 }"


class Sequences:
    """Sends the requests of sequences, some of them at the same time."""

    def __init__(self, backend: BackendServer, name: str) -> None:
        self._url = backend.server.grpc_url.removeprefix("grpc://")
        self._name = name

    def send(self, sequence: int, value: int, start: bool = False, end: bool = False) -> dict[str, list[float]]:
        """One request's answer, output → its only row."""
        import tritonclient.grpc as grpcclient

        x = grpcclient.InferInput("x", [1, 1], "INT32")
        x.set_data_from_numpy(np.array([[value]], np.int32))
        with grpcclient.InferenceServerClient(self._url) as client:
            result = client.infer(
                self._name, [x], sequence_id=sequence, sequence_start=start, sequence_end=end, client_timeout=60
            )
        return {name: result.as_numpy(name)[0].tolist() for name in ("total", "by_id", "controls")}

    def send_together(self, values: dict[int, int], start: bool = False) -> dict[int, Any]:
        """The answer of each sequence; an exception stands for itself."""

        def send(entry: tuple[int, int]) -> Any:
            try:
                return self.send(*entry, start=start)
            except Exception as error:
                return error

        with ThreadPoolExecutor(len(values)) as pool:
            return dict(zip(values, pool.map(send, values.items()), strict=True))


def test_sequences_keep_their_state_and_see_their_controls(backend: BackendServer, models: Path) -> None:
    with backend.model("sequence", models / "sequence", SEQUENCE) as name:
        sequences = Sequences(backend, name)
        found = [sequences.send(42, value, start=step == 0, end=step == 2) for step, value in enumerate([5, 7, 9])]
    assert [answer["total"] for answer in found] == [[5], [12], [21]]
    assert [answer["controls"] for answer in found] == [[1, 0, 1, 42], [0, 0, 1, 42], [0, 1, 1, 42]]


def test_several_sequences_keep_apart_and_max_value_leaves_their_ids_alone(
    backend: BackendServer, models: Path
) -> None:
    """The direct strategy: a sequence is a row, and rows whose sequence has no request come with READY 0."""
    with backend.model("sequences", models / "sequence", SEQUENCE + parameter("MAX_VALUE", "1000")) as name:
        sequences = Sequences(backend, name)
        for step in range(3):
            for sequence, value in ((70001, 1), (70002, 10), (70003, 100)):
                answer = sequences.send(sequence, value, start=step == 0)
                assert answer["total"] == [value * (step + 1)]


def test_the_oldest_strategy_batches_sequences_in_any_row(backend: BackendServer, models: Path) -> None:
    config = SEQUENCE.replace(
        "direct { }", "oldest { max_candidate_sequences: 4 max_queue_delay_microseconds: 300000 }"
    )
    with backend.model("oldest", models / "sequence", config) as name:
        sequences = Sequences(backend, name)
        sequences.send_together({3: 1, 4: 10, 5: 100}, start=True)
        sequences.send(5, 100)
        answers = sequences.send_together({5: 100, 3: 1})
        answers |= sequences.send_together({4: 10})
        assert {key: answer["by_id"] for key, answer in answers.items()} == {5: [300], 3: [2], 4: [20]}


def test_a_refused_request_of_a_sequence_shifts_no_other(backend: BackendServer, models: Path) -> None:
    """A batch without the refused row would add to another sequence's sum, so none of it is run."""
    config = SEQUENCE.replace("direct { }", f"direct {WAIT_FOR_TWO}").replace("max_batch_size: 4", "max_batch_size: 2")
    with backend.model("refusal", models / "sequence", config + parameter("MAX_VALUE", "1000")) as name:
        sequences = Sequences(backend, name)
        sequences.send_together({1: 1, 2: 10}, start=True)
        refused = sequences.send_together({1: 2000, 2: 10})
        assert "input 'x' holds 2000; expected 0 to 1000" in str(refused[1])
        assert "another sequence's request in the batch was refused, so none was run" in str(refused[2])
        answers = sequences.send_together({1: 1, 2: 10})
        assert {key: answer["total"] for key, answer in answers.items()} == {1: [2], 2: [20]}


def test_a_control_that_the_model_has_not_is_a_load_error(backend: BackendServer, models: Path) -> None:
    text = backend.refusal("control", models / "sequence", SEQUENCE.replace('"ready"', '"prepared"'))
    assert "sequence control 'prepared': expected one of" in text
    without = "\n".join(line for line in SEQUENCE.splitlines() if '"ready"' not in line)
    text = backend.refusal("no_ready", models / "sequence", without + parameter("MAX_VALUE", "9"))
    assert "parameter MAX_VALUE: expected the control CONTROL_SEQUENCE_READY; found none" in text


# -- isolation ------------------------------------------------------------------------------------------------------


def test_a_request_that_tensorflow_refuses_fails_alone(backend: BackendServer, models: Path) -> None:
    config = TENSORFLOW + "max_batch_size: 8\n" + SLOW_BATCH + RAGGED + tensor("output", "total", "FP32", "2")
    with backend.model("isolation", models / "sums", config) as name:
        ids = [{"ids": np.full((1, 2), value, np.int32)} for value in (1, 99, 2)]
        good, bad, other = at_once(backend, name, ids)
        assert (good["total"].tolist(), other["total"].tolist()) == ([[4, 6]], [[8, 10]])
        assert isinstance(bad, InvalidRequest)
        assert "99 is not in [0, 10)" in str(bad)


def test_mixed_traffic_with_bad_requests_loses_and_mixes_nothing(backend: BackendServer, models: Path) -> None:
    """Cut batches, answered in parts, with requests that are refused and others that want other outputs."""
    with backend.model("mixed", models / "attentive", ATTENTIVE.replace("300000", "2000")) as name:
        generator = np.random.default_rng(5)

        def ask(number: int) -> bool:
            length = int(generator.integers(1, 600))
            ids = np.ones((2, length), np.int32)
            wanted = (["total"], ["longest", "total"])[number % 2]
            if number % 10 == 0:
                ids[0, 0] = -7  # the model refuses negative ids
            try:
                answer = backend.infer(name, outputs=wanted, ids=ids)
            except InvalidRequest:
                return number % 10 == 0
            return number % 10 != 0 and answer["total"].tolist() == [[length]] * 2 and sorted(answer) == wanted

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(ask, range(400)))


def test_a_value_beyond_max_value_is_refused_before_the_model_sees_it(backend: BackendServer, models: Path) -> None:
    config = TENSORFLOW + "max_batch_size: 8\n" + RAGGED + tensor("output", "total", "FP32", "2")
    config += 'parameters { key: "MAX_VALUE" value { string_value: "9" } }\n'
    with backend.model("max_value", models / "sums", config) as name:
        for value in (10, -1):
            with pytest.raises(InvalidRequest, match=rf"input 'ids' holds {value}; expected 0 to 9"):
                backend.infer(name, ids=np.full((1, 2), value, np.int32))
        assert backend.infer(name, ids=np.full((1, 2), 9, np.int32))["total"].tolist() == [[36, 38]]


def test_a_model_with_state_is_not_run_again_when_it_refuses(backend: BackendServer, models: Path) -> None:
    config = TENSORFLOW + "max_batch_size: 8\n" + SLOW_BATCH
    with backend.model("counter", models / "counter", config) as name:
        answers = at_once(backend, name, [{"x": np.full((1, 1), value, np.int32)} for value in (1, 99)])
        assert all(isinstance(answer, InvalidRequest) for answer in answers)
        count = backend.infer(name, x=np.zeros((1, 1), np.int32))["count"].item()
        assert count <= 2, "the batch that was refused was run again"


# -- parameters -----------------------------------------------------------------------------------------------------


def parameter(name: str, value: str) -> str:
    return f'parameters {{ key: "{name}" value {{ string_value: "{value}" }} }}\n'


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("TF_NUM_INTRA_THREADS", "-1", "a whole number from 0"),
        ("TF_NUM_INTER_THREADS", "two", "a whole number from 0"),
        ("TF_USE_PER_SESSION_THREADS", "yes", "one of ['true', 'on', '1', 'false', 'off', '0']"),
        ("MAX_SESSION_SHARE_COUNT", "0", "a whole number from 1"),
        ("MAX_VALUE", "-5", "a whole number from 0"),
        ("TF_GRAPH_TAG", " ", "a name"),
    ],
)
def test_a_bad_parameter_is_a_load_error(
    backend: BackendServer, models: Path, name: str, value: str, expected: str
) -> None:
    text = backend.refusal("parameter", models / "doubled", TENSORFLOW + parameter(name, value))
    assert f"parameter {name} is '{value}'; expected {expected}" in text


def test_a_pad_value_of_another_type_is_a_load_error(backend: BackendServer, models: Path) -> None:
    config = TENSORFLOW + "max_batch_size: 8\n" + RAGGED + tensor("output", "total", "FP32", "2")
    text = backend.refusal("pad", models / "sums", config + parameter("PAD_VALUE.ids", "x"))
    assert "parameter PAD_VALUE.ids is 'x'; expected a TYPE_INT32 for input 'ids'" in text
    text = backend.refusal("pad", models / "sums", config + parameter("PAD_VALUE.mask", "0"))
    assert "parameter PAD_VALUE.mask: expected one of the padded inputs ['ids']" in text


def test_what_has_no_effect_is_warned_about_and_what_has_is_told(backend: BackendServer, models: Path) -> None:
    config = (
        TENSORFLOW
        + parameter("TF_NUM_INTRA_THREADS", "1")
        + parameter("TF_NUM_INTER_THREADS", "2")
        + parameter("TF_USE_PER_SESSION_THREADS", "on")
        + parameter("MAX_SESSION_SHARE_COUNT", "2")
        + parameter("MY_OWN", "x")
        + "optimization { graph { level: 1 } execution_accelerators { "
        + "".join(
            f'gpu_execution_accelerator {{ name: "{name}" }} '
            for name in ("tensorrt", "gpu_io", "auto_mixed_precision")
        )
        + "} }\n"
    )
    with backend.model("told", models / "dense", config) as name:
        for _ in range(4):
            answer = backend.infer(name, x=[[1, 0, 0, 0]])
        assert answer["y"].tolist() == [[1, 2, 3, 4]]
        log = backend.log(name)
        assert "MAX_SESSION_SHARE_COUNT = 2 has no effect" in log
        assert "parameters ['MY_OWN'] are unknown" in log
        assert "accelerator 'tensorrt' has no effect" in log
        assert "accelerator 'gpu_io' has no effect on outputs" in log
        assert "signature 'serving_default' x FP32 [-1,4] -> y FP32 [-1,4]" in log
        assert "loader TensorFlow 2, precision mixed, threads 1 intra, 2 inter, calls at once 1, device CPU" in log
        assert backend.log(None, "Compiled cluster using XLA")


@pytest.mark.parametrize(
    ("accelerator", "expected"),
    [
        ('gpu_execution_accelerator { name: "warp" }', "unknown gpu_execution_accelerator 'warp'"),
        ('cpu_execution_accelerator { name: "warp" }', "cpu_execution_accelerator is ['warp']; expected ['openvino']"),
    ],
)
def test_an_unknown_accelerator_is_a_load_error(
    backend: BackendServer, models: Path, accelerator: str, expected: str
) -> None:
    config = TENSORFLOW + f"optimization {{ execution_accelerators {{ {accelerator} }} }}\n"
    assert expected in backend.refusal("accelerator", models / "doubled", config)


def test_initial_operations_run_after_loading(backend: BackendServer, models: Path) -> None:
    config = TENSORFLOW + parameter("TF_INIT_OPS_FILE", "init_ops.json")
    assert "expected a JSON file" in backend.refusal("init_ops", models / "defaults", config)
    folder = backend.server.model_repository / "init_ops"
    (folder / "1").mkdir(parents=True)
    (folder / "init_ops.json").write_text('{"init_ops": ["nobody"]}', encoding="utf-8")
    (folder / "1" / "init_ops.json").write_text('{"init_ops": ["set_offset"]}', encoding="utf-8")
    with backend.model("init_ops", models / "defaults", config) as name:  # the version folder's file comes first
        assert backend.infer(name, x=[[1, 2]], scale=[[1]])["y"].tolist() == [[101, 102]]
    folder.mkdir()
    (folder / "init_ops.json").write_text('{"init_ops": ["nobody"]}', encoding="utf-8")
    assert "operation 'nobody' fails" in backend.refusal("init_ops", models / "defaults", config)


def test_a_library_of_custom_operations_is_loaded_first(backend: BackendServer, models: Path) -> None:
    library = parity_models.operation_library()
    config = TENSORFLOW + f'model_operations {{ op_library_filename: "{library}" }}\n'
    with backend.model("custom", models / "custom_operation", config) as name:
        words = np.array([[b"STRASSE"]], object)
        assert backend.infer(name, words=words)["y"].tolist() == [[b"strasse"]]


def test_a_library_that_does_not_load_is_a_load_error(backend: BackendServer, models: Path) -> None:
    config = TENSORFLOW + 'model_operations { op_library_filename: "/no/such/library.so" }\n'
    text = backend.refusal("library", models / "doubled", config)
    assert "cannot load the operation library '/no/such/library.so'" in text


def test_warm_up_runs_when_the_model_is_loaded(backend: BackendServer, models: Path) -> None:
    sample = 'inputs { key: "x" value { data_type: TYPE_INT32 dims: 1 zero_data: true } }'
    config = TENSORFLOW + f'model_warmup {{ name: "first" batch_size: 1 count: 3 {sample} }}\n'
    with backend.model("warm", models / "counter", config) as name:
        assert backend.infer(name, x=np.zeros((1, 1), np.int32))["count"].item() == 4


def test_an_instance_of_kind_model_serves(backend: BackendServer, models: Path) -> None:
    config = TENSORFLOW + "instance_group { kind: KIND_MODEL count: 1 }\n"
    with backend.model("kind_model", models / "doubled", config) as name:
        assert backend.infer(name, x=[[1, 2, 3]])["y"].tolist() == [[2, 4, 6]]


# -- autofill -------------------------------------------------------------------------------------------------------


def test_a_bare_model_gets_batching_and_a_given_batch_size_stays(backend: BackendServer, models: Path) -> None:
    with backend.model("bare8", models / "doubled", TENSORFLOW + "max_batch_size: 8\n") as name:
        config = backend.client.get_model_config(name)
        assert (config["max_batch_size"], "dynamic_batching" in config) == (8, True)


def test_a_model_without_an_open_first_axis_is_not_batched(backend: BackendServer, models: Path) -> None:
    with backend.model("fixed", models / "fixed", TENSORFLOW) as name:
        config = backend.client.get_model_config(name)
        assert (config.get("max_batch_size", 0), "dynamic_batching" in config) == (0, False)
        assert backend.infer(name, x=np.zeros((4, 2), np.float32))["y"].tolist() == [[1, 1]] * 4
    text = backend.refusal("fixed8", models / "fixed", TENSORFLOW + "max_batch_size: 8\n")
    assert "max_batch_size is 8" in text
    assert "expected an open first axis of every input and output" in text


def test_an_input_that_the_config_leaves_out_is_added(backend: BackendServer, models: Path) -> None:
    config = TENSORFLOW + "max_batch_size: 4\n" + tensor("input", "scale", "FP32", "1", "reshape { }")
    with backend.model("merged", models / "defaults", config) as name:
        found = backend.client.get_model_config(name)
        assert sorted(entry["name"] for entry in found["input"]) == ["scale", "x"]
        assert backend.infer(name, x=[[1, 2]], scale=[[2]])["y"].tolist() == [[2, 4]]


def test_a_subset_of_outputs_may_be_configured(backend: BackendServer, models: Path) -> None:
    config = TENSORFLOW + "max_batch_size: 4\n" + tensor("output", "int8_out", "INT8", "2")
    with backend.model("subset", models / "dtypes", config) as name:
        assert [entry["name"] for entry in backend.client.get_model_config(name)["output"]] == ["int8_out"]


def test_a_scalar_input_needs_dims(backend: BackendServer, models: Path) -> None:
    assert "input 'x' has rank 0 in the model" in backend.refusal("rank0", models / "rank0", TENSORFLOW)


def test_contradicting_dims_are_a_load_error(backend: BackendServer, models: Path) -> None:
    tensors = tensor("input", "x", "FP32", "3") + tensor("output", "y", "FP32", "[ -1, 3 ]")
    config = TENSORFLOW.replace("\n", " ") + tensors
    text = backend.refusal("contradicting", models / "doubled", config)
    assert "some dims in config.pbtxt leave out the batch axis and some have it" in text


def test_an_output_without_a_row_for_each_row_is_told(backend: BackendServer, models: Path) -> None:
    config = (
        TENSORFLOW
        + "max_batch_size: 4\n"
        + tensor("input", "x", "FP32", "[ -1 ]")
        + tensor("output", "y", "FP32", "[ 2 ]")
    )
    text = backend.refusal("no_rows", models / "no_rows", config)
    assert "output 'y': expected [-1]; found [-1, 2] with the batch axis" in text


# -- bad files and disagreements ------------------------------------------------------------------------------------

DOUBLED = TENSORFLOW + "max_batch_size: 4\n"


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        (
            tensor("input", "z", "FP32", "3") + tensor("output", "y", "FP32", "3"),
            "input 'z': expected one of ['x']",
        ),
        (
            tensor("input", "x", "INT32", "3") + tensor("output", "y", "FP32", "3"),
            "input 'x': expected TYPE_FP32; found TYPE_INT32",
        ),
        (
            tensor("input", "x", "FP32", "4") + tensor("output", "y", "FP32", "[ -1 ]"),
            "output 'y': expected [-1, 3]; found [-1, -1] with the batch axis",
        ),
    ],
    ids=["name", "data type", "dims"],
)
def test_config_and_signature_that_disagree_are_a_load_error(
    backend: BackendServer, models: Path, tensors: str, expected: str
) -> None:
    assert expected in backend.refusal("disagree", models / "doubled", DOUBLED + tensors)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ("missing", "no SavedModel at"),
        ("empty", "holds no graph (0 bytes)"),
        ("truncated", "is no SavedModel, or a truncated one"),
        ("variables", "cannot load the SavedModel"),
        ("signature", "has no signature 'gone' (TF_SIGNATURE_DEF); it has ['serving_default']"),
        ("tag", "has no graph tagged ['gone'] (TF_GRAPH_TAG); it has [['serve']]"),
    ],
)
def test_a_damaged_model_fails_alone_and_loads_when_mended(
    backend: BackendServer, models: Path, tmp_path: Path, damage: str, expected: str
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(models / "dense", broken)
    graph = broken / "saved_model.pb"
    config = TENSORFLOW
    if damage == "missing":
        graph.unlink()
    elif damage == "empty":
        graph.write_bytes(b"")
    elif damage == "truncated":
        graph.write_bytes(graph.read_bytes()[:100])
    elif damage == "variables":
        shutil.rmtree(broken / "variables")
    else:
        config += parameter("TF_SIGNATURE_DEF" if damage == "signature" else "TF_GRAPH_TAG", "gone")
    assert expected in backend.refusal("damaged", broken, config)
    assert backend.client.infer_tensors("identity", {"x": np.array([[b"a"]], object)})["y"].tolist() == [[b"a"]]
    if damage == "truncated":
        with backend.model("damaged", models / "dense", TENSORFLOW) as name:
            assert backend.infer(name, x=[[0, 0, 0, 0]])["y"].tolist() == [[1, 1, 1, 1]]


def test_two_instances_of_one_model_serve(backend: BackendServer, models: Path) -> None:
    config = TENSORFLOW + ONE_INSTANCE.replace("1", "2")
    with backend.model("two", models / "doubled", config) as name:
        answers = at_once(backend, name, [{"x": [[value, 0, 0]]} for value in range(4)])
        assert [answer["y"].tolist() for answer in answers] == [[[2.0 * value, 0, 0]] for value in range(4)]


# -- metrics --------------------------------------------------------------------------------------------------------


def test_the_backends_counts_are_on_the_metrics_page(backend: BackendServer, models: Path) -> None:
    config = TENSORFLOW + "max_batch_size: 8\n" + SLOW_BATCH + RAGGED + tensor("output", "total", "FP32", "2")
    with backend.model("metrics", models / "sums", config) as name:
        at_once(backend, name, [{"ids": np.full((1, length), 1, np.int32)} for length in (1, 3)])
        at_once(backend, name, [{"ids": np.full((1, 2), value, np.int32)} for value in (1, 99)])
        assert wait_for_metric(backend, "tf_batch_retries", name) == 1
        assert backend.metric("tf_calls", name) >= 3
        assert backend.metric("tf_call_seconds", name) > 0
        assert wait_for_metric(backend, "tf_requests_refused", name) == 1
        assert backend.metric("tf_batch_elements", name) >= 4


# -- SavedModels as users have them ---------------------------------------------------------------------------------


def test_prices_of_tensorflow_1_with_tags_tables_and_assets(backend: BackendServer, made: Path) -> None:
    """Two tags, two signatures, a table made from an asset: only the tag and signature named are served."""
    folder = made / "prices" / "1" / "model.savedmodel"
    fruit = np.array([[b"apple"], [b"plum"], [b"stone"]], object)
    with backend.model("prices", folder, TENSORFLOW) as name:
        answer = backend.infer(name, fruit=fruit)
        assert (answer["id"].tolist(), answer["price"].tolist()) == ([[0], [2], [3]], [[1.5], [0.25], [0]])
        assert "loader TensorFlow 1" in backend.log(name)
    with backend.model("sale", folder, TENSORFLOW + parameter("TF_GRAPH_TAG", "sale")) as name:
        assert backend.infer(name, fruit=fruit)["price"].tolist() == [[0.75], [0.125], [0]]
    with backend.model("names", folder, TENSORFLOW + parameter("TF_SIGNATURE_DEF", "names")) as name:
        assert backend.infer(name, id=np.array([[1], [7]]))["fruit"].tolist() == [[b"pear"], [b"UNKNOWN"]]


def test_guesslang_an_estimators_export(backend: BackendServer, tmp_path: Path) -> None:
    folder = real_models.write_guesslang(tmp_path)
    text = b"import os\n\ndef main(path):\n    with open(path) as lines:\n        return sum(1 for _ in lines)\n"
    with backend.model("guesslang", folder, TENSORFLOW + parameter("TF_SIGNATURE_DEF", "predict")) as name:
        answer = backend.infer(name, outputs=["classes"], content=np.array([[text], [text]], object))
        assert answer["classes"].tolist() == [[b"py"], [b"py"]]


def test_basic_pitch_which_only_the_session_loads(backend: BackendServer, tmp_path: Path) -> None:
    folder = real_models.write_basic_pitch(tmp_path)
    with backend.model("basic_pitch", folder, TENSORFLOW) as name:
        sound = np.concatenate([real_models.sine(440.0), real_models.sine(261.6256)])
        note = backend.infer(name, outputs=["note"], input_2=sound)["note"]
        keys = [real_models.piano_key(440.0), real_models.piano_key(261.6256)]
        assert note[:, 20:-20].mean(1).argmax(1).tolist() == keys
        assert "loader TensorFlow 1" in backend.log(name)


def test_dgaintel_a_keras_2_lstm(backend: BackendServer, tmp_path: Path) -> None:
    folder = real_models.write_dgaintel(tmp_path)
    with backend.model("dgaintel", folder, TENSORFLOW) as name:
        codes = real_models.domain_codes("microsoft.com", "hsfkjdshfjasdhfk.com")
        made_up = backend.infer(name, domain_input=codes)["dense_4"] > 0.5
        assert made_up.tolist() == [[False], [True]]


def test_a_keras_3_export(backend: BackendServer, made: Path) -> None:
    with backend.model("keras3", made / "keras3" / "1" / "model.savedmodel", TENSORFLOW) as name:
        answer = backend.infer(name, left=[[1, 2], [0, 0]], right=[[3], [0]])
        np.testing.assert_allclose(answer["total"], [[14.5], [0.5]], rtol=1e-6)
