"""The embedded tritonserver as a context manager."""

import contextlib
import json
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from trident_client import Client, ClientError, Forbidden

from trident.bytecode import write_bytecode
from trident.errors import ServerStartError
from trident.ownership import is_built
from trident.server.embedded import Tritonserver, assemble_backends, find_tritonserver
from trident.server.health import PATH
from trident.server.limits import allow_connections, request_size_options
from trident.server.state import log_of, remove_old_logs, running_servers

HOST = "127.0.0.1"  # release 24.10 predates security fixes of 2025; it must not face a network
PROTOCOLS = ("http", "grpc", "metrics")  # of tritonserver
RESTRICTED = "shared-memory,model-repository,trace,logging"
POLL_S = 0.05
# Of each instance, for responses that are sent one by one and for calls of other models; Triton's own default, 32, is
# paid again for each process that dies with requests, since release 24.10 never lets go of its instance.
SENDING_THREADS = 8
# The end of the reason why a model did not load, if its process died or was starved.
DIED = "is not healthy."

# What a machine without a GPU logs although all is well.
NOISE = re.compile(r"cuda|nvml|dcgm|gpu metrics", re.IGNORECASE)
PLAIN_PATH = re.compile(r"[\w./+@:,=-]+", re.ASCII)
LOADED = re.compile(r"successfully loaded '([^']+)'")
POLL_FAILED = re.compile(r"Poll failed for model directory '([^']+)': ([^\"]+)")


@dataclass(frozen=True)
class ModelStatus:
    """One version of a model, as the server sees it.

    Attributes:
        name: the model.
        version: empty if none could be read.
        state: READY, LOADING, UNLOADING or UNAVAILABLE.
        reason: why it is not ready, on one line.
    """

    name: str
    version: str
    state: str
    reason: str


