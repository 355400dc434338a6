"""The processes that Triton's Python backend starts, one for each instance of a model: whose they are, how they ended.

Source: triton-inference-server/python_backend r24.10, src/stub_launcher.cc: a stub's arguments begin with its program
and the path of the model's version; the server collects an ended one only when it unloads its model.
"""

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

PROGRAM = "triton_python_backend_stub"
PROC = Path("/proc")
IN_ORDER = "ended with status 0"  # as one does that Triton unloads


@dataclass(frozen=True)
class Stub:
    """One process of a model.

    Attributes:
        pid: of the process.
        model: the model.
        version: its version.
    """

    pid: int
    model: str
    version: str


def find_stubs(tritonserver: int, repository: Path) -> list[Stub]:
    """The stubs that run.

    Args:
        tritonserver: process group of the server.
        repository: the model repository as the server was told it.
    """
    found = []
    for folder in PROC.iterdir():
        if folder.name.isdigit() and int(folder.name) != tritonserver:
            with contextlib.suppress(OSError, ValueError):  # it ended just now, or is no stub of this repository
                if os.getpgid(int(folder.name)) == tritonserver:
                    found.append(_read(int(folder.name), repository))
    return found


def has_dead_only(tritonserver: int, repository: Path) -> bool:
    """Whether stubs have died that the server has not collected, and no other runs; see `find_stubs`."""
    return not find_stubs(tritonserver, repository) and bool(dead_stubs(tritonserver))


def dead_stubs(tritonserver: int) -> set[int]:
    """Processes of stubs that died, not in order, and that the server has not collected."""
    return {pid for pid in children(tritonserver) if end_of(pid) not in (None, IN_ORDER)}


def children(parent: int) -> set[int]:
    """The processes that a process has started or adopted, and has not collected.

    Source: proc(5), /proc/PID/stat field 4 (ppid).
    """
    found = set()
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if (folder / "stat").read_text().rpartition(")")[2].split()[1] == str(parent):
                    found.add(int(folder.name))
    return found


def end_of(pid: int) -> str | None:
    """How a process ended that its parent has not collected; None if it runs, or was collected.

    Source: proc(5), /proc/PID/stat fields 3 (state) and 52 (exit_code, as waitpid(2) gives it).
    """
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] != "Z":
        return None
    status = int(fields[49])
    if os.WIFSIGNALED(status):
        return f"was ended by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"ended with status {os.waitstatus_to_exitcode(status)}"


def _read(pid: int, repository: Path) -> Stub:
    """Raises ValueError if the process is no stub of a model in the repository."""
    arguments = (PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    if len(arguments) < 2 or Path(arguments[0]).name != PROGRAM:
        raise ValueError(f"process {pid} is no stub")
    model, version = Path(arguments[1]).relative_to(repository).parts[:2]
    return Stub(pid, model, version)
