"""The servers: how each is started, how it is asked for one text, and what its answer means."""

import json
import os
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comparison.environments import PEERS
from comparison.load import HOST
from comparison.processes import free_port

Answer = tuple[str, float]  # label and score
PEER, OURS, ACCELERATED = "peer", "ours", "ours, accelerated"


@dataclass(frozen=True)
class Place:
    """What a server is started with.

    Attributes:
        service: the service folder.
        repository: a model repository built of it, as this server wants it; only ours have one.
        environment: the Python environment.
        port: where it listens.
        wait_ms: how long a batch waits to fill, for a server whose batches wait.
    """

    service: Path
    repository: Path
    environment: Path
    port: int
    wait_ms: float


@dataclass(frozen=True)
class Server:
    """One row of the table.

    Attributes:
        name: as the table shows it.
        kind: PEER, OURS or ACCELERATED.
        folder: of a peer's script and requirements; empty for ours.
        command: its arguments; the first is a program of its environment.
        path: of the URL that one text is sent to.
        body: texts as the body of a request; a peer gets one.
        answer: the answers in a body.
        settings: environment variables.
        processes: of a peer that have the model.
        threads: of TensorFlow in each.
        serving: keys of [serving] that one of ours changes.
        max_length: tokens of a text that count.
    """

    name: str
    kind: str
    folder: str
    command: Callable[[Place, "Server"], Sequence[str]]
    path: str
    body: Callable[[Sequence[str]], bytes]
    answer: Callable[[bytes], list[Answer]]
    processes: int = 1
    threads: int = 0
    serving: dict[str, Any] = field(default_factory=dict)
    settings: Callable[[Place], dict[str, str]] = field(default=lambda place: {})
    max_length: int = 128

    def start(self, place: Place) -> tuple[list[str], dict[str, str], Path]:
        """Command, environment and folder of the process."""
        program, *arguments = self.command(place, self)
        variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
        variables["PATH"] = f"{place.environment / 'bin'}:{variables.get('PATH', '')}"
        if self.kind == PEER:
            variables |= {
                "PYTHONPATH": str(PEERS / "shared"),
                "PEER_SERVICE": str(place.service),
                "PEER_PORT": str(place.port),
                "PEER_PROCESSES": str(self.processes),
                "PEER_THREADS": str(self.threads),
                "PEER_WAIT_MS": str(place.wait_ms),
                "TF_CPP_MIN_LOG_LEVEL": "3",
                "CUDA_VISIBLE_DEVICES": "",
            }
        elif "PYTHONPATH" in os.environ:
            variables["PYTHONPATH"] = os.environ["PYTHONPATH"]
        variables |= self.settings(place)
        folder = PEERS / self.folder if self.folder else place.repository
        return [str(place.environment / "bin" / program), *arguments], variables, folder


def peers(cores: int) -> list[Server]:
    """Every peer with one process of as many threads as cores, and with one process of one thread for each core."""
    shapes = [(1, cores, "")] + ([(cores, 1, f", {cores} × 1 thread")] if cores > 1 else [])
    return [server for processes, threads, suffix in shapes for server in _peers(processes, threads, suffix)]


def ours(service: str, cores: int) -> list[Server]:
    """Trident: as built, with one call of all threads, and with the accelerator."""
    openvino = {"accelerator": "openvino", "precision": "bf16"}
    return [
        _trident(service, "Trident", OURS, {}),
        _trident(service, "Trident, one call at once", OURS, {"parallel_calls": 1}),
        _trident(service, "Trident, OpenVINO", ACCELERATED, openvino),
        _trident(service, f"Trident, OpenVINO, {cores} × 1 thread", ACCELERATED, openvino | {"model_instances": cores}),
    ]


def _trident(service: str, name: str, kind: str, serving: dict[str, Any]) -> Server:
    return Server(
        name=name,
        kind=kind,
        folder="",
        command=_serve,
        path=f"/v2/models/{service}/infer",
        body=triton_body,
        answer=_triton_answer,
        serving=serving,
        settings=lambda place: {"TRIDENT_STATE_DIR": str(place.repository.parent / "state")},
    )


def _serve(place: Place, server: Server) -> list[str]:
    ports = ["--http-port", str(place.port), "--grpc-port", str(free_port()), "--metrics-port", str(free_port())]
    return ["python", "-m", "trident", "serve", "--model-repository", str(place.repository), *ports]


