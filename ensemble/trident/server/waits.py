"""Finds processes of models that tritonserver waits for although they do not end.

When a process of a model is starved while it loads (more than a second on a machine with more to do than cores),
Triton 24.10 gives it up: it neither asks it again nor ends it, and waits for its end. The load then never ends, nor
does the start of the server. Once the process is killed, the load fails as it should, and can be repeated.

Source: triton-inference-server/python_backend r24.10, src/stub_launcher.cc, ReceiveMessageFromStub and
WaitForStubProcess; proc(5), /proc/PID/task/TID/syscall.
"""

import contextlib
import platform
import time
from collections.abc import Callable
from pathlib import Path

LOOK_EVERY_S = 1.0  # a tritonserver has hundreds of threads
WAIT4 = {"x86_64": 61, "aarch64": 260}.get(platform.machine(), -1)


class Waits:
    """Looks at one tritonserver again and again."""

    def __init__(self, proc: Path = Path("/proc"), clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is known yet."""
        self._proc = proc
        self._clock = clock
        self._looked = -LOOK_EVERY_S
        self._since: dict[int, float] = {}

    def find(self, tritonserver: int, running: set[int], limit_s: float) -> set[int]:
        """Processes that a thread of tritonserver has been waiting for.

        Args:
            tritonserver: its process.
            running: the processes that may be meant; all of them run.
            limit_s: seconds that it has waited at least.
        """
        now = self._clock()
        if now - self._looked >= LOOK_EVERY_S:
            self._looked = now
            self._since = {pid: self._since.get(pid, now) for pid in self._waited_for(tritonserver)}
        return {pid for pid, since in self._since.items() if pid in running and now - since >= limit_s}

    def _waited_for(self, tritonserver: int) -> set[int]:
        """A thread that waits shows its system call with its arguments; where that is not allowed, nobody is found."""
        found = set()
        with contextlib.suppress(OSError):
            for thread in (self._proc / str(tritonserver) / "task").iterdir():
                with contextlib.suppress(OSError, ValueError):  # it ended just now, or runs
                    number, process, *_ = (thread / "syscall").read_text().split()
                    if int(number) == WAIT4:
                        found.add(int(process, 16))
        return found
