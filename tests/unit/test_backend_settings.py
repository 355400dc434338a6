"""What config.pbtxt and the server's command line ask of the backend; contract tests have the load errors."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from triton_tensorflow.plan import _pad
from triton_tensorflow.server_options import parse
from triton_tensorflow.settings import OpenVino, Settings, default_max_batch_size, read_settings
from triton_tensorflow.signatures import TensorSpec


def parameters(**values: str) -> dict[str, Any]:
    return {"parameters": {name: {"string_value": value} for name, value in values.items()}}


def test_the_defaults_are_those_of_nvidias_backend() -> None:
    settings = read_settings({}, {})
    assert (settings.intra_threads, settings.inter_threads, settings.per_session_threads) == (0, 0, False)
    assert (settings.graph_tag, settings.signature, settings.xla_level) == ("serve", None, 0)
    assert settings.warnings == []
    assert default_max_batch_size({}) == 4


@pytest.mark.parametrize("name", ["TF_NUM_INTRA_THREADS", "TF_NUM_INTER_THREADS"])
@pytest.mark.parametrize("value", ["-1", "1.5", "two", "", "²", "2147483648"])
def test_threads_that_are_no_whole_number_are_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="parameter") as caught:
        read_settings(parameters(**{name: value}), {})
    assert str(caught.value) == f"parameter {name} is '{value}'; expected a whole number from 0 to 2147483647"


@pytest.mark.parametrize("value", ["0", "257", "all"])
def test_parallel_calls_out_of_range_are_refused(value: str) -> None:
    with pytest.raises(ValueError, match=f"PARALLEL_CALLS is '{value}'; expected a whole number from 1 to 256"):
        read_settings(parameters(PARALLEL_CALLS=value), {})


@pytest.mark.parametrize(("value", "expected"), [("TRUE", True), ("on", True), ("0", False), ("off", False)])
def test_flags_are_read_as_nvidias_backend_read_them(value: str, expected: bool) -> None:
    assert read_settings(parameters(TF_USE_PER_SESSION_THREADS=value), {}).per_session_threads is expected


@pytest.mark.parametrize(("level", "expected"), [(-1, 0), (0, 0), (1, 1), (2, 2), (7, 2)])
def test_the_graph_level_selects_xla(level: int, expected: int) -> None:
    assert read_settings({"optimization": {"graph": {"level": level}}}, {}).xla_level == expected


def test_openvino_has_two_parameters() -> None:
    def config(**values: str) -> dict[str, Any]:
        accelerator = {"name": "openvino", "parameters": values}
        return {"optimization": {"execution_accelerators": {"cpu_execution_accelerator": [accelerator]}}}

    assert read_settings(config(PRECISION="bf16", NUM_THREADS="2"), {}).openvino == OpenVino("bf16", 2)
    with pytest.raises(ValueError, match=r"PRECISION is 'int8'; expected one of \['f32', 'bf16'\]"):
        read_settings(config(PRECISION="int8"), {})
    with pytest.raises(ValueError, match=r"unknown parameters \['SPEED'\]"):
        read_settings(config(SPEED="high"), {})


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([], 0),
        ([("KIND_CPU", 1)], 0),
        ([("KIND_CPU", 2)], 4),
        ([("KIND_CPU", 2), ("KIND_CPU", 1)], 2),
        ([("KIND_CPU", 9)], 1),
        ([("KIND_GPU", 2)], 0),
    ],
)
def test_instances_on_the_cpu_share_its_cores(
    monkeypatch: pytest.MonkeyPatch, groups: list[tuple[str, int]], expected: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {*range(8)})
    config = {"instance_group": [{"kind": kind, "count": count} for kind, count in groups]}
    assert read_settings(config, {}).cores == expected


def test_the_servers_command_line_is_read() -> None:
    line = ["tritonserver", "--backend-config=tensorflow,default-max-batch-size=16", "--backend-config", "python,a=b"]
    options = parse([*line, "--backend-config", "tensorflow,allow-soft-placement=false"])
    assert options == {"default-max-batch-size": "16", "allow-soft-placement": "false"}
    assert default_max_batch_size(options) == 16
    assert read_settings({}, options).soft_placement is False
    assert parse(["tritonserver", "--backend-config=default-max-batch-size=8"]) == {"default-max-batch-size": "8"}
    assert parse(["--backend-config=default-max-batch-size=8", *line])["default-max-batch-size"] == "16"


def test_what_cannot_be_had_of_the_command_line_is_warned_about() -> None:
    warnings = read_settings({}, {"gpu-memory-fraction": "0.5", "version": "2", "speed": "high"}).warnings
    assert len(warnings) == 2
    assert "gpu-memory-fraction=0.5 has no effect" in warnings[0]
    assert "speed=high has no effect" in warnings[1]
    with pytest.raises(ValueError, match="default-max-batch-size is 'many'"):
        default_max_batch_size({"default-max-batch-size": "many"})


def test_the_command_line_is_found_among_the_processes_that_started_this_one() -> None:
    child = "from triton_tensorflow.server_options import read_server_options; print(read_server_options())"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    backend = Path(__file__).parents[2] / "ensemble" / "trident" / "backends" / "tensorflow"
    line = [sys.executable, "-c", parent, "--backend-config=tensorflow,default-max-batch-size=16"]
    result = subprocess.run(line, capture_output=True, text=True, check=True, cwd=backend)
    assert result.stdout == "{'default-max-batch-size': '16'}\n"


@pytest.mark.parametrize(
    ("value", "dtype"), [("1e6", np.float16), ("nan", np.float32), ("2.5", np.int32), ("-1", np.uint8)]
)
def test_a_padding_value_must_fit_its_data_type(value: str, dtype: Any) -> None:
    spec = TensorSpec("x", "x:0", "DT_FLOAT", (-1, -1))
    with pytest.raises(ValueError, match=rf"parameter PAD_VALUE.x is '{value}'; expected"):
        _pad(Settings(pad_values={"x": value}), dtype, spec)
    assert _pad(Settings(pad_values={"": value, "x": "7"}), dtype, spec) == 7
