"""The config.pbtxt of a service's models and of its ensemble, made with Triton's own protobuf.

Source: triton-inference-server/common r24.10, protobuf/model_config.proto.
"""

from collections.abc import Iterable
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from trident.layout import Stage, Tensor
from trident.ownership import HANG_PARAMETER, HEADER
from trident.pipeline import Pipeline
from trident.probing import has_lengths, pad_values
from trident.service import STEPS, Service, Serving, Spec

WARM_LENGTH = 8  # tokens of the first call
# At once, of TensorFlow with texts: two of one thread did more than one of two at every load, and answered a lone text
# sooner, as long as it was short (README, "Beside other servers"). OpenVINO does as much with one.
PARALLEL_CALLS = 2


def render(service: Service, pipeline: Pipeline, version: int, kept: list[int], *, ragged: bool) -> dict[str, str]:
    """The text of each config.pbtxt.

    Args:
        service: the service folder.
        pipeline: what it consists of.
        version: the version that the ensemble pins its steps to.
        kept: all versions that are to be loaded; named, so that one that a killed build left does not count.
        ragged: whether texts of different lengths may be padded to share a batch; if not, a request carries one.

    Returns:
        Model name → text, the ensemble last.
    """
    spec = service.spec
    makers = {
        "preprocess": lambda: _stage(spec, pipeline, "preprocess", pipeline.preprocess),
        "model": lambda: _model(service, pipeline, ragged),
        "postprocess": lambda: _stage(spec, pipeline, "postprocess", pipeline.postprocess),
    }
    messages = [makers[step]() for step in pipeline.steps]
    for message in messages:
        message.version_policy.specific.versions.extend(kept)
    lone = has_lengths(service, pipeline) and not ragged
    messages.append(_ensemble(spec, pipeline, version, lone=lone))
    return {message.name: HEADER + text_format.MessageToString(message) for message in messages}


def is_ensemble_of(text: str, name: str) -> bool:
    """Whether a config.pbtxt is the ensemble that a service of this name builds."""
    try:
        message = text_format.Parse(text, pb.ModelConfig())
    except text_format.ParseError:
        return False
    steps = [step.model_name for step in message.ensemble_scheduling.step]
    return bool(steps) and set(steps) <= {f"{name}_{step}" for step in STEPS}


def _stage(spec: Spec, pipeline: Pipeline, step: str, stage: Stage | None) -> pb.ModelConfig:
    message = pb.ModelConfig(name=f"{spec.name}_{step}", backend="python")
    if stage is None:
        return message
    first = step == "preprocess"
    message.max_batch_size = pipeline.model.max_batch_size
    for tensor in stage.inputs:
        entry = _add(message.input, tensor)
        # A stage answers each request by itself, so requests need not have the same shape to be handed over together.
        entry.allow_ragged_batch = bool(message.max_batch_size) and not first and -1 in tensor.dims
    for tensor in stage.outputs:
        _add(message.output, tensor)
    count = spec.serving.preprocess_instances if first else spec.serving.postprocess_instances
    message.instance_group.add(kind=pb.ModelInstanceGroup.KIND_CPU, count=count)
    if first and spec.serving.max_queue_size:
        # The stage itself limits how many wait for it and for the steps behind it, see stages/gate.py.
        message.parameters["MAX_WAITING"].string_value = str(spec.serving.max_queue_size)
        message.parameters["WAITING_FOR"].string_value = ",".join(f"{spec.name}_{name}" for name in pipeline.steps[1:])
    # Nothing batches callers' own tensors: Triton's Python backend fails all requests that are handed over together if
    # the strings of one are laid out wrong, before the stage sees any.
    # Source: triton-inference-server/python_backend r24.10, src/python_be.cc, SaveRequestsToSharedMemory.
    if message.max_batch_size and not first:
        # No limits: to refuse there would waste the model's work.
        _batch(message, spec.serving)
    return message


def _model(service: Service, pipeline: Pipeline, ragged: bool) -> pb.ModelConfig:
    spec = service.spec
    message = pb.ModelConfig(name=f"{spec.name}_model", backend="tensorflow")
    for own in pipeline.model_inputs.values():
        entry = _add_entry(message.input, pipeline.model.inputs[own])
        # Ragged: requests of different lengths share a batch; the backend pads them to the longest in it.
        entry.allow_ragged_batch = ragged
    for own in pipeline.model_outputs.values():
        _add_entry(message.output, pipeline.model.outputs[own])
    _compute(message, spec.serving)
    if spec.model.signature != "serving_default":
        message.parameters["TF_SIGNATURE_DEF"].string_value = spec.model.signature
    for own, value in pad_values(service, pipeline) if ragged else ():
        if value:
            message.parameters[f"PAD_VALUE.{own}"].string_value = str(value)
    message.max_batch_size = pipeline.model.max_batch_size
    if message.max_batch_size:
        _batch(message, spec.serving)
        _limit(message, spec.serving, pipeline)
    _warm_up(message, service, pipeline)
    return message


