"""How the tests that end processes wait for what comes back."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from leftovers import pids
from trident.server.lifecycle import Server
from trident.server.state import ServerState
from trident_client import Client, Retry

MODELS = Path(__file__).parent / "models"
WITHIN_S = 60
PATIENT = Retry(attempts=1000, lost_answers=True, attempt_timeout_s=10)


def ask(client: Client, model: str, text: bytes = b"a") -> Any:
    """What a model of strings, such as `identity`, answers to one."""
    return client.infer_tensors(model, {"x": np.array([[text]], dtype=object)})["y"].tolist()


def stub_of(server: Server | ServerState, model: str) -> int:
    """The process of a model's first version."""
    return pids(server, f"/{model}/1/")[0]


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for something true, and return it; `what` is said if it does not come."""
    deadline = time.monotonic() + WITHIN_S
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return found
