"""The four config.pbtxt say what Triton is to do; they are read back with Triton's own protobuf."""

from typing import Any

import pytest
from google.protobuf import text_format
from trident.configs import HEADER, is_ensemble_of, render
from trident.service import Serving, Spec
from tritonclient.grpc import model_config_pb2 as pb

KEPT = [6, 7]
STEPS = ["spam_preprocess", "spam_model", "spam_postprocess"]


def rendered(version: int = 1, **serving: Any) -> dict[str, Any]:
    """Model name → ModelConfig."""
    spec = Spec(name="spam", task="text-classification", serving=Serving(**serving))
    texts = render(spec, 3, version, KEPT, ragged=True)
    return {name: text_format.Parse(text, pb.ModelConfig()) for name, text in texts.items()}


def tensors(entries: Any) -> list[tuple[str, str, list[int]]]:
    return [(entry.name, pb.DataType.Name(entry.data_type), list(entry.dims)) for entry in entries]


def test_there_are_three_steps_and_the_ensemble_last() -> None:
    configs = rendered()
    assert list(configs) == [*STEPS, "spam"]
    assert [config.name for config in configs.values()] == [*STEPS, "spam"]


def test_each_text_says_where_it_comes_from() -> None:
    texts = render(Spec(name="spam", task="text-classification"), 2, 1, [1], ragged=True).values()
    assert all(text.startswith(HEADER) for text in texts)
    assert HEADER.startswith("# Written by `trident build` from service.toml;")


@pytest.mark.parametrize(
    ("model", "runs_on", "inputs", "outputs"),
    [
        ("spam_preprocess", "python", [("text", "TYPE_STRING", [1])], [("input_ids", "TYPE_INT32", [-1])]),
        ("spam_model", "tensorflow", [("input_ids", "TYPE_INT32", [-1])], [("logits", "TYPE_FP32", [3])]),
        (
            "spam_postprocess",
            "python",
            [("logits", "TYPE_FP32", [3])],
            [("label", "TYPE_STRING", [-1]), ("score", "TYPE_FP32", [-1])],
        ),
        (
            "spam",
            "ensemble",
            [("text", "TYPE_STRING", [1])],
            [("label", "TYPE_STRING", [-1]), ("score", "TYPE_FP32", [-1])],
        ),
    ],
)
def test_backends_and_tensors(model: str, runs_on: str, inputs: list[object], outputs: list[object]) -> None:
    config = rendered()[model]
    assert (config.backend or config.platform) == runs_on
    assert tensors(config.input) == inputs
    assert tensors(config.output) == outputs


def test_the_ensemble_pins_every_step_to_its_version() -> None:
    ensemble = rendered(version=7)["spam"]
    steps = ensemble.ensemble_scheduling.step
    assert [(step.model_name, step.model_version) for step in steps] == [(step, 7) for step in STEPS]
    assert list(ensemble.version_policy.specific.versions) == [7]


def test_the_ensemble_hands_each_steps_outputs_to_the_next() -> None:
    steps = rendered()["spam"].ensemble_scheduling.step
    assert [(dict(step.input_map), dict(step.output_map)) for step in steps] == [
        ({"text": "text"}, {"input_ids": "input_ids"}),
        ({"input_ids": "input_ids"}, {"logits": "logits"}),
        ({"logits": "logits"}, {"label": "label", "score": "score"}),
    ]


def test_only_the_model_takes_ragged_batches() -> None:
    configs = rendered()
    assert [config.input[0].allow_ragged_batch for config in configs.values()] == [False, True, False, False]


@pytest.mark.parametrize("model", STEPS)
def test_steps_batch_and_keep_versions_as_told(model: str) -> None:
    config = rendered(max_batch_size=16, queue_delay_ms=1.5)[model]
    assert config.max_batch_size == 16
    assert config.dynamic_batching.max_queue_delay_microseconds == 1500
    assert list(config.version_policy.specific.versions) == KEPT


def test_the_ensemble_batches_as_its_steps_do() -> None:
    assert rendered(max_batch_size=16)["spam"].max_batch_size == 16


@pytest.mark.parametrize(("queue_timeout_ms", "microseconds"), [(0.0, 0), (0.25, 250), (10_000.0, 10_000_000)])
@pytest.mark.parametrize("model", ["spam_preprocess", "spam_model"])
def test_queues_are_limited_in_length_and_time(model: str, queue_timeout_ms: float, microseconds: int) -> None:
    config = rendered(max_queue_size=5, queue_timeout_ms=queue_timeout_ms)[model]
    policy = config.dynamic_batching.default_queue_policy
    assert (policy.max_queue_size, policy.default_timeout_microseconds) == (5, microseconds)
    assert policy.timeout_action == pb.ModelQueuePolicy.REJECT


def test_work_that_is_done_is_not_refused_by_the_last_step() -> None:
    assert not rendered()["spam_postprocess"].dynamic_batching.HasField("default_queue_policy")


def test_each_step_has_its_own_number_of_instances() -> None:
    configs = rendered(preprocess_instances=2, model_instances=3, postprocess_instances=4)
    groups = [configs[step].instance_group[0] for step in STEPS]
    kinds = [pb.ModelInstanceGroup.Kind.Name(group.kind) for group in groups]
    assert [group.count for group in groups] == [2, 3, 4]
    assert kinds == ["KIND_CPU", "KIND_AUTO", "KIND_CPU"]


def test_threads_go_to_tensorflow() -> None:
    assert rendered(threads=4)["spam_model"].parameters["TF_NUM_INTRA_THREADS"].string_value == "4"


def test_the_model_is_warmed_up_with_one_text() -> None:
    (warmup,) = rendered()["spam_model"].model_warmup
    entry = warmup.inputs["input_ids"]
    assert (warmup.batch_size, entry.data_type, list(entry.dims), entry.zero_data) == (1, pb.TYPE_INT32, [8], True)


def test_our_own_ensemble_is_known() -> None:
    spec = Spec(name="spam", task="text-classification")
    assert is_ensemble_of(render(spec, 2, 4, [3, 4], ragged=True)["spam"], "spam")


@pytest.mark.parametrize(
    "text",
    ["", 'name: "spam" backend: "python"', "not a config", 'ensemble_scheduling { step { model_name: "spam_model" } }'],
)
def test_other_models_are_not_ours(text: str) -> None:
    assert not is_ensemble_of(text, "spam")


def test_another_services_ensemble_is_not_ours() -> None:
    spec = Spec(name="spam", task="text-classification")
    assert not is_ensemble_of(render(spec, 2, 1, [1], ragged=True)["spam"], "ham")
