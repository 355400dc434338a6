"""Refuses requests at a service's door while too many wait inside it.

Triton's own `max_queue_size` would do it, at a price: a scheduler with any limit prepares no batch ahead, and release
24.10 then looks for work only when another request comes, or after half a second. A burst of requests with none
behind it is answered with such pauses between its batches. So the stage that a request meets first asks Triton how
many wait, and the models' own queues have no limit.
Source: triton-inference-server/core, src/dynamic_batch_scheduler.cc, src/rate_limiter.cc, PayloadSlotAvailable, and
src/scheduler_utils.cc, PriorityQueue (support_prefetching_); the pauses were measured with release 24.10.
"""

import http.client
import re
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

PERIOD_S = 0.02  # at least, between two looks
FASTEST = 5000  # requests a second that a stage can take one by one: so long, by its limit, a full queue lasts
CALM_S = 0.5  # the same, while nobody would be refused: a look takes 2 ms of both processes' time
FEW = 16  # requests after which nobody looks without need, so that a lone caller does not wait for it
TIMEOUT_S = 1.0
ANCESTORS = 8  # the stub may be started through a shell
WAITING = re.compile(r'^nv_inference_pending_request_count\{[^}]*model="([^"]*)"[^}]*\} (\S+)$', re.MULTILINE)

Look = Callable[[], tuple[int, int]]


class Gate:
    """Counts the requests that wait behind it, with those that it let in since it last looked, and those before it.

    The latter do not count for one that is at the gate, unless there are more than may wait: then the first of them
    are refused, so that the stage gets to the others. Those that it let in may long be answered; so nobody is refused
    because of a count that is older than `PERIOD_S`, or than what as many as may wait take to be answered at least.
    """

    def __init__(self, limit: int, look: Look, clock: Callable[[], float] = time.monotonic) -> None:
        """Nobody waits yet.

        Args:
            limit: requests that may wait, ≥ 1.
            look: says how many wait now, before the gate and behind it; if it raises anything, nobody can say, and
                all are let in.
            clock: seconds that pass.
        """
        self._limit = limit
        self._period_s = max(PERIOD_S, limit / FASTEST)
        self._look = look
        self._clock = clock
        self._before = self._behind = self._admitted = 0
        self._looked = clock()

    def refusal(self) -> str | None:
        """None lets a request in; else why it may not."""
        self._before = max(0, self._before - 1)  # this one
        age = self._clock() - self._looked
        if (age >= self._period_s and self._waiting >= self._limit) or (age >= CALM_S and self._admitted >= FEW):
            self._count()
        if self._waiting >= self._limit:
            return f"{self._waiting} requests wait, and {self._limit} may (max_queue_size); try again later"
        self._admitted += 1
        return None

    @property
    def _waiting(self) -> int:
        return max(self._before, self._behind + self._admitted)

    def _count(self) -> None:
        try:
            self._before, self._behind = self._look()
        except Exception:  # whatever it is: a stage must not fail for want of a number
            self._before = self._behind = 0
        self._admitted = 0
        self._looked = self._clock()


class Metrics:
    """Triton's metrics, as a `Look`."""

    def __init__(self, address: tuple[str, int], first: str, others: Sequence[str]) -> None:
        """Count the requests that wait for the first model and for the others of a service, at host and port."""
        self._address = address
        self._models = ((first,), tuple(others))

    def __call__(self) -> tuple[int, int]:
        """How many wait for an instance of the first model now, and how many for the others.

        Raises:
            OSError, HTTPException, ValueError: nobody answers, or no Triton.
        """
        connection = http.client.HTTPConnection(*self._address, timeout=TIMEOUT_S)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode(errors="replace")
        finally:
            connection.close()
        found = [(name, round(float(value))) for name, value in WAITING.findall(text)]
        before, behind = (sum(value for name, value in found if name in models) for models in self._models)
        return before, behind


def metrics_address(process: str = "self") -> tuple[str, int] | None:
    """Host and port of the metrics of the tritonserver that started a process; None if it has none."""
    proc = Path("/proc") / process
    for _ in range(ANCESTORS):
        try:
            arguments = (proc / "cmdline").read_bytes().decode(errors="replace").split("\0")
            parent = (proc / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1]
        except OSError:
            return None
        if Path(arguments[0]).name == "tritonserver":
            return parse(arguments)
        proc = Path("/proc") / parent
    return None


def parse(arguments: Sequence[str]) -> tuple[str, int] | None:
    """Host and port among a tritonserver's arguments; None if it was told to have no metrics."""
    options = {key: value for key, value in pairwise(arguments) if key.startswith("--") and "=" not in key}
    options |= dict(value.split("=", 1) for value in arguments if value.startswith("--") and "=" in value)
    if options.get("--allow-metrics", "true").lower() in ("false", "0"):
        return None
    host = options.get("--metrics-address", options.get("--http-address", "127.0.0.1"))
    return ("127.0.0.1" if host == "0.0.0.0" else host), int(options.get("--metrics-port", "8002"))  # noqa: S104
