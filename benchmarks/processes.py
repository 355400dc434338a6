"""The processes of a server that a benchmark started, and what they hold."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from trident.server.lifecycle import Server
from trident.server.state import SHARED_MEMORY

PROC = Path("/proc")
MIB = 1 << 20


@dataclass(frozen=True)
class Held:
    """What a server holds at one moment.

    Attributes:
        memory_mib: proportional set size of all its processes (shared pages counted once).
        tritonserver_mib: that of tritonserver and its supervisor, which no recovery of a model replaces.
        shared_memory_mib: its regions in /dev/shm.
        descriptors: open files of all processes.
        threads: of all processes.
    """

    memory_mib: float
    tritonserver_mib: float
    shared_memory_mib: float
    descriptors: int
    threads: int


def tritonserver_of(server: Server) -> int:
    """The process group of a server's tritonserver, which is its pid."""
    for pid in _all_pids():
        with contextlib.suppress(OSError):
            if server.shm_prefix.encode() in (PROC / str(pid) / "cmdline").read_bytes():
                return os.getpgid(pid)
    raise ProcessLookupError(f"no tritonserver runs for {server.http_url}")


def held(server: Server) -> Held:
    """Look at a server."""
    tritonserver = tritonserver_of(server)
    supervisor = int((PROC / str(tritonserver) / "stat").read_text().rpartition(")")[2].split()[1])
    pids = [supervisor, *(pid for pid in _all_pids() if _group(pid) == tritonserver)]
    return Held(
        memory_mib=sum(map(_memory_mib, pids)),
        tritonserver_mib=_memory_mib(tritonserver) + _memory_mib(supervisor),
        shared_memory_mib=sum(path.stat().st_blocks * 512 for path in SHARED_MEMORY.glob(f"{server.shm_prefix}*"))
        / MIB,
        descriptors=sum(_entries(pid, "fd") for pid in pids),
        threads=sum(_entries(pid, "task") for pid in pids),
    )


def _all_pids() -> list[int]:
    return [int(folder.name) for folder in PROC.iterdir() if folder.name.isdigit()]


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except OSError:
        return 0


def _memory_mib(pid: int) -> float:
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:  # it ended just now
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def _entries(pid: int, folder: str) -> int:
    try:
        return len(list((PROC / str(pid) / folder).iterdir()))
    except OSError:
        return 0