def _compute(message: pb.ModelConfig, serving: Serving) -> None:
    """Where the model runs, and with what; the names are those of backends/tensorflow/README.md."""
    on_cpu = serving.accelerator == "openvino"
    kind = pb.ModelInstanceGroup.KIND_CPU if on_cpu else pb.ModelInstanceGroup.KIND_AUTO
    message.instance_group.add(kind=kind, count=serving.model_instances)
    calls = serving.parallel_calls or (1 if serving.accelerator else PARALLEL_CALLS)
    message.parameters["PARALLEL_CALLS"].string_value = str(calls)
    accelerators = message.optimization.execution_accelerators
    if on_cpu:
        added = accelerators.cpu_execution_accelerator.add(name="openvino")
        added.parameters["PRECISION"] = serving.precision
        added.parameters["NUM_THREADS"] = str(serving.threads)
        return
    message.parameters["TF_NUM_INTRA_THREADS"].string_value = str(serving.threads)
    if serving.precision == "bf16":
        accelerators.gpu_execution_accelerator.add(name="auto_mixed_precision")  # on CPUs, too
    if serving.accelerator == "xla":
        message.optimization.graph.level = 1


def _warm_up(message: pb.ModelConfig, service: Service, pipeline: Pipeline) -> None:
    """The first call, which is slow, before the model is ready; not for a model whose open axes nobody knows."""
    entries = [pipeline.model.inputs[own] for own in pipeline.model_inputs.values()]
    sizes = [int(size) for entry in entries for size in entry["dims"]]
    if not pipeline.model.max_batch_size or (-1 in sizes and not has_lengths(service, pipeline)):
        return
    if any(entry["data_type"] == "TYPE_STRING" for entry in entries):
        return
    warmup = message.model_warmup.add(name="first call", batch_size=1)
    for entry in entries:
        dims = [WARM_LENGTH if int(size) == -1 else int(size) for size in entry["dims"]]
        made = pb.ModelWarmup.Input(data_type=pb.DataType.Value(entry["data_type"]), dims=dims, zero_data=True)
        warmup.inputs[entry["name"]].CopyFrom(made)


def _ensemble(spec: Spec, pipeline: Pipeline, version: int, *, lone: bool) -> pb.ModelConfig:
    size = pipeline.model.max_batch_size
    # Texts of one request are padded to the longest of them, which a model must bear.
    message = pb.ModelConfig(name=spec.name, platform="ensemble", max_batch_size=min(size, 1) if lone else size)
    message.version_policy.specific.versions.append(version)
    message.parameters[HANG_PARAMETER].string_value = f"{spec.serving.hang_timeout_s:g}"
    for tensor in pipeline.inputs:
        _add(message.input, tensor)
    for tensor in pipeline.outputs:
        _add(message.output, tensor)
    maps = {
        "preprocess": _same_names(pipeline.preprocess),
        "model": (_swapped(pipeline.model_inputs), _swapped(pipeline.model_outputs)),
        "postprocess": _same_names(pipeline.postprocess),
    }
    for step in pipeline.steps:
        # Pinned, so that a tokenizer never meets another version's model.
        entry = message.ensemble_scheduling.step.add(model_name=f"{spec.name}_{step}", model_version=version)
        inputs, outputs = maps[step]
        entry.input_map.update(inputs)
        entry.output_map.update(outputs)
    return message


def _same_names(stage: Stage | None) -> tuple[dict[str, str], dict[str, str]]:
    if stage is None:
        return {}, {}
    return {tensor.name: tensor.name for tensor in stage.inputs}, {tensor.name: tensor.name for tensor in stage.outputs}


def _swapped(names: dict[str, str]) -> dict[str, str]:
    return {own: name for name, own in names.items()}


def _add(entries: Any, tensor: Tensor) -> Any:
    return entries.add(name=tensor.name, data_type=pb.DataType.Value(tensor.data_type), dims=tensor.dims)


def _add_entry(entries: Any, entry: dict[str, Any]) -> Any:
    added = entries.add(name=entry["name"], data_type=pb.DataType.Value(entry["data_type"]), dims=_sizes(entry["dims"]))
    if entry.get("reshape") is not None:
        added.reshape.SetInParent()
        added.reshape.shape.extend(_sizes(entry["reshape"].get("shape", [])))
    return added


def _sizes(dims: Iterable[Any]) -> list[int]:
    return [int(size) for size in dims]


def _batch(message: pb.ModelConfig, serving: Serving) -> None:
    batching = message.dynamic_batching
    batching.max_queue_delay_microseconds = round(serving.queue_delay_ms * 1000)
    if serving.priority_levels:
        batching.priority_levels = serving.priority_levels
        batching.default_priority_level = serving.priority_levels


def _limit(message: pb.ModelConfig, serving: Serving, pipeline: Pipeline) -> None:
    if serving.queue_timeout_ms:
        policy = message.dynamic_batching.default_queue_policy
        policy.default_timeout_microseconds = round(serving.queue_timeout_ms * 1000)
        policy.timeout_action = pb.ModelQueuePolicy.REJECT
    if pipeline.preprocess is None and serving.max_queue_size:  # nobody stands before the model
        message.dynamic_batching.default_queue_policy.max_queue_size = serving.max_queue_size
