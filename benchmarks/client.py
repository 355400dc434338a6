"""Reports what the client costs beside raw tritonclient and PyTriton's client: one caller, and 32 at once.

Run `make demo` first, then `make bench-client`; nothing here gates a test. `--json FILE` keeps the figures.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http
from numpy.typing import NDArray
from pytriton.client import ModelClient
from trident.server.lifecycle import Server
from trident_client import Client

ROOT = Path(__file__).parent.parent
IDENTITY = ROOT / "tests" / "models" / "identity"
TEXT = "You won a free prize, call 09061701461 now to claim"
CALLERS = (1, 32)
WARM_UP = 20
LIMIT_PERCENT = 10

Call = Callable[[], object]


def column() -> NDArray[np.object_]:
    """The request: BYTES [1, 1]."""
    return np.array([[TEXT.encode()]], dtype=object)


@contextmanager
def raw_calls(url: str, model: str, name: str) -> Iterator[Call]:
    """As tritonclient's documents show it; over HTTP each thread needs a client of its own."""
    protocol: Any = tritonclient.http if url.startswith("http") else tritonclient.grpc
    clients = per_thread(lambda: protocol.InferenceServerClient(url.partition("//")[2]))

    def call() -> object:
        tensor = protocol.InferInput(name, [1, 1], "BYTES")
        tensor.set_data_from_numpy(column())
        result = clients().infer(model, [tensor])
        if name == "x":
            return result.as_numpy("y")
        return [
            (label.decode(), float(score))
            for label, score in zip(result.as_numpy("label")[0], result.as_numpy("score")[0], strict=True)
        ]

    yield call


@contextmanager
def pytriton_calls(url: str, model: str, name: str) -> Iterator[Call]:
    """PyTriton's client, which is for one thread, too."""
    clients = per_thread(lambda: ModelClient(url, model))
    yield lambda: clients().infer_batch(**{name: column()})


@contextmanager
def our_calls(url: str, model: str, name: str) -> Iterator[Call]:
    """One client for all threads."""
    with Client(url) as client:
        if name == "x":
            yield lambda: client.infer_tensors(model, {"x": column()})["y"]
        else:
            yield lambda: client.infer(model, [TEXT])


WAYS = {"tritonclient": raw_calls, "PyTriton": pytriton_calls, "trident_client": our_calls}


def per_thread(make: Callable[[], Any]) -> Callable[[], Any]:
    """A client for each thread that asks."""
    local = threading.local()

    def get() -> Any:
        if not hasattr(local, "client"):
            local.client = make()
        return local.client

    return get


def alone_ms(calls: dict[str, Call], seconds: float) -> dict[str, float]:
    """Median milliseconds of a request that is alone; the ways take turns with every request."""
    times: dict[str, list[float]] = {way: [] for way in calls}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for way, call in calls.items():
            started = time.perf_counter()
            call()
            times[way].append(1e3 * (time.perf_counter() - started))
    return {way: statistics.median(values[WARM_UP:]) for way, values in times.items()}


def together_ms(call: Call, callers: int, seconds: float) -> float:
    """Milliseconds between two answers, while several ask at once."""
    with ThreadPoolExecutor(callers) as pool:
        barrier = threading.Barrier(callers)

        def work(_: int) -> int:
            call()
            barrier.wait()
            done, end = 0, time.perf_counter() + seconds
            while time.perf_counter() < end:
                call()
                done += 1
            return done

        return 1e3 * seconds / sum(pool.map(work, range(callers)))


def measure(url: str, model: str, name: str, callers: int, rounds: int, seconds: float) -> dict[str, float]:
    """Milliseconds of each way; of several callers the median of several rounds, the ways in turn, there and back."""
    with ExitStack() as stack:
        calls = {way: stack.enter_context(make(url, model, name)) for way, make in WAYS.items()}
        if callers == 1:
            return alone_ms(calls, 2 * rounds * seconds)
        times: dict[str, list[float]] = {way: [] for way in WAYS}
        for number in range(rounds):
            for way in list(WAYS)[:: 1 if number % 2 else -1]:
                times[way].append(together_ms(calls[way], callers, seconds))
        return {way: statistics.median(values) for way, values in times.items()}


def report(repository: Path, service: str, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """All figures, a row for each protocol, model and number of callers."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(IDENTITY, Path(folder) / "identity")
        for part in repository.glob(f"{service}*"):
            (Path(folder) / part.name).symlink_to(part.resolve())
        with Server(Path(folder), http_port=0, grpc_port=0, metrics_port=0) as server:
            for asked, name in (("identity", "x"), (service, "text")):
                for protocol, url in (("HTTP", server.http_url), ("gRPC", server.grpc_url)):
                    for callers in CALLERS:
                        print(f"  {asked}, {protocol}, {callers} at once ...", file=sys.stderr, flush=True)
                        times = measure(url, asked, name, callers, rounds, seconds)
                        rows.append({"model": asked, "protocol": protocol, "callers": callers, "ms": times})
    return rows


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--service", default="spam", help="a text classification in it")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each round")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = report(options.model_repository, options.service, options.rounds, options.seconds)
    columns = " | ".join(f"{way}, ms" for way in WAYS)
    print(f"| model | protocol | callers | {columns} | ours above raw (≤ {LIMIT_PERCENT} %) |")
    print("|---|---|---|" + "---|" * (len(WAYS) + 1))
    for row in rows:
        times = row["ms"]
        above = 100 * (times["trident_client"] / times["tritonclient"] - 1)
        figures = " | ".join(f"{times[way]:.3f}" for way in WAYS)
        print(f"| {row['model']} | {row['protocol']} | {row['callers']} | {figures} | {above:+.0f} % |")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
