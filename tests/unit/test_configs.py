"""The four config.pbtxt say what Triton is to do; they are read back with Triton's own protobuf."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format, text_format
from trident.configs import is_ensemble_of, render
from trident.ownership import HEADER
from trident.pipeline import design
from trident.service import Service, load_service
from triton_tensorflow.settings import OpenVino, read_settings
from tritonclient.grpc import model_config_pb2 as pb

KEPT = [6, 7]
STEPS = ["spam_preprocess", "spam_model", "spam_postprocess"]


Rendered = Callable[..., dict[str, Any]]


def texts_of(service: Service, version: int = 1) -> dict[str, str]:
    return render(service, design(service), version, KEPT, ragged=True)


@pytest.fixture
def rendered(service_folder: Path) -> Rendered:
    """Model name → ModelConfig, for a version and keys of [serving]."""

    def render_with(version: int = 1, **serving: Any) -> dict[str, Any]:
        service = load_service(service_folder)
        spec = service.spec.model_copy(update={"serving": service.spec.serving.model_copy(update=serving)})
        texts = texts_of(replace(service, spec=spec), version)
        return {name: text_format.Parse(text, pb.ModelConfig()) for name, text in texts.items()}

    return render_with


def tensors(entries: Any) -> list[tuple[str, str, list[int]]]:
    return [(entry.name, pb.DataType.Name(entry.data_type), list(entry.dims)) for entry in entries]


def test_there_are_three_steps_and_the_ensemble_last(rendered: Rendered) -> None:
    configs = rendered()
    assert list(configs) == [*STEPS, "spam"]
    assert [config.name for config in configs.values()] == [*STEPS, "spam"]


def test_each_text_says_where_it_comes_from(service_folder: Path) -> None:
    texts = texts_of(load_service(service_folder)).values()
    assert all(text.startswith(HEADER) for text in texts)
    assert HEADER.startswith("# Written by `trident build` from service.toml;")


@pytest.mark.parametrize(
    ("model", "runs_on", "inputs", "outputs"),
    [
        ("spam_preprocess", "python", [("text", "TYPE_STRING", [1])], [("input_ids", "TYPE_INT32", [-1])]),
        ("spam_model", "tensorflow", [("input_ids", "TYPE_INT32", [-1])], [("logits", "TYPE_FP32", [2])]),
        (
            "spam_postprocess",
            "python",
            [("logits", "TYPE_FP32", [2])],
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
def test_backends_and_tensors(
    rendered: Rendered, model: str, runs_on: str, inputs: list[object], outputs: list[object]
) -> None:
    config = rendered()[model]
    assert (config.backend or config.platform) == runs_on
    assert tensors(config.input) == inputs
    assert tensors(config.output) == outputs


def test_the_ensemble_pins_every_step_to_its_version(rendered: Rendered) -> None:
    ensemble = rendered(version=7)["spam"]
    steps = ensemble.ensemble_scheduling.step
    assert [(step.model_name, step.model_version) for step in steps] == [(step, 7) for step in STEPS]
    assert list(ensemble.version_policy.specific.versions) == [7]


def test_the_ensemble_hands_each_steps_outputs_to_the_next(rendered: Rendered) -> None:
    steps = rendered()["spam"].ensemble_scheduling.step
    assert [(dict(step.input_map), dict(step.output_map)) for step in steps] == [
        ({"text": "text"}, {"input_ids": "input_ids"}),
        ({"input_ids": "input_ids"}, {"logits": "logits"}),
        ({"logits": "logits"}, {"label": "label", "score": "score"}),
    ]


def test_only_the_model_takes_ragged_batches(rendered: Rendered) -> None:
    configs = rendered()
    assert [config.input[0].allow_ragged_batch for config in configs.values()] == [False, True, False, False]


@pytest.mark.parametrize("model", STEPS)
def test_steps_batch_and_keep_versions_as_told(rendered: Rendered, model: str) -> None:
    config = rendered(max_batch_size=16, queue_delay_ms=1.5)[model]
    assert config.max_batch_size == 16
    assert list(config.version_policy.specific.versions) == KEPT
    if model == "spam_preprocess":  # see test_strings_that_are_laid_out_wrong_fail_alone
        assert not config.HasField("dynamic_batching")
    else:
        assert config.dynamic_batching.max_queue_delay_microseconds == 1500


def test_the_ensemble_batches_as_its_steps_do(rendered: Rendered) -> None:
    assert rendered(max_batch_size=16)["spam"].max_batch_size == 16


def test_a_time_in_the_queue_is_limited_only_if_told(rendered: Rendered) -> None:
    """A scheduler with a limit prepares no batch ahead, see stages/gate.py."""
    assert not rendered()["spam_model"].dynamic_batching.HasField("default_queue_policy")
    policy = rendered(queue_timeout_ms=0.25)["spam_model"].dynamic_batching.default_queue_policy
    assert (policy.max_queue_size, policy.default_timeout_microseconds) == (0, 250)
    assert policy.timeout_action == pb.ModelQueuePolicy.REJECT


def test_the_first_stage_limits_how_many_wait(rendered: Rendered) -> None:
    def parameters(config: Any) -> dict[str, str]:
        return {key: value.string_value for key, value in config.parameters.items()}

    configs = rendered(max_queue_size=5)
    assert parameters(configs["spam_preprocess"]) == {"MAX_WAITING": "5", "WAITING_FOR": ",".join(STEPS[1:])}
    assert parameters(configs["spam_postprocess"]) == {}
    assert parameters(rendered(max_queue_size=0)["spam_preprocess"]) == {}


def test_requests_have_the_lowest_priority_if_they_name_none(rendered: Rendered) -> None:
    for levels in (0, 3):
        configs = rendered(priority_levels=levels)
        for model in STEPS[1:]:
            batching = configs[model].dynamic_batching
            assert (batching.priority_levels, batching.default_priority_level) == (levels, levels)


def test_work_that_is_done_is_not_refused_by_the_last_step(rendered: Rendered) -> None:
    assert not rendered()["spam_postprocess"].dynamic_batching.HasField("default_queue_policy")


def test_each_step_has_its_own_number_of_instances(rendered: Rendered) -> None:
    configs = rendered(preprocess_instances=2, model_instances=3, postprocess_instances=4)
    groups = [configs[step].instance_group[0] for step in STEPS]
    kinds = [pb.ModelInstanceGroup.Kind.Name(group.kind) for group in groups]
    assert [group.count for group in groups] == [2, 3, 4]
    assert kinds == ["KIND_CPU", "KIND_AUTO", "KIND_CPU"]


def test_threads_go_to_tensorflow(rendered: Rendered) -> None:
    assert rendered(threads=4)["spam_model"].parameters["TF_NUM_INTRA_THREADS"].string_value == "4"


@pytest.mark.parametrize(
    ("serving", "calls", "cores"),
    [
        ({}, 2, 4),
        ({"parallel_calls": 1}, 1, 0),
        ({"parallel_calls": 3, "model_instances": 2}, 3, 1),
        ({"parallel_calls": 100}, 8, 1),
        ({"accelerator": "xla"}, 1, 0),
        ({"accelerator": "openvino"}, 1, 0),
        ({"accelerator": "openvino", "parallel_calls": 2}, 2, 4),
    ],
)
def test_parallel_calls_share_the_cores_of_an_instance(
    rendered: Rendered, monkeypatch: pytest.MonkeyPatch, serving: dict[str, Any], calls: int, cores: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {*range(8)})
    model = rendered(**serving)["spam_model"]
    for kind, expected in (("KIND_CPU", (calls, cores)), ("KIND_GPU", (1, 0))):  # what Triton makes of KIND_AUTO
        model.instance_group[0].kind = pb.ModelInstanceGroup.Kind.Value(kind)
        settings = read_settings(json_format.MessageToDict(model, preserving_proto_field_name=True), {})
        assert (settings.parallel_calls, settings.cores) == expected


def test_what_is_not_ragged_is_one_call(rendered: Rendered) -> None:
    model = rendered(parallel_calls=2)["spam_model"]
    model.instance_group[0].kind = pb.ModelInstanceGroup.KIND_CPU
    model.input[0].allow_ragged_batch = False
    settings = read_settings(json_format.MessageToDict(model, preserving_proto_field_name=True), {})
    assert (settings.parallel_calls, settings.cores) == (1, 0)


def test_openvino_computes_on_the_cpu_with_its_own_threads_and_precision(rendered: Rendered) -> None:
    model = rendered(accelerator="openvino", precision="bf16", threads=2)["spam_model"]
    (accelerator,) = model.optimization.execution_accelerators.cpu_execution_accelerator
    assert (accelerator.name, dict(accelerator.parameters)) == ("openvino", {"PRECISION": "bf16", "NUM_THREADS": "2"})
    assert model.instance_group[0].kind == pb.ModelInstanceGroup.KIND_CPU
    assert "TF_NUM_INTRA_THREADS" not in model.parameters  # without effect there, and the backend says so


def test_xla_and_sixteen_bits_are_asked_of_tensorflow(rendered: Rendered) -> None:
    assert not rendered()["spam_model"].HasField("optimization")
    model = rendered(accelerator="xla", precision="bf16")["spam_model"]
    assert model.optimization.graph.level == 1
    (accelerator,) = model.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "auto_mixed_precision"


def test_the_backend_takes_every_accelerator_and_precision(rendered: Rendered) -> None:
    found = {}
    for accelerator in ("", "openvino", "xla"):
        for precision in ("f32", "bf16"):
            model = rendered(accelerator=accelerator, precision=precision, threads=3)["spam_model"]
            settings = read_settings(json_format.MessageToDict(model, preserving_proto_field_name=True), {})
            assert settings.warnings == []
            found[accelerator, precision] = (settings.openvino, settings.xla_level, settings.mixed_precision)
    assert found == {
        ("", "f32"): (None, 0, False),
        ("", "bf16"): (None, 0, True),
        ("openvino", "f32"): (OpenVino("f32", 3), 0, False),
        ("openvino", "bf16"): (OpenVino("bf16", 3), 0, False),
        ("xla", "f32"): (None, 1, False),
        ("xla", "bf16"): (None, 1, True),
    }


def test_the_model_is_warmed_up_with_one_text(rendered: Rendered) -> None:
    (warmup,) = rendered()["spam_model"].model_warmup
    entry = warmup.inputs["input_ids"]
    assert (warmup.batch_size, entry.data_type, list(entry.dims), entry.zero_data) == (1, pb.TYPE_INT32, [8], True)


def test_our_own_ensemble_is_known(service_folder: Path) -> None:
    assert is_ensemble_of(texts_of(load_service(service_folder))["spam"], "spam")


@pytest.mark.parametrize(
    "text",
    ["", 'name: "spam" backend: "python"', "not a config", 'ensemble_scheduling { step { model_name: "ham_model" } }'],
)
def test_other_models_are_not_ours(text: str) -> None:
    assert not is_ensemble_of(text, "spam")


def test_another_services_ensemble_is_not_ours(service_folder: Path) -> None:
    assert not is_ensemble_of(texts_of(load_service(service_folder))["spam"], "ham")


def test_a_request_carries_one_text_where_padding_changes_answers(service_folder: Path) -> None:
    service = load_service(service_folder)
    sizes = {}
    for ragged in (True, False):
        texts = render(service, design(service), 1, KEPT, ragged=ragged)
        sizes[ragged] = {name: text_format.Parse(text, pb.ModelConfig()).max_batch_size for name, text in texts.items()}
    assert set(sizes[True].values()) == {64}
    assert sizes[False] == sizes[True] | {"spam": 1}
