"""The state file of a running server: how `trident stop` and admin calls find it.

It holds the admin key, so only its owner may read it. The key also stands in tritonserver's arguments,
which every user of the machine can list.
"""

import contextlib
import json
import os
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from trident.paths import state_dir

LOOPBACK = {"127.0.0.1", "localhost", "::1"}
LOGS_KEPT_S = 7 * 24 * 3600
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux shows the regions of shm_open(3)


@dataclass(frozen=True)
class ServerState:
    """One server.

    Attributes:
        supervisor_pid: the process to signal; it stops all others.
        supervisor_started: its start in clock ticks since boot, so that a reused pid is told apart.
        http_port, grpc_port, metrics_port, health_port: on 127.0.0.1.
        model_repository: what it serves.
        admin_key: for the restricted APIs.
        shm_prefix: how its regions in /dev/shm begin.
        log: tritonserver's log file.
        links: folder of links made for it; empty if there is none.
        completes_configs: whether it adds what a model's configuration leaves out.
    """

    supervisor_pid: int
    supervisor_started: int
    http_port: int
    grpc_port: int
    metrics_port: int
    health_port: int
    model_repository: str
    admin_key: str
    shm_prefix: str
    log: str
    links: str
    completes_configs: bool

    @property
    def is_alive(self) -> bool:
        """Whether its supervisor still runs."""
        return process_start(self.supervisor_pid) == self.supervisor_started

    @property
    def http_url(self) -> str:
        """For `Client`."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def grpc_url(self) -> str:
        """For `Client`."""
        return f"grpc://127.0.0.1:{self.grpc_port}"

    @property
    def path(self) -> Path:
        """Its state file."""
        return server_dir(self.http_port) / "state.json"

    def write(self) -> None:
        """Write the state file, readable by its owner only."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = self.path.with_suffix(".new")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(self), file, indent=2)
        beside.replace(self.path)

    def remove_regions(self) -> None:
        """Remove its shared memory; nothing of it may run."""
        for region in SHARED_MEMORY.glob(f"{self.shm_prefix}*"):
            region.unlink(missing_ok=True)

    def clean_up(self) -> None:
        """Remove what a server of this state can leave behind: shared memory, links and its state file."""
        self.remove_regions()
        if self.links:
            shutil.rmtree(self.links, ignore_errors=True)
        try:  # another server may have taken the port, and the file with it
            mine = json.loads(self.path.read_bytes())["supervisor_pid"] == self.supervisor_pid
        except (OSError, ValueError, LookupError, TypeError):
            return
        if mine:
            self.path.unlink(missing_ok=True)


def remove_old_logs() -> None:
    """Remove the folders of servers that have been gone for a week; servers on free ports leave many."""
    for folder in (state_dir() / "servers").glob("*"):
        with contextlib.suppress(FileNotFoundError):  # another start removes the same
            old = time.time() - folder.stat().st_mtime > LOGS_KEPT_S
            if old and not (folder / "state.json").exists():
                shutil.rmtree(folder, ignore_errors=True)


def server_dir(http_port: int) -> Path:
    """The folder of the server on this port: state.json while it runs, and its log."""
    return state_dir() / "servers" / str(http_port)


def log_of(http_port: int) -> Path:
    """The log of the tritonserver that runs on this port, or ran there last."""
    return server_dir(http_port) / "tritonserver.log"


def logged_ports() -> list[int]:
    """HTTP ports of the servers whose log is kept."""
    folders = (state_dir() / "servers").glob("*")
    return sorted(
        int(folder.name) for folder in folders if folder.name.isdigit() and (folder / "tritonserver.log").is_file()
    )


def process_start(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None if there is none, or it is a zombie.

    Source: proc(5), /proc/PID/stat fields 3 (state) and 22 (starttime).
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def running_servers() -> list[ServerState]:
    """All servers of this user that run; what dead ones left behind is removed on the way."""
    found = []
    for path in sorted((state_dir() / "servers").glob("*/state.json")):
        try:
            state = ServerState(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):  # it ended just now, or another version of Trident wrote it
            continue
        if state.is_alive:
            found.append(state)
        else:
            state.clean_up()
    return found


def server_at(url: str) -> ServerState | None:
    """The server of this user on this machine that a URL leads to, if it is one."""
    port = port_here(url)
    return next((state for state in running_servers() if port in (state.http_port, state.grpc_port)), None)


def port_here(url: str) -> int | None:
    """The port of this machine that a URL leads to; None if it leads elsewhere, or nowhere."""
    try:
        parts = urlsplit(url)
        return parts.port if parts.hostname in LOOPBACK else None
    except ValueError:
        return None
