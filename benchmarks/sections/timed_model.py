"""The backend's own model.py with a stopwatch around `execute`; `backend.py` puts it into a version folder.

`timed.json` beside it names the backend's folder, the file for the times, and whether batches may be cut.
"""

import importlib.util
import json
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

SETTINGS = json.loads(Path(__file__).with_name("timed.json").read_text(encoding="utf-8"))
sys.path.append(SETTINGS["backend"])
SPEC = importlib.util.spec_from_file_location("timed_backend", Path(SETTINGS["backend"]) / "model.py")
assert SPEC is not None
assert SPEC.loader is not None
BACKEND = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(BACKEND)


class TritonPythonModel(BACKEND.TritonPythonModel):  # type: ignore[misc,name-defined]
    """See triton_tensorflow's; this one writes how long each batch took."""

    @staticmethod
    def auto_complete_config(config: Any) -> Any:
        """Leave the configuration as it is."""
        return config

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model."""
        config = json.loads(args["model_config"])
        del config["default_model_filename"]  # Triton set it to model.py, for the backend `python`
        super().initialize(args | {"model_config": json.dumps(config)})
        if not SETTINGS["cut"]:
            self._executor.cost = None
        self._times: list[tuple[int, float, float, int]] = []

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer a batch, and keep its size, the seconds of it, those inside TensorFlow, and the calls."""
        counts = self._executor.counts
        calls, call_s, start = counts.calls, counts.call_s, perf_counter()
        responses: list[Any] = super().execute(requests)
        self._times.append((len(requests), perf_counter() - start, counts.call_s - call_s, counts.calls - calls))
        return responses

    def finalize(self) -> None:
        """Write the times."""
        Path(SETTINGS["times"]).write_text(json.dumps(self._times), encoding="utf-8")
        super().finalize()
