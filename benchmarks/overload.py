"""Reports what a service does at twice its capacity: how much it answers, how it refuses, and how soon it is over.

Run `make demo` first, then `make bench-overload`; nothing here gates a test. `--json FILE` keeps the figures. The
server has the first half of the machine's cores and the client the others, so that what the client takes is not taken
for a cost of refusing; `--together` lets them share all. `--sleeping` measures a model that only sleeps, 8 requests in
50 ms.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from trident.datasets import read_dataset
from trident.server.lifecycle import Server
from trident_client import AsyncClient, Client, ClientError, Unavailable

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from overload_models import write_guarded  # noqa: E402

SLEEPING = {"limit": 64, "delay_s": 0.05, "batch": 8}
TICK_S = 0.005  # the open loop sends what is due at every tick
FILLED_S = 60.0  # by then somebody should have been refused
SETTLED_S = 3.0  # by then the server has tokenized what was sent at once
UNDER_WAY = 2  # batches that Triton has taken out of the queue: one that runs, one that is prepared
CALM = 2.0  # latency is back when it is at most so many times what it was
PROBE_S = 10.0  # how long to wait for that

Found = TypeVar("Found")
Ask = Callable[[], Awaitable[object]]
Asking = Callable[[AsyncClient], Ask]


@dataclass
class Tally:
    """What became of requests, in seconds; and when those that were answered were."""

    answered: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    async def count(self, ask: Ask) -> None:
        """Send one request."""
        started = time.perf_counter()
        try:
            await ask()
            self.ended.append(time.perf_counter())
            self.answered.append(self.ended[-1] - started)
        except Unavailable:
            self.refused.append(time.perf_counter() - started)
        except ClientError as error:
            self.failed.append(str(error))

    def rate(self, since: float, until: float) -> float:
        """Answers a second between two moments.

        Answers come a batch at a time, which takes up to a second; so time counts from the last answer before the
        first moment to the last one before the second, which makes it whole batches.
        """
        first, last = (max((end for end in self.ended if end <= moment), default=moment) for moment in (since, until))
        return sum(first < end <= last for end in self.ended) / (last - first) if last > first else 0.0


@dataclass(frozen=True)
class Figures:
    """One protocol's figures; rates in requests a second, times in milliseconds."""

    protocol: str
    capacity: float
    offered: float
    answered: float
    answered_to_capacity: float
    one_by_one_to_capacity: float
    answered_to_one_by_one: float
    refused: int
    failed: int
    refusal_p50_ms: float
    refusal_p99_ms: float
    answer_p99_ms: float
    bound_ms: float
    alone_before_ms: float
    calm_after_s: float
    client_cores_at_capacity: float
    client_cores_in_flood: float


async def closed_loop(ask: Ask, callers: int, seconds: float) -> float:
    """Answers a second with so many callers, each of which asks again when it is answered."""
    tally = Tally()
    end = time.perf_counter() + seconds

    async def caller() -> None:
        while time.perf_counter() < end:
            await tally.count(ask)

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return len(tally.answered) / (time.perf_counter() - started)


async def open_loop(ask: Ask, rate: float, seconds: float, waiting: int = 0) -> tuple[Tally, float, float]:
    """Send at a rate, whatever is answered, and count for so many seconds.

    It counts from the first refusal on, since before that the server works on requests which it only lays in store.
    If `waiting` is given, so many are sent at once, for batches to be full; then it counts when the server has taken
    them in, and until the first refusal at most.

    Returns:
        What became of the requests, those sent a second, and those answered a second.
    """
    tally, tasks, sent = Tally(), set(), 0
    since: float | None = None
    started = time.perf_counter()
    while (now := time.perf_counter()) < (since + seconds if since else started + FILLED_S):
        for _ in range(waiting + int(rate * (now - started)) - sent):
            task = asyncio.ensure_future(tally.count(ask))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            sent += 1
        if waiting and tally.refused:
            break
        if since is None and (now >= started + SETTLED_S if waiting else tally.refused):
            since = now
        await asyncio.sleep(TICK_S)
    answered = tally.rate(since or started, now)
    await asyncio.gather(*tasks)
    return tally, (sent - waiting) / (now - started), answered


@contextlib.contextmanager
def cores_apart(together: bool) -> Iterator[Callable[[], None]]:
    """What is started in here gets the first half of the cores until what it yields is called: we get the others then.

    It changes nothing if they shall work together, or if there is one core only.
    """
    cores = sorted(os.sched_getaffinity(0))
    half = len(cores) // 2
    if together or not half:
        yield lambda: None
        return
    _move_to(cores[:half])
    try:
        yield lambda: _move_to(cores[half:])
    finally:
        _move_to(cores)


def _move_to(cores: Sequence[int]) -> None:
    """Move all threads of this process."""
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), cores)


async def with_cores(work: Awaitable[Found]) -> tuple[Found, float]:
    """What came of some work, and the cores that this process used for it."""
    began, used = time.perf_counter(), time.process_time()
    found = await work
    return found, (time.process_time() - used) / (time.perf_counter() - began)


