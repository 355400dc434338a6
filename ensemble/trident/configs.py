"""The four config.pbtxt of a service, made with Triton's own protobuf.

Source: triton-inference-server/common r24.10, protobuf/model_config.proto.
"""

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from trident.service import STEPS, Serving, Spec

HEADER = "# Written by `trident build` from service.toml; change that and build again.\n"


def render(spec: Spec, classes: int, version: int, kept: list[int], *, ragged: bool) -> dict[str, str]:
    """The text of each config.pbtxt.

    Args:
        spec: the service.
        classes: number of labels.
        version: the version that the ensemble pins its steps to.
        kept: all versions that are to be loaded; named, so that one that a killed build left does not count.
        ragged: whether texts of different lengths may be padded to share a batch.

    Returns:
        Model name → text, the ensemble last.
    """
    messages = [_preprocess(spec), _model(spec, classes, ragged), _postprocess(spec, classes), _ensemble(spec, version)]
    for message in messages[:-1]:
        message.version_policy.specific.versions.extend(kept)
    return {message.name: HEADER + text_format.MessageToString(message) for message in messages}


def is_ensemble_of(text: str, name: str) -> bool:
    """Whether a config.pbtxt is the ensemble that a service of this name builds."""
    try:
        message = text_format.Parse(text, pb.ModelConfig())
    except text_format.ParseError:
        return False
    return [step.model_name for step in message.ensemble_scheduling.step] == [f"{name}_{step}" for step in STEPS]


def _preprocess(spec: Spec) -> pb.ModelConfig:
    message = pb.ModelConfig(name=f"{spec.name}_preprocess", backend="python")
    message.input.add(name="text", data_type=pb.TYPE_STRING, dims=[1])
    message.output.add(name="input_ids", data_type=pb.TYPE_INT32, dims=[-1])
    message.instance_group.add(kind=pb.ModelInstanceGroup.KIND_CPU, count=spec.serving.preprocess_instances)
    _schedule(message, spec.serving)
    _limit_queue(message, spec.serving)
    return message


def _model(spec: Spec, classes: int, ragged: bool) -> pb.ModelConfig:
    message = pb.ModelConfig(name=f"{spec.name}_model", backend="tensorflow")
    # Ragged: requests of different lengths share a batch; the backend pads them to the longest in it.
    message.input.add(name="input_ids", data_type=pb.TYPE_INT32, dims=[-1], allow_ragged_batch=ragged)
    message.output.add(name="logits", data_type=pb.TYPE_FP32, dims=[classes])
    message.instance_group.add(kind=pb.ModelInstanceGroup.KIND_AUTO, count=spec.serving.model_instances)
    message.parameters["TF_NUM_INTRA_THREADS"].string_value = str(spec.serving.threads)
    _schedule(message, spec.serving)
    _limit_queue(message, spec.serving)
    warmup = message.model_warmup.add(name="first call", batch_size=1)
    warmup.inputs["input_ids"].CopyFrom(pb.ModelWarmup.Input(data_type=pb.TYPE_INT32, dims=[8], zero_data=True))
    return message


def _postprocess(spec: Spec, classes: int) -> pb.ModelConfig:
    message = pb.ModelConfig(name=f"{spec.name}_postprocess", backend="python")
    message.input.add(name="logits", data_type=pb.TYPE_FP32, dims=[classes])
    message.output.add(name="label", data_type=pb.TYPE_STRING, dims=[-1])
    message.output.add(name="score", data_type=pb.TYPE_FP32, dims=[-1])
    message.instance_group.add(kind=pb.ModelInstanceGroup.KIND_CPU, count=spec.serving.postprocess_instances)
    _schedule(message, spec.serving)  # no queue limit: to refuse here would waste the model's work
    return message


def _ensemble(spec: Spec, version: int) -> pb.ModelConfig:
    message = pb.ModelConfig(name=spec.name, platform="ensemble", max_batch_size=spec.serving.max_batch_size)
    message.version_policy.specific.versions.append(version)
    message.input.add(name="text", data_type=pb.TYPE_STRING, dims=[1])
    message.output.add(name="label", data_type=pb.TYPE_STRING, dims=[-1])
    message.output.add(name="score", data_type=pb.TYPE_FP32, dims=[-1])
    flows = ({"text": "text"}, {"input_ids": "input_ids"}, {"logits": "logits"})
    results = ({"input_ids": "input_ids"}, {"logits": "logits"}, {"label": "label", "score": "score"})
    for step, inputs, outputs in zip(STEPS, flows, results, strict=True):
        # Pinned, so that a tokenizer never meets another version's model.
        entry = message.ensemble_scheduling.step.add(model_name=f"{spec.name}_{step}", model_version=version)
        entry.input_map.update(inputs)
        entry.output_map.update(outputs)
    return message


def _schedule(message: pb.ModelConfig, serving: Serving) -> None:
    message.max_batch_size = serving.max_batch_size
    message.dynamic_batching.max_queue_delay_microseconds = round(serving.queue_delay_ms * 1000)


def _limit_queue(message: pb.ModelConfig, serving: Serving) -> None:
    policy = message.dynamic_batching.default_queue_policy
    policy.max_queue_size = serving.max_queue_size
    policy.default_timeout_microseconds = round(serving.queue_timeout_ms * 1000)
    policy.timeout_action = pb.ModelQueuePolicy.REJECT
