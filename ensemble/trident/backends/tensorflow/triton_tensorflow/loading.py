"""From Triton's configuration to a model that answers: everything is checked before TensorFlow is imported.

Where the CPU accelerator serves, TensorFlow is not imported at all.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triton_tensorflow import autofill
from triton_tensorflow.engines import Engine, SessionEngine, load_saved_model
from triton_tensorflow.executor import Executor
from triton_tensorflow.first_call import try_warm_up
from triton_tensorflow.graph_def import signature_of_graph
from triton_tensorflow.openvino_engine import OpenVinoEngine, Unsupported
from triton_tensorflow.plan import Plan, make_plan
from triton_tensorflow.settings import Settings, read_settings
from triton_tensorflow.signatures import Signature, TensorSpec, read_graph, read_signature


@dataclass(frozen=True)
class Model:
    """A loaded model.

    Attributes:
        plan: what becomes of requests.
        executor: answers batches.
        summary: one line for the log.
        warnings: for the log.
    """

    plan: Plan
    executor: Executor
    summary: str
    warnings: list[str]


def load(config: dict[str, Any], args: Mapping[str, str], server_options: Mapping[str, str]) -> Model:
    """Load one instance.

    Args:
        config: Triton's `model_config`.
        args: what Triton gives `initialize`.
        server_options: `--backend-config=tensorflow,...`.

    Raises:
        ValueError: what is wrong, what was expected and how to mend it.
    """
    settings = read_settings(config, server_options)
    warnings = list(settings.warnings)
    model_folder = Path(args["model_repository"])
    version_folder = model_folder / args["model_version"]
    init_ops = _read_init_ops(settings.init_ops_file, version_folder, model_folder)
    path = version_folder / _filename(config)
    graph = read_graph(path) if autofill.is_graph_def(config) else None
    if graph is not None:
        signature = signature_of_graph(graph, config)
    else:
        signature = read_signature(path, settings.graph_tag, settings.signature)
    warnings += [signature.note] if signature.note else []
    plan = make_plan(config, signature, settings)
    if settings.pad_values and not any(entry.padded for entry in plan.inputs.values()):
        warnings.append("parameter PAD_VALUE has no effect: no input has allow_ragged_batch and a length axis")

    engine: Engine | None
    engine, found = _accelerated(path, signature, settings, init_ops, args["model_instance_kind"])
    device = "CPU"
    warnings += found
    if engine is None:
        from triton_tensorflow.device import configure_process  # imports TensorFlow

        device, found = configure_process(args["model_instance_kind"], int(args["model_instance_device_id"]), settings)
        warnings += found
        if graph is not None:
            engine = SessionEngine.of_graph(graph, signature, settings, init_ops)
        else:
            engine = load_saved_model(path, signature, settings, init_ops)
    executor = Executor(engine, signature, plan, settings)
    warnings += executor.warnings
    if not (signature.stateful or plan.sequence):
        try_warm_up(config, plan, executor)
    return Model(plan, executor, _summary(signature, settings, engine, device), warnings)


def _accelerated(
    path: Path, signature: Signature, settings: Settings, init_ops: Sequence[str], kind: str
) -> tuple[OpenVinoEngine | None, list[str]]:
    """The CPU accelerator if it is asked for and can serve the model, and warnings."""
    if settings.openvino is None:
        return None, []
    if kind == "GPU":
        return None, ["cpu_execution_accelerator 'openvino' has no effect on an instance of kind GPU"]
    try:
        if init_ops or settings.op_libraries:
            raise Unsupported("TF_INIT_OPS_FILE and model_operations need TensorFlow")
        engine = OpenVinoEngine(path, signature, settings)
    except Unsupported as error:
        return None, [f"cpu_execution_accelerator 'openvino' cannot serve this model, TensorFlow does: {error}"]
    return engine, engine.warnings


def _filename(config: Mapping[str, Any]) -> str:
    default = "model.graphdef" if autofill.is_graph_def(config) else "model.savedmodel"
    return config.get("default_model_filename") or default


def _read_init_ops(file: str | None, *folders: Path) -> list[str]:
    """The operations of TF_INIT_OPS_FILE, `{"init_ops": ["name", ...]}`, from the first folder that has it."""
    if file is None:
        return []
    path = next((folder / file for folder in folders if (folder / file).is_file()), folders[-1] / file)
    expected = 'expected a JSON file {"init_ops": ["name", ...]} in the version folder or the model folder'
    try:
        names = json.loads(path.read_bytes())["init_ops"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ValueError(f"parameter TF_INIT_OPS_FILE is '{file}': cannot read {path} ({error}); {expected}") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"parameter TF_INIT_OPS_FILE is '{file}': init_ops is {names!r}; {expected}")
    return names


def _summary(signature: Signature, settings: Settings, engine: Engine, device: str) -> str:
    if isinstance(engine, OpenVinoEngine):
        threads, precision = str(engine.threads), engine.precision
    else:
        threads = f"{settings.intra_threads or settings.cores or 'all'} intra, {settings.inter_threads or 'all'} inter"
        precision = "mixed" if settings.mixed_precision else "as exported"
    return (
        f"signature '{signature.key}' {_tensors(signature.inputs.values())} -> {_tensors(signature.outputs.values())}; "
        f"loader {engine.loader}, precision {precision}, threads {threads}, calls at once {settings.parallel_calls}, "
        f"device {device}"
    )


def _tensors(specs: Any) -> str:
    return ", ".join(f"{spec.name} {spec.data_type.removeprefix('TYPE_')} {_shape(spec)}" for spec in specs)


def _shape(spec: TensorSpec) -> str:
    return "[?]" if spec.shape is None else str(list(spec.shape)).replace(" ", "")
