"""Brings models back whose processes are gone, or that did not load.

A load alone does nothing, since to Triton 24.10 nothing has changed: the version's folder is touched before, and only
that version is loaded anew. Where the folder cannot be touched (a repository that is mounted read-only), the model
is loaded with a configuration that differs in a tag of its metrics.
"""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trident_client import Client, ClientError

from trident.server.hangs import Key
from trident.server.health import Health
from trident.server.pauses import Pauses

LOAD_TIMEOUT_S = 600.0
UNLOADED = "unloaded"  # the reason that Triton's index gives


@dataclass(frozen=True)
class Place:
    """Where a tritonserver is, and what it serves.

    Attributes:
        repository: the model repository as it was told.
        url: for `Client`; over HTTP.
        load_url: to load models, over gRPC: a load over HTTP holds up the other connections of a thread of Triton's.
        metrics_url: its metrics.
        admin_key: for loading models.
        start_timeout_s: seconds that it may take to start.
    """

    repository: Path
    url: str
    load_url: str
    metrics_url: str
    admin_key: str
    start_timeout_s: float


class Revivals:
    """Those that are under way, each in a thread of its own, so that a slow one holds up no other."""

    def __init__(
        self,
        place: Place,
        health: Health,
        tell: Callable[[str], None],
        ended: threading.Event,
        on_loaded: Callable[[], None],
    ) -> None:
        """None is.

        Args:
            place: the server.
            health: told what is wrong, and when it is mended; after `tell`, so that the log explains what it shows.
            tell: gets a line for each attempt that fails and each that does not.
            ended: set when the server is to be left alone.
            on_loaded: called when there may be new processes.
        """
        self._place = place
        self._health = health
        self._tell = tell
        self._ended = ended
        self._on_loaded = on_loaded
        self._lock = threading.Lock()
        self._dead: dict[str, set[str]] = {}  # model under revival → versions that are still to be touched
        self._pauses: dict[str, Pauses] = {}
        self._loads: set[Key] = set()
        self._replaced: dict[Key, tuple[float, float]] = {}

    def under_way(self, model: str) -> bool:
        """Whether a model is being brought back."""
        with self._lock:
            return model in self._dead

    def loading(self) -> set[Key]:
        """Versions whose load goes on; Triton's index may call them ready all the while."""
        with self._lock:
            return set(self._loads)

    def replaced(self) -> dict[Key, tuple[float, float]]:
        """Versions that were brought back; when the last load of each began and ended, on the monotonic clock."""
        with self._lock:
            return dict(self._replaced)

    def begin(self, model: str, version: str, reason: str) -> None:
        """Bring back a version of a model; "" for one that is to be loaded only."""
        if self._ended.is_set():
            return
        with self._lock:
            is_new = model not in self._dead
            self._dead.setdefault(model, set()).add(version)
            # In here, or the end of a revival could call the model mended that has died again.
            self._tell(f"model '{model}'{f' version {version}' if version else ''}: {reason}; it is loaded anew")
            self._health.fault(model, reason)
        if is_new:
            threading.Thread(target=self._run, args=(model,), daemon=True).start()

    def _run(self, model: str) -> None:
        began = time.monotonic()
        pauses = self._pauses.setdefault(model, Pauses())
        with Client(
            self._place.load_url, admin_key=self._place.admin_key, timeout_s=LOAD_TIMEOUT_S, retry=None
        ) as client:
            while not self._ended.wait(pauses.next_s()):
                with self._lock:
                    versions, self._dead[model] = self._dead[model], set()
                try:
                    wanted = not _is_unloaded(client, model)  # else somebody did that meanwhile
                    if wanted:
                        self._load(client, model, versions)
                except ClientError as error:
                    self._retry(model, versions, str(error))
                    continue
                if self._finish(model):
                    pauses.works()
                    if wanted:
                        self._tell(f"model '{model}' serves again after {time.monotonic() - began:.1f} s")
                        self._health.count_restart(model)
                    return

    def _load(self, client: Client, model: str, versions: set[str]) -> None:
        config: dict[str, Any] | None = None
        missing = set()
        for version in filter(None, versions):
            try:
                os.utime(self._place.repository / model / version)
            except FileNotFoundError:  # Triton will say so
                missing.add(version)
            except OSError:
                config = client.get_model_config(model) | {"metric_tags": {"loaded": str(time.time_ns())}}
        loads = {(model, version) for version in versions}
        began = time.monotonic()
        with self._lock:
            self._loads |= loads
        replaced: dict[Key, tuple[float, float]] = {}
        try:
            client.load_model(model, config)
            replaced = {(model, version): (began, time.monotonic()) for version in versions - missing}
        finally:
            with self._lock:
                self._loads -= loads
                self._replaced |= replaced
        if not self._ended.is_set():
            self._on_loaded()

    def _retry(self, model: str, versions: set[str], reason: str) -> None:
        with self._lock:
            self._dead[model] |= versions
        if not self._ended.is_set():  # else it is the server that is gone
            self._tell(f"model '{model}' does not come back: {reason}; it is tried again, with growing pauses")
            self._health.fault(model, reason)

    def _finish(self, model: str) -> bool:
        """Whether nothing died meanwhile."""
        with self._lock:
            if self._dead[model]:
                return False
            del self._dead[model]
            self._health.mend(model)
        return True


def _is_unloaded(client: Client, model: str) -> bool:
    entries = [entry for entry in client.get_model_repository_index() if entry["name"] == model]
    reasons = {entry.get("reason", "") for entry in entries if entry.get("state") == "UNAVAILABLE"}
    return UNLOADED in reasons and not any(entry.get("state") == "READY" for entry in entries)