async def alone_ms(ask: Ask, requests: int = 30) -> float:
    """Median milliseconds of a request that is alone."""
    tally = Tally()
    for _ in range(requests):
        await tally.count(ask)
    return 1e3 * statistics.median(tally.answered)


async def calm_s(ask: Ask, limit_ms: float) -> float:
    """Seconds until a request takes at most `limit_ms`."""
    started = time.perf_counter()
    while time.perf_counter() - started < PROBE_S:
        tally = Tally()
        await tally.count(ask)
        if tally.answered and 1e3 * tally.answered[0] <= limit_ms:
            break
        await asyncio.sleep(TICK_S)
    return time.perf_counter() - started


def percentile_ms(seconds: list[float], percent: int) -> float:
    """A percentile in milliseconds; NaN of nothing."""
    return 1e3 * sorted(seconds)[min(len(seconds) - 1, len(seconds) * percent // 100)] if seconds else float("nan")


async def measure(url: str, asking: Asking, limit: int, batch: int, options: argparse.Namespace) -> Figures:
    """Find the capacity before and after: ask for as much one by one, then for twice of it, and see when it is calm."""
    async with AsyncClient(url, retry=None, timeout_s=60) as client:
        ask = asking(client)
        before = await alone_ms(ask)
        await closed_loop(ask, options.callers, 1)
        first, calm_cores = await with_cores(closed_loop(ask, options.callers, options.seconds))
        _, _, one_by_one = await open_loop(ask, first, options.seconds, waiting=limit // 4)
        (tally, offered, answered), flood_cores = await with_cores(open_loop(ask, 2 * first, options.seconds))
        calm = await calm_s(ask, CALM * before)
        capacity = (first + await closed_loop(ask, options.callers, options.seconds)) / 2
    return Figures(
        protocol=url.partition(":")[0],
        capacity=capacity,
        offered=offered,
        answered=answered,
        answered_to_capacity=answered / capacity,
        one_by_one_to_capacity=one_by_one / capacity,
        answered_to_one_by_one=answered / one_by_one,
        refused=len(tally.refused),
        failed=len(tally.failed),
        refusal_p50_ms=percentile_ms(tally.refused, 50),
        refusal_p99_ms=percentile_ms(tally.refused, 99),
        answer_p99_ms=percentile_ms(tally.answered, 99),
        bound_ms=1e3 * (limit + UNDER_WAY * batch) / answered,
        alone_before_ms=before,
        calm_after_s=calm,
        client_cores_at_capacity=calm_cores,
        client_cores_in_flood=flood_cores,
    )


def report(repository: Path, gate: str, asking: Asking, options: argparse.Namespace) -> list[Figures]:
    """The figures of both protocols, from one server; `gate` is the model that limits how many wait."""
    with (
        cores_apart(options.together) as go_apart,
        Server(repository, http_port=0, grpc_port=0, metrics_port=0) as server,
    ):
        go_apart()
        with Client(server.http_url) as client:
            config = client.get_model_config(gate)
        limit = int(config["parameters"]["MAX_WAITING"]["string_value"])
        batch = int(config["max_batch_size"])
        urls = (server.http_url, server.grpc_url)
        return [asyncio.run(measure(url, asking, limit, batch, options)) for url in urls]


def report_sleeping(options: argparse.Namespace) -> list[Figures]:
    """The figures of a model that sleeps."""
    tensors = {"x": np.array([[b"a"]], dtype=object)}
    with tempfile.TemporaryDirectory() as folder:
        write_guarded(Path(folder), **SLEEPING)  # type: ignore[arg-type]
        return report(Path(folder), "door", lambda client: lambda: client.infer_tensors("guarded", tensors), options)


def report_service(options: argparse.Namespace) -> list[Figures]:
    """The figures of a service."""
    data = ROOT / "data" / "sms_spam.tsv"
    dataset = read_dataset(data, text_column="text", label_column="label", skip_bad_rows=False)
    texts = [example.text for example in dataset.examples[: options.texts]]
    gate = f"{options.service}_preprocess"
    return report(options.model_repository, gate, lambda client: lambda: client.infer(options.service, texts), options)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--service", default="spam", help="a text classification in it, with a max_queue_size")
    parser.add_argument("--sleeping", action="store_true", help="a model of known capacity instead of the service")
    parser.add_argument("--together", action="store_true", help="client and server share all cores")
    parser.add_argument("--texts", type=int, default=1, help="in a request")
    parser.add_argument("--callers", type=int, default=128, help="at once, to find the capacity")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each loop")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    rows = [asdict(figures) for figures in (report_sleeping if options.sleeping else report_service)(options)]
    print("| |" + "".join(f" {row['protocol']} |" for row in rows))
    print("|---|" + "---|" * len(rows))
    for name in list(rows[0])[1:]:
        print(f"| {name} |" + "".join(f" {row[name]:.4g} |" for row in rows))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