class Server:
    """A tritonserver that serves a model repository on loopback until it is closed.

    Example:
        >>> with Server(Path("model_repository"), http_port=0, grpc_port=0, metrics_port=0) as server:
        ...     Client(server.http_url).is_server_ready()
        True
    """

    def __init__(
        self,
        model_repository: Path,
        *,
        models: Sequence[str] = (),
        http_port: int = 8000,
        grpc_port: int = 8001,
        metrics_port: int = 8002,
        health_port: int = 0,
        keep_going: bool = False,
        tritonserver: Path | None = None,
        start_timeout_s: float = 300.0,
        exit_timeout_s: int = 30,
        on_progress: Callable[[int, int], None] | None = None,
        events: IO[str] | None = None,
    ) -> None:
        """Describe a server; entering the context starts it.

        Args:
            model_repository: folder of models.
            models: which to load; all if empty.
            http_port: on 127.0.0.1; 0 takes any free one. So do the other ports.
            grpc_port: see http_port.
            metrics_port: see http_port.
            health_port: of the supervisor's own endpoint, `health_url`.
            keep_going: serve the models that load, even if others do not.
            tritonserver: the program; found if None.
            start_timeout_s: seconds until all models must be loaded.
            exit_timeout_s: seconds that requests in flight may take when it stops.
            on_progress: called with (models loaded, models in all) while it starts.
            events: a file with a descriptor that gets a line for each process that died or was replaced; the log
                gets them anyway.
        """
        self.model_repository = model_repository
        self.models = list(models)
        self.ports = {"http": http_port, "grpc": grpc_port, "metrics": metrics_port, "health": health_port}
        self._keep_going = keep_going
        self._tritonserver = tritonserver
        self._start_timeout_s = start_timeout_s
        self._exit_timeout_s = exit_timeout_s
        self._on_progress = on_progress or (lambda done, total: None)
        self._events = events
        self._process: subprocess.Popen[bytes] | None = None
        self._links: Path | None = None
        self.admin_key = secrets.token_urlsafe(24)
        self.shm_prefix = f"trident_{uuid.uuid4().hex[:12]}_"

    @property
    def http_url(self) -> str:
        """For `Client`."""
        return f"http://{HOST}:{self.ports['http']}"

    @property
    def grpc_url(self) -> str:
        """For `Client`."""
        return f"grpc://{HOST}:{self.ports['grpc']}"

    @property
    def metrics_url(self) -> str:
        """Prometheus metrics."""
        return f"http://{HOST}:{self.ports['metrics']}/metrics"

    @property
    def health_url(self) -> str:
        """Whether all models can serve: 200 or 503, with JSON that says which cannot and why."""
        return f"http://{HOST}:{self.ports['health']}{PATH}"

    @property
    def pid(self) -> int | None:
        """The supervisor's process, as the state file has it; None while nothing runs."""
        return None if self._process is None else self._process.pid

    @property
    def log(self) -> Path:
        """Tritonserver's log."""
        return log_of(self.ports["http"])

    def __enter__(self) -> "Server":
        """Start the server."""
        self.start()
        return self

    def start(self) -> None:
        """Start the server and wait until its models are loaded.

        Raises:
            ServerStartError: no tritonserver, no such repository, a busy port, or a model that does not load.
        """
        self.models = self.models or _find_models(self.model_repository)
        running_servers()  # cleans up after servers that were killed
        remove_old_logs()
        for model in self.models:
            write_bytecode(self.model_repository / model)
        self.ports = _choose_ports(self.ports)
        try:
            self._start()
            self._wait_until_live()
            self._check_models()
            self._say("started")
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server."""
        self.stop()

    def stop(self) -> None:
        """Let requests in flight finish, then end all processes and free ports and shared memory."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()  # the supervisor takes this for our end
            self._process.wait()
            self._process = None
        if self._links is not None:  # the supervisor removes them too, if we are killed
            shutil.rmtree(self._links, ignore_errors=True)
            self._links = None

    def wait(self) -> int:
        """Wait until the server ends by itself or by `trident stop`.

        Returns:
            Its exit status, or 128 + the signal that ended it.
        """
        status = 0 if self._process is None else self._process.wait()
        return status if status >= 0 else 128 - status  # negative: the supervisor itself was killed

    def model_status(self) -> list[ModelStatus]:
        """The state of the models that were to be loaded, by name and version."""
        with Client(self.http_url, admin_key=self.admin_key) as client:
            index = client.get_model_repository_index()
        found = [entry for entry in index if entry["name"] in self.models]
        rows = [ModelStatus(entry["name"], entry.get("version", ""), *self._state(entry)) for entry in found]
        missing = set(self.models) - {row.name for row in rows}
        rows += [ModelStatus(name, "", "UNAVAILABLE", "not in the model repository") for name in missing]
        return sorted(rows, key=lambda row: (row.name, row.version))

    def _state(self, entry: dict[str, str]) -> tuple[str, str]:
        said = entry.get("reason", "").partition("\nAt:\n")[0]  # what follows is the stub's traceback
        reason = "; ".join(line for line in said.splitlines() if line.strip()).replace(":; ", ": ")
        if "state" in entry:
            return entry["state"], reason
        polled = dict(POLL_FAILED.findall(self.log.read_text(encoding="utf-8", errors="replace")))
        return "UNAVAILABLE", polled.get(entry["name"], "it has no version that can be loaded")

    def _start(self) -> None:
        triton = find_tritonserver(self._tritonserver)
        repository = self._plain(self.model_repository.resolve())
        backends = self._plain(assemble_backends(triton))
        completes = _needs_completing(self.model_repository)
        arguments = self._arguments(triton, repository, backends, completes_configs=completes)
        arguments += request_size_options(triton)
        self.log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.log.write_text("")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "trident.server.supervisor"],
            stdin=subprocess.PIPE,
            stdout=self._events or subprocess.DEVNULL,
            start_new_session=True,
        )
        allow_connections(self._process.pid)
        order = {
            "arguments": arguments,
            "repository": str(repository),
            "environment": triton.environment(),
            "start_timeout_s": self._start_timeout_s,
            "exit_timeout_s": self._exit_timeout_s,
            "state": self._description(completes_configs=completes),
        }
        self._say(json.dumps(order))

    def _arguments(
        self, triton: Tritonserver, repository: Path, backends: Path, *, completes_configs: bool
    ) -> list[str]:
        """The command line of tritonserver, but for the options that not every release knows."""
        arguments = [
            str(triton.binary),
            f"--model-repository={repository}",
            f"--backend-directory={backends}",
            "--model-control-mode=explicit",
            *(f"--load-model={name}" for name in self.models),
            "--exit-on-error=false",  # we ask which models failed and why, and then decide
            f"--exit-timeout-secs={self._exit_timeout_s}",
            f"--backend-config=python,shm-region-prefix-name={self.shm_prefix}",
            f"--backend-config=python,thread-pool-size={SENDING_THREADS}",
            f"--http-restricted-api={RESTRICTED}:admin-key={self.admin_key}",
            f"--grpc-restricted-protocol={RESTRICTED}:admin-key={self.admin_key}",
            *(f"--{protocol}-address={HOST}" for protocol in PROTOCOLS),
            *(f"--{protocol}-port={self.ports[protocol]}" for protocol in PROTOCOLS),
        ]
        if not completes_configs:
            arguments.append("--disable-auto-complete-config")
        if triton.caches is not None and triton.caches.is_dir():
            arguments.append(f"--cache-directory={triton.caches}")
        return arguments

    def _description(self, *, completes_configs: bool) -> dict[str, object]:
        """What `ServerState` says of this server, but for the supervisor's process."""
        return {f"{protocol}_port": port for protocol, port in self.ports.items()} | {
            "model_repository": str(self.model_repository.resolve()),
            "admin_key": self.admin_key,
            "shm_prefix": self.shm_prefix,
            "links": str(self._links or ""),
            "log": str(self.log.resolve()),
            "completes_configs": completes_configs,
        }

    def _say(self, line: str) -> None:
        """Write a line to the supervisor; if it has ended, whoever waits for it finds out."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(line.encode() + b"\n")
                self._process.stdin.flush()

    def _plain(self, path: Path) -> Path:
        """The path, or a link to it if a shell would take it apart: Triton starts its stubs through one.

        Source: triton-inference-server/python_backend r24.10, src/stub_launcher.cc, StubLauncher::Launch; with a
        blank in the path the stub dies and tritonserver waits for it for ever.
        """
        if PLAIN_PATH.fullmatch(str(path)):
            return path
        if self._links is None:
            place = tempfile.gettempdir() if PLAIN_PATH.fullmatch(tempfile.gettempdir()) else "/tmp"  # noqa: S108
            self._links = Path(tempfile.mkdtemp(prefix="trident-", dir=place))
        link = self._links / f"link{len(list(self._links.iterdir()))}"
        link.symlink_to(path)
        return link

    def _wait_until_live(self) -> None:
        """Triton opens its ports when it is through with loading, so live means that every model was tried."""
        deadline = time.monotonic() + self._start_timeout_s
        with Client(self.http_url, timeout_s=5, retry=None) as client:
            while True:
                log = self.log.read_text(encoding="utf-8", errors="replace")
                self._on_progress(len(set(LOADED.findall(log)) & set(self.models)), len(self.models))
                if self._process is None or self._process.poll() is not None:
                    raise ServerStartError(f"tritonserver ended while starting: {_cause(log)}; its log is {self.log}")
                if time.monotonic() > deadline:
                    raise ServerStartError(
                        f"models did not load within {self._start_timeout_s:g} s; the log is {self.log}. "
                        f"Allow more with --start-timeout."
                    )
                try:
                    if client.is_server_live():
                        return
                except ClientError:
                    time.sleep(POLL_S)

    def _check_models(self) -> None:
        try:
            status = self.model_status()
        except Forbidden:
            port = self.ports["http"]
            raise ServerStartError(f"http port {port} was taken by another server while this one started") from None
        if any(row.reason.endswith(DIED) for row in status):
            status = self._load_again(status)
        self._on_progress(sum(row.state == "READY" for row in status), len(self.models))
        failed = [f"model '{row.name}': {row.reason}" for row in status if row.state != "READY"]
        ready = any(row.state == "READY" for row in status)
        if failed and not (self._keep_going and ready):
            hint = "" if self._keep_going else " (--keep-going serves the models that load)"
            raise ServerStartError(f"{'; '.join(failed)}{hint}; the log is {self.log}")

    def _load_again(self, status: list[ModelStatus]) -> list[ModelStatus]:
        """Load once more what did not load, since a process ended for no fault of its model's: starved, or killed."""
        failed = sorted((row for row in status if row.state != "READY"), key=lambda row: not row.reason.endswith(DIED))
        with Client(self.grpc_url, admin_key=self.admin_key, timeout_s=self._start_timeout_s, retry=None) as client:
            for name in dict.fromkeys(row.name for row in failed):  # those that others wait for come first
                with contextlib.suppress(ClientError):  # the status says why
                    client.load_model(name)
        return self.model_status()


