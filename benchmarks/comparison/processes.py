"""Processes that are started: they are known by descent, measured, and all gone afterwards."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PR_SET_CHILD_SUBREAPER = 36  # Linux prctl(2)
STOP_S = 20.0
POLL_S = 0.02


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that none is lost."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1)


def descendants(pid: int) -> list[int]:
    """All processes below one, which is not among them."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended
                fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(folder.name))
    found, left = [], [pid]
    while left:
        below = children.get(left.pop(), [])
        found += below
        left += below
    return found


def memory_mb(pid: int) -> float:
    """Resident megabytes (10^6 bytes) of a process and all below it; what they share counts once (PSS)."""
    total = 0
    for process in [pid, *descendants(pid)]:
        with contextlib.suppress(OSError, StopIteration):  # it has ended, or is about to
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            total += int(next(line for line in lines if line.startswith("Pss:")).split()[1])
    return total * 1024 / 1e6


def cpu_s(pid: int) -> float:
    """Seconds of processor time that a process and all below it have used."""
    ticks = 0
    for process in [pid, *descendants(pid)]:
        with contextlib.suppress(OSError):  # it has ended
            fields = Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])  # proc(5): utime and stime
    return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, log: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, with its output in a log; it and all that it started end afterwards."""
    process = subprocess.Popen(
        command,
        env=dict(environment),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and all below it: asked first, killed if they take too long.

    What it leaves behind has become ours (`adopt_orphans`); a process is only signalled while it is below us.
    """
    ours = {process.pid, *descendants(process.pid)}
    if process.poll() is None:
        process.terminate()
    deadline = time.monotonic() + STOP_S
    while process.poll() is None and time.monotonic() < deadline:
        ours |= set(descendants(process.pid))
        time.sleep(POLL_S)
    left = ours & {process.pid, *descendants(os.getpid())} if process.poll() is None else _alive(ours)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + STOP_S / 4
        while left and time.monotonic() < deadline:
            process.poll()
            left = _alive(ours)
            time.sleep(POLL_S)


def _alive(ours: set[int]) -> set[int]:
    """Which of these are still below us; those that have ended and are our children are collected."""
    alive = ours & set(descendants(os.getpid()))
    for pid in list(alive):
        with contextlib.suppress(ChildProcessError, OSError):  # not our child, but one of a process that is
            if os.waitpid(pid, os.WNOHANG)[0] == pid:
                alive.discard(pid)
    return alive


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        return int(holder.getsockname()[1])
