"""A service on a running server, as releasing handles it: versions come beside others, answer, and go."""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from trident_client import Client, ClientError, InvalidRequest, ServerError
from triton_tensorflow.signatures import DATA_TYPES

from trident.bytecode import write_bytecode
from trident.pins import Texts, data_type, named, parse, with_version
from trident.service import STEPS

POLL_S = 0.1
ASK_S = 30.0
# For versions of steps, which nobody asks any more: if a process dies while it is unloaded, Triton 24.10 may call the
# version UNLOADING for ever.
UNLOAD_S = 60.0
GONE = ("UNAVAILABLE", None)  # states of a version that is not loaded
SPECIMEN = b"hello"  # what a text is in a made-up request


class ServedService:
    """One service of a model repository, on one server.

    Its client should speak gRPC: over HTTP, Triton answers no request that comes over the thread of the connection on
    which a model is being loaded.
    """

    def __init__(self, client: Client, name: str, repository: Path) -> None:
        """Nothing is sent before the first call.

        Args:
            client: of the server; its timeout holds for loading one model.
            name: of the service.
            repository: which the server serves.
        """
        self.url = client.url
        self._client = client
        self._name = name
        self._repository = repository

    def serves(self) -> bool:
        """Whether the server serves the service, or tried to.

        Raises:
            ClientError: it does not answer.
        """
        return any(state not in GONE or reason != "unloaded" for _, _, state, reason in self._index() if state)

    def try_out(self, texts: Texts, version: int, former: int) -> None:
        """Load a version beside the others and ask it something.

        Args:
            texts: the service's configs, with the versions that are loaded.
            version: the one that is to come.
            former: the one that is released; 0 if there is none.

        Raises:
            ClientError: it does not load, or fails where the released one answers.
        """
        *steps, ensemble = texts
        for step in steps:
            if not self._client.is_model_ready(step, str(version)):
                write_bytecode(self._repository / step / str(version))
                self._client.load_model(step, with_version(texts[step], version))
            if not self._client.is_model_ready(step, str(version)):
                raise ServerError(f"the server loaded {step} without version {version}")
        trouble = self._ask(texts[ensemble], version)
        if trouble and former and former != version and not self._ask(texts[ensemble], former):
            raise ServerError(f"it does not answer a made-up request, which version {former} does: {trouble}")

    def change_over(self, version: int) -> None:
        """Load the configs that lie in the repository; requests under way are answered by what was there before.

        Raises:
            ClientError: something does not load.
        """
        self._client.load_model(self._name)
        if not self._client.is_model_ready(self._name, str(version)):
            raise ServerError(f"the server loaded {self._name} without version {version}")

    def go_back(self, texts: Texts) -> None:
        """Serve the configs of the repository again, whatever was tried; for when something has failed already."""
        for model in texts:
            os.utime(self._repository / model / "config.pbtxt")  # else what was given in its place stays
        *steps, _ = texts
        for model in texts:
            with contextlib.suppress(ClientError):  # it is gone, or another version is broken, too: no more can be done
                self._client.load_model(model)
        with contextlib.suppress(ClientError):
            self._wait_until_alone({*steps}, set().union(*(named(texts[step]) for step in steps)), UNLOAD_S)

    def has_replaced(self, version: int) -> bool:
        """Wait until all requests that other versions of the ensemble took are answered.

        Returns:
            Whether they are; not if that takes long, or nobody says so.
        """
        try:
            return self._wait_until_alone({self._name}, {version}, self._client.timeout_s)
        except ClientError:  # it is gone; the release is none the less done
            return False

    def unload_others(self, steps: Sequence[str], loaded: Iterable[int]) -> bool:
        """Load the steps' configs that lie in the repository, and wait until all versions but these are gone.

        Returns:
            Whether they are, after UNLOAD_S at the latest.
        """
        try:
            for step in steps:
                self._client.load_model(step)
            return self._wait_until_alone({*steps}, loaded, UNLOAD_S)
        except ClientError:  # it is gone, or cannot load again what it serves; the release is none the less done
            return False

    def _wait_until_alone(self, models: set[str], versions: Iterable[int], within_s: float) -> bool:
        end = time.monotonic() + within_s
        while True:
            there = {version for name, version, state, _ in self._index() if name in models and state not in GONE}
            if there <= {*map(str, versions)}:
                return True
            if time.monotonic() > end:
                return False
            time.sleep(POLL_S)

    def _index(self) -> Iterator[tuple[str, str, str | None, str]]:
        """Name, version, state and reason of all that the server knows of the service."""
        own = {self._name, *(f"{self._name}_{step}" for step in STEPS)}
        for entry in self._client.get_model_repository_index():
            if entry["name"] in own:
                yield entry["name"], entry.get("version", ""), entry.get("state"), entry.get("reason", "")

    def _ask(self, ensemble: str, version: int) -> str:
        """Send a made-up request through the steps of a version, which no ensemble need have.

        Returns:
            What went wrong; empty if it was answered, or refused as a wrong request, which says nothing of the version.
        """
        message = parse(ensemble)
        tensors = {entry.name: _specimen(entry, batched=message.max_batch_size > 0) for entry in message.input}
        try:
            for step in message.ensemble_scheduling.step:
                inputs = {own: tensors[name] for own, name in step.input_map.items()}
                outputs = self._client.infer_tensors(step.model_name, inputs, version=str(version), timeout_s=ASK_S)
                tensors |= {name: outputs[own] for own, name in step.output_map.items()}
        except InvalidRequest:
            return ""
        except ClientError as error:
            return str(error)
        return ""


def _specimen(entry: Any, *, batched: bool) -> NDArray[Any]:
    """One value for each axis that is open, and one item of a batch."""
    shape = [*([1] if batched else []), *(1 if size == -1 else size for size in entry.dims)]
    dtype = next(known.dtype for known in DATA_TYPES.values() if known.triton == data_type(entry))
    return np.full(shape, SPECIMEN, dtype) if dtype is np.object_ else np.zeros(shape, dtype)
