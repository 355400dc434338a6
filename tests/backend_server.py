"""A real tritonserver that loads one model after another, as the tests of the `tensorflow` backend need it."""

import json
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from trident.server.lifecycle import Server
from trident_client import Client

ONE_INSTANCE = "instance_group { kind: KIND_CPU count: 1 }\n"


class LoadError(Exception):
    """Triton refused to load a model; the text is what it answered."""


class BackendServer:
    """Puts models into the repository of a running server, loads and unloads them."""

    def __init__(self, server: Server, client: Client) -> None:
        self.server = server
        self.client = client

    @contextmanager
    def model(
        self, name: str, source: Path | dict[int, Path] | None, config: str = "", file: str = "model.savedmodel"
    ) -> Iterator[str]:
        """Serve SOURCE as a model; yields its name, for `infer`.

        Args:
            name: of the model.
            source: SavedModel or GraphDef, or one for each version.
            config: of config.pbtxt; one CPU instance unless it names an instance_group.
            file: what the model is called in its version folder.
        """
        folder = self.server.model_repository / name
        for version, path in (source if isinstance(source, dict) else {1: source}).items():
            (folder / str(version)).mkdir(parents=True, exist_ok=True)
            if path is not None:
                copy = shutil.copytree if path.is_dir() else shutil.copyfile
                copy(path, folder / str(version) / file)
        text = config if "instance_group" in config else config + ONE_INSTANCE
        (folder / "config.pbtxt").write_text(text, encoding="utf-8")
        try:
            self.load(name)
            yield name
        finally:
            self._repository_call(name, "unload")
            shutil.rmtree(folder)

    def load(self, name: str) -> None:
        """Load a model, or load it again.

        Raises:
            LoadError: Triton refuses.
        """
        self._repository_call(name, "load")

    def refusal(self, name: str, source: Path | None, config: str = "", **options: Any) -> str:
        """Why a model does not load."""
        try:
            with self.model(name, source, config, **options):
                raise AssertionError(f"{name} loads")
        except LoadError as error:
            return str(error)

    def infer(self, name: str, outputs: list[str] | None = None, **inputs: Any) -> dict[str, NDArray[Any]]:
        """Ask a model; lists are taken as float32."""
        arrays = {key: np.asarray(value, getattr(value, "dtype", np.float32)) for key, value in inputs.items()}
        return self.client.infer_tensors(name, arrays, outputs=outputs)

    def log(self, name: str | None, until: str = "loader ") -> str:
        """The lines of the server's log that name a model (or all), once UNTIL is in them: they come after the answer.

        Raises:
            AssertionError: none has within 10 s.
        """
        deadline = time.monotonic() + 10
        while True:
            lines = self.server.log.read_text(encoding="utf-8", errors="replace").splitlines()
            found = "\n".join(line for line in lines if name is None or f"'{name}'" in line)
            if until in found:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"no line about {name} has {until!r}: {found}")
            time.sleep(0.05)

    def metric(self, name: str, model: str) -> float:
        """A custom metric's value."""
        with urllib.request.urlopen(self.server.metrics_url, timeout=10) as answer:
            text = answer.read().decode()
        found = re.search(rf'^{name}{{[^}}]*model="{model}"[^}}]*}} (\S+)$', text, re.MULTILINE)
        return float(found[1]) if found else float("nan")

    def _repository_call(self, name: str, verb: str) -> None:
        request = urllib.request.Request(
            f"{self.server.http_url}/v2/repository/models/{name}/{verb}",
            data=b"{}",
            headers={"admin-key": self.server.admin_key},
        )
        try:
            urllib.request.urlopen(request, timeout=120).close()
        except urllib.error.HTTPError as error:
            with error:
                raise LoadError(json.loads(error.read())["error"]) from None
