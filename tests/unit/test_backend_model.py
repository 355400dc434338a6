"""Triton's entry into the backend, with the utils of Triton's stub made up: what it answers when something breaks."""

import importlib.util
import sys
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from trident.server.embedded import TENSORFLOW_BACKEND
from triton_tensorflow.executor import Counts


@pytest.fixture
def pb_utils(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What only Triton's stub has; each response is an object of its own."""
    mock = MagicMock()
    mock.InferenceResponse.side_effect = SimpleNamespace
    mock.TritonError.side_effect = lambda message, *code: message
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", mock)
    for name in ("metrics", "sending"):
        monkeypatch.setitem(sys.modules, f"triton_tensorflow.{name}", MagicMock())
    return mock


@pytest.fixture
def model(pb_utils: Any) -> Any:
    """A model without inputs whose executor breaks."""
    spec = importlib.util.spec_from_file_location("backend_model", TENSORFLOW_BACKEND / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = module.TritonPythonModel()
    made.name = "spam"
    made._plan = SimpleNamespace(inputs={}, sequence=False)
    made._executor = MagicMock(counts=Counts())
    made._executor.run.side_effect = KeyError("unforeseen")
    return made


def test_what_nobody_foresaw_is_told_once_and_answered_with_a_response_for_each_request(
    model: Any, pb_utils: Any
) -> None:
    responses = model.execute([MagicMock(), MagicMock(), MagicMock()])
    assert [response.error for response in responses] == [
        "Model 'spam': inference failed; the server's log has the cause"
    ] * 3
    assert len(set(map(id, responses))) == 3
    assert model._executor.counts.refused == 3
    (logged,) = pb_utils.Logger.log_error.call_args_list
    assert "KeyError: 'unforeseen'" in logged.args[0]
