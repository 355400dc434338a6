"""Parameters of config.pbtxt and given configurations are handled before TensorFlow is imported."""

import sys
from pathlib import Path
from typing import Any

import pytest
from triton_tensorflow.autofill import complete
from triton_tensorflow.device import configure_process


@pytest.mark.parametrize("name", ["TF_NUM_INTRA_THREADS", "TF_NUM_INTER_THREADS"])
@pytest.mark.parametrize("value", ["-1", "1.5", "two", "", "²"])
def test_threads_that_are_no_whole_number_are_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="parameter") as caught:
        configure_process("CPU", 0, {name: value})
    assert str(caught.value) == f"parameter {name} is '{value}'; expected a whole number ≥ 0 (0: all cores)"


def test_a_complete_configuration_needs_no_tensorflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # an import of it fails

    class Config:
        def as_dict(self) -> dict[str, Any]:
            return {"input": [{"name": "x"}], "output": [{"name": "y"}], "max_batch_size": 0}

    config = Config()
    assert complete(config, tmp_path) is config