def _find_models(repository: Path) -> list[str]:
    if not repository.is_dir():
        raise ServerStartError(f"no model repository {repository}; `trident build services/NAME` writes one")
    names = [
        path.name
        for path in sorted(repository.iterdir())
        if path.is_dir() and not path.name.startswith(".") and _is_model(path)
    ]
    if not names:
        raise ServerStartError(f"no models in {repository}; `trident build services/NAME` puts a service there")
    return names


def _is_model(folder: Path) -> bool:
    return (folder / "config.pbtxt").is_file() or any(path.name.isdigit() for path in folder.iterdir())


def _needs_completing(repository: Path) -> bool:
    """Whether Triton has to find out what configurations leave out; of all models, since any may be loaded later.

    It sleeps for a second for that, at each load of each model.
    Source: triton-inference-server/python_backend r24.10, src/stub_launcher.cc, UpdateHealth.
    """
    return not all(is_built(repository / name) for name in _find_models(repository))


def _choose_ports(ports: dict[str, int]) -> dict[str, int]:
    """Check that the ports are free, and find free ones for 0."""
    held: list[socket.socket] = []
    chosen = {}
    try:
        for protocol, port in ports.items():
            held.append(socket.socket())
            held[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                held[-1].bind((HOST, port))
                held[-1].listen()
            except OSError as error:
                raise ServerStartError(
                    f"{protocol} port {port} is taken ({error.strerror}); stop the other server (`trident stop`) "
                    f"or choose --{protocol}-port N (0: any free one)"
                ) from None
            chosen[protocol] = held[-1].getsockname()[1]
    finally:
        for holder in held:
            holder.close()
    return chosen


def _cause(log: str) -> str:
    """The last error line of a log that is not about a missing GPU, else its last line."""
    lines = [line for line in log.splitlines() if line.strip() and not NOISE.search(line)]
    errors = [line for line in lines if re.match(r"E\d{4} |error|Failed|.*terminate called", line, re.IGNORECASE)]
    return (errors or lines or ["it wrote nothing"])[-1].strip()
