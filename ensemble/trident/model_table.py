"""The models of a server with what they have done, as `trident models` shows them."""

from dataclasses import dataclass, replace
from typing import Any

from trident_client import Client, ClientError, Forbidden

from trident.server.state import server_at

DEAD = "DEAD"
HEALTH_S = 2.0


@dataclass(frozen=True)
class ModelRow:
    """One version of a model since it was loaded.

    Attributes:
        name: the model.
        version: empty if it was never loaded.
        state: READY, LOADING, UNLOADING, UNAVAILABLE, `not loaded`, or DEAD if the supervisor of a server of this user
            knows better than Triton.
        reason: why it is not ready, if the server says so.
        backend: what runs it; `ensemble` for the ensemble of a service; empty if it is not loaded.
        requests: answered.
        failures: requests answered with an error.
        latency_ms: mean of an answer, queue included; None before the first.
        queue_ms: mean wait before a batch was formed; None for ensembles, which have no queue.
        batch_size: mean rows of an execution; None before the first.
    """

    name: str
    version: str
    state: str
    reason: str
    backend: str
    requests: int
    failures: int
    latency_ms: float | None
    queue_ms: float | None
    batch_size: float | None


class ModelTable:
    """Reads the models of one server, again and again."""

    def __init__(self, client: Client) -> None:
        """Read with a client."""
        self._client = client
        self._server = server_at(client.url)
        self._backends: dict[tuple[str, str], str] = {}

    def read(self) -> list[ModelRow]:
        """The models by name and version.

        Raises:
            ClientError: the server does not answer.
        """
        entries = self._client.get_inference_statistics()["model_stats"]
        stats = {(entry["name"], str(entry["version"])): entry for entry in entries}
        try:
            index = self._client.get_model_repository_index()
        except Forbidden:  # without the admin key, the loaded models are all that can be seen
            index = [{"name": name, "version": version, "state": "READY"} for name, version in stats]
        rows = self._wanted([self._row(entry, stats) for entry in index])
        dead = self._dead()
        rows = [
            replace(row, state=DEAD, reason=dead[row.name]) if row.name in dead and row.state == "READY" else row
            for row in rows
        ]
        return sorted(rows, key=lambda row: (row.name, len(row.version), row.version))

    def _dead(self) -> dict[str, str]:
        """Models without a process, and why, if the server is one of this user's."""
        from trident.server.health import read_health

        if self._server is None:
            return {}
        try:
            return dict(read_health(self._server.health_port, HEALTH_S)["not_ready"])
        except (OSError, ValueError):  # it is ending
            return {}

    def _wanted(self, rows: list[ModelRow]) -> list[ModelRow]:
        """Without the versions that a loaded model no longer asks for, which Triton goes on to list."""
        ready = {row.name: row.version for row in rows if row.state == "READY"}
        there = {row.name for row in rows if row.state == "UNAVAILABLE" and row.name in ready}
        asked = {name: self._asked_for(name, ready[name]) for name in there}
        return [
            row
            for row in rows
            if row.state != "UNAVAILABLE"
            or row.name not in ready
            or (row.reason != "unloaded" and (not asked[row.name] or row.version in asked[row.name]))
        ]

    def _asked_for(self, name: str, version: str) -> list[str]:
        """The versions that a model's configuration names; empty if it names none."""
        try:
            policy = self._client.get_model_config(name, version).get("version_policy") or {}
        except ClientError:  # unloaded just now
            return []
        return [str(number) for number in (policy.get("specific") or {}).get("versions", ())]

    def _row(self, entry: dict[str, Any], stats: dict[tuple[str, str], dict[str, Any]]) -> ModelRow:
        name, version = entry["name"], str(entry.get("version", ""))
        found = stats.get((name, version), {})
        durations: dict[str, Any] = found.get("inference_stats", {})
        backend = self._backend(name, version) if found else ""
        return ModelRow(
            name=name,
            version=version,
            state=entry.get("state") or "not loaded",
            reason=" ".join(str(entry.get("reason", "")).split()),
            backend=backend,
            requests=_count(durations, "success"),
            failures=_count(durations, "fail"),
            latency_ms=_mean_ms(durations, "success"),
            queue_ms=None if backend == "ensemble" else _mean_ms(durations, "queue"),
            batch_size=_ratio(int(found.get("inference_count", 0)), int(found.get("execution_count", 0))),
        )

    def _backend(self, name: str, version: str) -> str:
        """Asked for once: a loaded model keeps its backend."""
        if (name, version) not in self._backends:
            try:
                config = self._client.get_model_config(name, version)
            except ClientError:  # unloaded just now
                return ""
            self._backends[name, version] = config.get("backend") or config.get("platform") or ""
        return self._backends[name, version]


def _count(durations: dict[str, Any], key: str) -> int:
    return int(durations.get(key, {}).get("count", 0))


def _mean_ms(durations: dict[str, Any], key: str) -> float | None:
    return _ratio(int(durations.get(key, {}).get("ns", 0)) / 1e6, _count(durations, key))


def _ratio(total: float, count: int) -> float | None:
    return total / count if count else None
