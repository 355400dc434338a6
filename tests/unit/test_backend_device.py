"""The device of an instance, with a TensorFlow that sees two GPUs, which this machine has not."""

import sys
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from triton_tensorflow.device import configure_process
from triton_tensorflow.settings import Settings

GPUS = [SimpleNamespace(name="/physical_device:GPU:0"), SimpleNamespace(name="/physical_device:GPU:1")]


@pytest.fixture
def tensorflow(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A mock of TensorFlow's settings; the real one sees no GPU here."""
    mock = MagicMock()
    mock.config.list_physical_devices.return_value = GPUS
    monkeypatch.setitem(sys.modules, "tensorflow", mock)
    return mock.config


@pytest.mark.parametrize(
    ("kind", "device_id", "visible", "named"),
    [
        ("GPU", 1, GPUS[1:], "GPU:1"),
        ("MODEL", 0, GPUS, "GPU:0, GPU:1"),
        ("CPU", 0, [], "CPU"),
    ],
)
def test_the_gpu_of_an_instance_is_chosen_and_its_memory_grows(
    tensorflow: Any, kind: str, device_id: int, visible: list[Any], named: str
) -> None:
    device, warnings = configure_process(kind, device_id, Settings(intra_threads=2, soft_placement=False))
    assert (device, warnings) == (named, [])
    tensorflow.set_visible_devices.assert_called_once_with(visible, "GPU")
    assert [call.args for call in tensorflow.experimental.set_memory_growth.call_args_list] == [
        (gpu, True) for gpu in visible
    ]
    tensorflow.threading.set_intra_op_parallelism_threads.assert_called_once_with(2)
    tensorflow.set_soft_device_placement.assert_called_once_with(False)


@pytest.mark.parametrize(("told", "expected"), [(0, 3), (2, 2)])
def test_an_instance_takes_its_share_of_the_cores_unless_told(tensorflow: Any, told: int, expected: int) -> None:
    configure_process("CPU", 0, Settings(intra_threads=told, cores=3))
    tensorflow.threading.set_intra_op_parallelism_threads.assert_called_once_with(expected)


def test_an_instance_on_a_gpu_that_is_not_there_says_so(tensorflow: Any) -> None:
    device, warnings = configure_process("GPU", 5, Settings())
    assert device == "CPU"
    assert "sees none" in warnings[0]


@pytest.mark.parametrize(
    ("kind", "option"), [("GPU", "auto_mixed_precision"), ("CPU", "auto_mixed_precision_onednn_bfloat16")]
)
def test_mixed_precision_is_that_of_the_device(tensorflow: Any, kind: str, option: str) -> None:
    configure_process(kind, 0, Settings(mixed_precision=True))
    tensorflow.optimizer.set_experimental_options.assert_called_once_with({option: True})
