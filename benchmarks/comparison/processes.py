"""Processes that are started: they are known by descent, measured, and all gone afterwards."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PR_SET_CHILD_SUBREAPER = 36  # Linux prctl(2)
STOP_S = 20.0  # that a server may take to end when it is asked to
LEFT_S = 5.0  # that what it left behind may take
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


def memory_mb(pids: Iterable[int]) -> float:
    """Resident megabytes (10^6 bytes) of processes; what they share counts once (PSS)."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError, StopIteration):  # it has ended, or is about to
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += int(next(line for line in lines if line.startswith("Pss:")).split()[1])
    return total * 1024 / 1e6


def cpu_s(pids: Iterable[int]) -> float:
    """Seconds of processor time that processes have used."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):  # it has ended
            fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])  # proc(5): utime and stime
    return ticks / os.sysconf("SC_CLK_TCK")


def with_descendants(pid: int) -> list[int]:
    """A process and all below it."""
    return [pid, *descendants(pid)]


@contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, log: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    """A process with its output in a log; it and all that it started have ended afterwards.

    What it leaves behind becomes ours (`adopt_orphans`), so that all of it is found below us.
    """
    before = set(descendants(os.getpid()))
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
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
        _end_all_but(before)
        process.wait()


def _end_all_but(kept: set[int]) -> None:
    """End what is below us: those that ended are collected, the others asked, and in the end killed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in set(descendants(os.getpid())) - kept:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + LEFT_S
        while (left := set(descendants(os.getpid())) - kept) and time.monotonic() < deadline:
            for pid in left:
                with contextlib.suppress(ChildProcessError):  # its parent, one of the others, has yet to end
                    os.waitpid(pid, os.WNOHANG)
            time.sleep(POLL_S)


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        return int(holder.getsockname()[1])
