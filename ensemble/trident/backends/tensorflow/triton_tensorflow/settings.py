"""What config.pbtxt asks of this backend beyond tensors: parameters, optimization, operation libraries.

Names, defaults and ranges are those of NVIDIA's backend r25.02 (README.md, "TensorFlow Backend parameters";
src/tensorflow.cc), and this backend's own. Everything is checked before TensorFlow is imported.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Parameters that Triton itself reads for a Python-based backend.
# Source: triton-inference-server/python_backend r24.10, README.md and src/python_be.cc.
TRITONS_OWN = {"EXECUTION_ENV_PATH", "FORCE_CPU_ONLY_INPUT_TENSORS", "shm-region-prefix-name"}
PARAMETERS = (
    *("TF_NUM_INTRA_THREADS", "TF_NUM_INTER_THREADS", "TF_USE_PER_SESSION_THREADS", "TF_GRAPH_TAG"),
    *("TF_SIGNATURE_DEF", "TF_INIT_OPS_FILE", "MAX_SESSION_SHARE_COUNT", "PAD_VALUE", "MAX_VALUE"),
    "PARALLEL_CALLS",
)
SERVER_OPTIONS = ("allow-soft-placement", "default-max-batch-size")  # of --backend-config=tensorflow,...
PAD = "PAD_VALUE"  # of all padded inputs; PAD_VALUE.NAME is of one
MOST_CALLS = 256
PRECISIONS = ("f32", "bf16")
FLAGS = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}


@dataclass(frozen=True)
class OpenVino:
    """The CPU accelerator.

    Attributes:
        precision: `f32`, or `bf16` where the CPU has it.
        threads: of a call; 0 takes `Settings.cores`.
    """

    precision: str = "f32"
    threads: int = 0


@dataclass(frozen=True)
class Settings:
    """One model's settings.

    Attributes:
        intra_threads: threads within an operation; 0 takes `cores`.
        inter_threads: operations at once; 0 takes all cores.
        per_session_threads: threads of the session's own instead of the process's.
        graph_tag: tag of the meta graph to load.
        signature: the signature to serve; None takes `serving_default`, else the first.
        init_ops_file: file that names operations to run after loading, or None.
        pad_values: what fills up ragged inputs, as written, by input; the name "" stands for all others.
        max_value: largest value allowed in integer inputs, the smallest being 0; None does not check.
        xla_level: of automatic clustering, 0 (off) to 2.
        mixed_precision: whether TensorFlow may compute in 16 bits.
        openvino: the CPU accelerator, or None.
        parallel_calls: of the model at once, in one process, where a batch is cut; ≥ 1.
        cores: the share of a call, where several on the CPU share them; 0 is all.
        op_libraries: files of custom operations, as written.
        soft_placement: whether an operation without a kernel for its device may run on another.
        warnings: what the log should say.
    """

    intra_threads: int = 0
    inter_threads: int = 0
    per_session_threads: bool = False
    graph_tag: str = "serve"
    signature: str | None = None
    init_ops_file: str | None = None
    pad_values: Mapping[str, str] = field(default_factory=dict)
    max_value: int | None = None
    xla_level: int = 0
    mixed_precision: bool = False
    openvino: OpenVino | None = None
    parallel_calls: int = 1
    cores: int = 0
    op_libraries: tuple[str, ...] = ()
    soft_placement: bool = True
    warnings: list[str] = field(default_factory=list)


def read_settings(config: Mapping[str, Any], server_options: Mapping[str, str]) -> Settings:
    """Read the settings out of Triton's `model_config` and of `--backend-config=tensorflow,...`.

    Raises:
        ValueError: a value is out of its range; the message names parameter, value and range.
    """
    parameters = {name: entry["string_value"] for name, entry in (config.get("parameters") or {}).items()}
    optimization = config.get("optimization") or {}
    accelerators = optimization.get("execution_accelerators") or {}
    warnings = [*_parameter_warnings(parameters)]
    for name, value in server_options.items():
        if name not in SERVER_OPTIONS and (name, value) != ("version", "2"):
            known = f"of --backend-config=tensorflow,... these have: {list(SERVER_OPTIONS)}"
            warnings.append(f"--backend-config=tensorflow,{name}={value} has no effect; {known}")
    parallel_calls, cores = _shared_cores(config, _number(parameters, "PARALLEL_CALLS", 1, MOST_CALLS))
    mixed_precision = _gpu_accelerators(accelerators.get("gpu_execution_accelerator") or [], warnings)
    return Settings(
        intra_threads=_number(parameters, "TF_NUM_INTRA_THREADS", 0),
        inter_threads=_number(parameters, "TF_NUM_INTER_THREADS", 0),
        per_session_threads=_flag(parameters, "TF_USE_PER_SESSION_THREADS", False),
        graph_tag=_text(parameters, "TF_GRAPH_TAG") or "serve",
        signature=_text(parameters, "TF_SIGNATURE_DEF"),
        init_ops_file=_text(parameters, "TF_INIT_OPS_FILE"),
        pad_values={name[len(PAD) :].lstrip("."): value for name, value in parameters.items() if _is_pad(name)},
        max_value=_number(parameters, "MAX_VALUE", 0) if "MAX_VALUE" in parameters else None,
        xla_level=max(0, min(2, int((optimization.get("graph") or {}).get("level", 0)))),
        mixed_precision=mixed_precision,
        openvino=_cpu_accelerator(accelerators.get("cpu_execution_accelerator") or []),
        parallel_calls=parallel_calls,
        cores=cores,
        op_libraries=tuple((config.get("model_operations") or {}).get("op_library_filename") or ()),
        soft_placement=_flag(server_options, "allow-soft-placement", True),
        warnings=warnings,
    )


def default_max_batch_size(server_options: Mapping[str, str]) -> int:
    """What autofill sets for a model that can batch, 4 if the server is not told otherwise; 0 is no batching.

    Raises:
        ValueError: it is no whole number.
    """
    return _number({"default-max-batch-size": "4"} | dict(server_options), "default-max-batch-size", 0)


def _number(parameters: Mapping[str, str], name: str, least: int, most: int = 2**31 - 1) -> int:
    value = parameters.get(name, str(least))
    if not (value.isascii() and value.isdecimal() and least <= int(value) <= most):
        raise ValueError(f"parameter {name} is '{value}'; expected a whole number from {least} to {most}")
    return int(value)


def _shared_cores(config: Mapping[str, Any], calls: int) -> tuple[int, int]:
    """How many calls an instance makes at once, and the cores of one call; 0 if it has all of them to itself.

    Were each call to take all cores, they would hold each other up; more calls than cores would, too. Only batches of
    ragged inputs are cut for them, and only on the CPU: on a GPU, more cuts of a batch cost more than they gain.
    """
    groups = config.get("instance_group") or []
    instances = sum(int(group.get("count", 1)) for group in groups if group.get("kind") == "KIND_CPU")
    if not instances:
        return 1, 0
    own = max(1, len(os.sched_getaffinity(0)) // instances)
    calls = min(calls, own) if any(entry.get("allow_ragged_batch") for entry in config.get("input") or []) else 1
    return calls, own // calls if instances * calls > 1 else 0


def _flag(parameters: Mapping[str, str], name: str, default: bool) -> bool:
    value = parameters.get(name, str(default))
    if value.lower() not in FLAGS:
        raise ValueError(f"parameter {name} is '{value}'; expected one of {list(FLAGS)}")
    return FLAGS[value.lower()]


def _is_pad(parameter: str) -> bool:
    return parameter == PAD or parameter.startswith(f"{PAD}.")


def _text(parameters: Mapping[str, str], name: str) -> str | None:
    value = parameters.get(name)
    if value is not None and not value.strip():
        raise ValueError(f"parameter {name} is '{value}'; expected a name, or leave the parameter out")
    return value


def _parameter_warnings(parameters: Mapping[str, str]) -> list[str]:
    warnings = []
    if _number(parameters, "MAX_SESSION_SHARE_COUNT", 1) > 1:
        value = parameters["MAX_SESSION_SHARE_COUNT"]
        effect = "has no effect: every instance is a process with its own weights"
        warnings.append(f"parameter MAX_SESSION_SHARE_COUNT = {value} {effect}; lower instance_group.count instead")
    unknown = sorted(name for name in set(parameters) - set(PARAMETERS) - TRITONS_OWN if not _is_pad(name))
    if unknown:
        warnings.append(f"parameters {unknown} are unknown and have no effect; known are {list(PARAMETERS)}")
    return warnings


def _gpu_accelerators(accelerators: list[dict[str, Any]], warnings: list[str]) -> bool:
    """Whether automatic mixed precision is asked for; what cannot be had is warned about."""
    mixed_precision = False
    for accelerator in accelerators:
        name = accelerator.get("name", "")
        if name == "auto_mixed_precision":
            mixed_precision = True
        elif name == "tensorrt":
            instead = "graph { level: 1 } selects XLA"
            warnings.append(f"accelerator 'tensorrt' has no effect: TensorFlow has none since 2.18; {instead}")
        elif name == "gpu_io":
            how = 'parameter FORCE_CPU_ONLY_INPUT_TENSORS = "no" keeps inputs on the GPU'
            warnings.append(f"accelerator 'gpu_io' has no effect on outputs, which leave through host memory; {how}")
        else:
            known = "auto_mixed_precision, gpu_io, tensorrt"
            raise ValueError(f"unknown gpu_execution_accelerator '{name}'; expected one of {known}")
    return mixed_precision


def _cpu_accelerator(accelerators: list[dict[str, Any]]) -> OpenVino | None:
    if not accelerators:
        return None
    names = [accelerator.get("name", "") for accelerator in accelerators]
    if names != ["openvino"]:
        raise ValueError(f"cpu_execution_accelerator is {names}; expected ['openvino'] or none")
    parameters = accelerators[0].get("parameters") or {}
    unknown = sorted(set(parameters) - {"PRECISION", "NUM_THREADS"})
    if unknown:
        raise ValueError(f"openvino has unknown parameters {unknown}; expected PRECISION or NUM_THREADS")
    precision = parameters.get("PRECISION", "f32")
    if precision not in PRECISIONS:
        raise ValueError(f"openvino's parameter PRECISION is '{precision}'; expected one of {list(PRECISIONS)}")
    return OpenVino(precision, _number(parameters, "NUM_THREADS", 0))
