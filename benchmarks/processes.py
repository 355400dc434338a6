"""What a server that a benchmark started holds."""

from dataclasses import dataclass
from pathlib import Path

from comparison.processes import memory_mb, with_descendants
from trident.server.lifecycle import Server
from trident.server.state import SHARED_MEMORY

MB = 1e6


@dataclass(frozen=True)
class Held:
    """What a server holds at one moment; megabytes are 10^6 bytes.

    Attributes:
        memory_mb: proportional set size of all its processes (shared pages counted once).
        tritonserver_mb: that of tritonserver and its supervisor, which no recovery of a model replaces.
        shared_memory_mb: its regions in /dev/shm.
        descriptors: open files of all processes.
        threads: of all processes.
    """

    memory_mb: float
    tritonserver_mb: float
    shared_memory_mb: float
    descriptors: int
    threads: int


def tritonserver_of(server: Server) -> int:
    """The process of a server's tritonserver.

    Raises:
        ProcessLookupError: none runs just now.
    """
    for pid in _pids(server):
        if _program(pid) == "tritonserver":
            return pid
    raise ProcessLookupError(f"no tritonserver runs for {server.http_url}")


def held(server: Server) -> Held:
    """Look at a running server.

    Raises:
        ProcessLookupError: it, or its tritonserver, does not run just now.
    """
    pids = _pids(server)
    return Held(
        memory_mb=memory_mb(pids),
        tritonserver_mb=memory_mb([pids[0], tritonserver_of(server)]),
        shared_memory_mb=sum(map(_bytes_held, SHARED_MEMORY.glob(f"{server.shm_prefix}*"))) / MB,
        descriptors=sum(_entries(pid, "fd") for pid in pids),
        threads=sum(_entries(pid, "task") for pid in pids),
    )


def _pids(server: Server) -> list[int]:
    """Of the supervisor, which is the first, and of all below it."""
    if server.pid is None:
        raise ProcessLookupError(f"the server at {server.http_url} does not run")
    return with_descendants(server.pid)


def _program(pid: int) -> str:
    try:
        return Path((Path("/proc") / str(pid) / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")).name
    except OSError:  # it ended just now
        return ""


def _bytes_held(region: Path) -> int:
    try:
        return region.stat().st_blocks * 512
    except FileNotFoundError:  # it was removed just now
        return 0


def _entries(pid: int, folder: str) -> int:
    try:
        return len(list((Path("/proc") / str(pid) / folder).iterdir()))
    except OSError:
        return 0