def _peers(processes: int, threads: int, suffix: str) -> list[Server]:
    def peer(name: str, folder: str, command: Callable[[Place, Server], Sequence[str]], **more: Any) -> Server:
        plain: dict[str, Any] = {"path": "/predict", "body": _plain_body, "answer": _plain_answer}
        shape = {"processes": processes, "threads": threads}
        return Server(name=f"{name}{suffix}", kind=PEER, folder=folder, command=command, **(plain | shape | more))

    triton: dict[str, Any] = {"path": "/v2/models/spam/infer", "body": triton_body, "answer": _triton_answer}
    bento: dict[str, Any] = {"body": _bento_body, "answer": _bento_answer, "settings": _bento_settings}
    return [
        peer("Flask, maxlen=100, no batching", "flask", _gunicorn, max_length=100),
        peer("FastAPI, no batching", "fastapi", _uvicorn),
        peer("Ray Serve @serve.batch", "ray", _script, settings=_ray_settings),
        peer("BentoML adaptive batching", "bentoml", _bentoml, **bento),
        peer("LitServe", "litserve", _script),
        peer("MLServer adaptive batching", "mlserver", _mlserver, **triton, settings=_mlserver_settings(processes)),
        peer("PyTriton", "pytriton", _script, **triton, settings=_pytriton_settings),
        peer("mosec", "mosec", _mosec, path="/inference"),
    ]


def _script(place: Place, server: Server) -> list[str]:
    return ["python", "server.py"]


def _gunicorn(place: Place, server: Server) -> list[str]:
    # gunicorn's documentation: 2 to 4 threads a core.
    threads = str(4 * server.threads)
    options = ["--worker-class", "gthread", "--threads", threads, "--keep-alive", "60", "--log-level", "warning"]
    return ["gunicorn", "server:app", "--bind", f"{HOST}:{place.port}", "--workers", str(server.processes), *options]


def _uvicorn(place: Place, server: Server) -> list[str]:
    options = ["--workers", str(server.processes), "--no-access-log", "--log-level", "warning"]
    return ["uvicorn", "server:app", "--host", HOST, "--port", str(place.port), *options]


def _bentoml(place: Place, server: Server) -> list[str]:
    return ["bentoml", "serve", "server:Spam", "--host", HOST, "--port", str(place.port)]


def _mlserver(place: Place, server: Server) -> list[str]:
    return ["mlserver", "start", "."]


def _mosec(place: Place, server: Server) -> list[str]:
    options = ["--timeout", "60000", "--log-level", "warning"]
    return ["python", "server.py", "--address", HOST, "--port", str(place.port), *options]


def _ray_settings(place: Place) -> dict[str, str]:
    return {"RAY_USAGE_STATS_ENABLED": "0"}


def _bento_settings(place: Place) -> dict[str, str]:
    return {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(place.environment / "bentoml")}


def _mlserver_settings(processes: int) -> Callable[[Place], dict[str, str]]:
    return lambda place: {
        "MLSERVER_HOST": HOST,
        "MLSERVER_HTTP_PORT": str(place.port),
        "MLSERVER_GRPC_PORT": str(free_port()),
        "MLSERVER_METRICS_PORT": str(free_port()),
        "MLSERVER_PARALLEL_WORKERS": str(processes),
        "MLSERVER_MODEL_MAX_BATCH_SIZE": "64",
        "MLSERVER_MODEL_MAX_BATCH_TIME": str(place.wait_ms / 1e3),
        "MLSERVER_DEBUG": "false",
    }


def _pytriton_settings(place: Place) -> dict[str, str]:
    # Triton's Python backend needs libpython; the wheel does not bring it.
    paths = [str(sysconfig.get_config_var("LIBDIR")), os.environ.get("LD_LIBRARY_PATH", "")]
    return {"LD_LIBRARY_PATH": ":".join(filter(None, paths)), "PYTRITON_NO_TELEMETRY": "1"}


def _plain_body(texts: Sequence[str]) -> bytes:
    return json.dumps({"text": texts[0]}).encode()


def _plain_answer(body: bytes) -> list[Answer]:
    found = json.loads(body)
    return [(found["label"], found["score"])]


def _bento_body(texts: Sequence[str]) -> bytes:
    return json.dumps({"texts": list(texts)}).encode()


def _bento_answer(body: bytes) -> list[Answer]:
    return [(found["label"], found["score"]) for found in json.loads(body)]


def triton_body(texts: Sequence[str]) -> bytes:
    """A request to a service of ours, or to any Triton's."""
    tensor = {"name": "text", "shape": [len(texts), 1], "datatype": "BYTES", "data": list(texts)}
    return json.dumps({"inputs": [tensor]}).encode()


def _triton_answer(body: bytes) -> list[Answer]:
    outputs = {tensor["name"]: tensor["data"] for tensor in json.loads(body)["outputs"]}
    return list(zip(outputs["label"], outputs["score"], strict=True))


THIS_ENVIRONMENT = Path(sys.executable).parent.parent
