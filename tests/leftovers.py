"""What a server can leave behind: processes, ports, shared memory, a state file."""

import contextlib
import socket
from pathlib import Path

from trident.server.lifecycle import HOST, Server
from trident.server.state import SHARED_MEMORY, ServerState, server_dir


def leftovers(server: Server) -> list[str]:
    """A line for each thing that a stopped server left."""
    return [
        *(f"process {line}" for line in processes(server.shm_prefix)),
        *(f"port {port}" for port in server.ports.values() if not is_free(port)),
        *(f"region {region}" for region in SHARED_MEMORY.glob(f"{server.shm_prefix}*")),
        *(f"state {path}" for path in [server_dir(server.ports["http"]) / "state.json"] if path.exists()),
    ]


def processes(argument: str) -> list[str]:
    """The command lines of all processes that have `argument` in theirs: tritonserver and its stubs."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if argument in line and ("tritonserver" in line or "backend_stub" in line):
                found.append(f"{folder.name}: {line}")
    return found


def is_free(port: int) -> bool:
    """Whether nobody listens on the port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) != 0


def pids(server: Server | ServerState, name: str) -> list[int]:
    """Processes of a server that have a name in their arguments."""
    return [int(line.partition(":")[0]) for line in processes(server.shm_prefix) if name in line.partition(" ")[2]]
