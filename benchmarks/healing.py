"""Reports what callers notice when processes of a service's models are killed under load.

Run `make demo` first, then `make bench-healing`; nothing here gates a test. Callers send one text after the other over
HTTP and gRPC while SIGKILL ends a process of each step in turn; another service, a small one that is trained here, is
asked on the same server without any retries. Each kill waits until the one before is mended, and a second more.
"""

import argparse
import json
import os
import shlex
import signal
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from comparison.repositories import build_repository, train_small
from processes import tritonserver_of
from trident.machine import title
from trident.server.health import read_health
from trident.server.lifecycle import Server
from trident.server.stubs import find_stubs
from trident_client import Client, ClientError, Retry

ROOT = Path(__file__).parent.parent
# The deadline ends it. Triton 24.10 tells requests that waited for a process that died one by one, one a second.
RIDE_OUT = Retry(attempts=1000, lost_answers=True, attempt_timeout_s=5)
CALL_S = 120.0
SMALL = "small"
TEXTS = ("You won a free prize, call now", "See you at eight")


class Load:
    """Callers that ask until they are told to stop, and count."""

    def __init__(self, server: Server, service: str, neighbour: str, callers: int) -> None:
        """Begin."""
        self.answered = self.neighbour_answered = 0
        self.lost: list[str] = []
        self.wrong: list[str] = []
        self.neighbour_lost: list[str] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._server, self._service, self._neighbour = server, service, neighbour
        with Client(server.http_url, timeout_s=CALL_S) as client:
            self._right = [prediction.label for prediction in client.infer(service, TEXTS)]
        urls = (server.http_url, server.grpc_url)
        self._threads = [threading.Thread(target=self._ask, args=(urls[n % 2],)) for n in range(callers)]
        self._threads += [threading.Thread(target=self._ask_neighbour, args=(url,)) for url in urls]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, url: str) -> None:
        with Client(url, timeout_s=CALL_S, retry=RIDE_OUT) as client:
            while not self._stop.is_set():
                for text, right in zip(TEXTS, self._right, strict=True):
                    try:
                        label = client.infer(self._service, [text])[0].label
                    except ClientError as error:
                        self.lost.append(str(error))
                        continue
                    if label != right:
                        self.wrong.append(f"{text}: {label}")
                    with self._lock:
                        self.answered += 1

    def _ask_neighbour(self, url: str) -> None:
        with Client(url, timeout_s=CALL_S, retry=None) as client:
            while not self._stop.is_set():
                try:
                    client.infer(self._neighbour, TEXTS[:1])
                except ClientError as error:
                    self.neighbour_lost.append(str(error))
                with self._lock:
                    self.neighbour_answered += 1


def kill(server: Server, model: str) -> float:
    """Kill a process of a model; returns the seconds until it is told to serve again."""
    stubs = find_stubs(tritonserver_of(server), server.model_repository.resolve())
    stub = next(stub for stub in stubs if stub.model == model)
    port = server.ports["health"]
    before = read_health(port, 10)["restarts"].get(model, 0)
    os.kill(stub.pid, signal.SIGKILL)
    began = time.monotonic()
    while read_health(port, 10)["restarts"].get(model, 0) == before:
        if time.monotonic() - began > CALL_S:
            raise SystemExit(f"{model} is not back after {CALL_S:g} s: {read_health(port, 10)}")
        time.sleep(0.05)
    return time.monotonic() - began


def measure(server: Server, service: str, neighbour: str, callers: int, kills: int) -> dict[str, Any]:
    """Kill and count."""
    steps = [name for name in server.models if name.startswith(f"{service}_")]
    load = Load(server, service, neighbour, callers)
    took = []
    try:
        for number in range(kills):
            time.sleep(1)
            took.append(kill(server, steps[number % len(steps)]))
            print(f"  {number + 1}: {steps[number % len(steps)]} {took[-1]:.1f} s", file=sys.stderr, flush=True)
        time.sleep(1)
    finally:
        load.stop()
    return {
        "callers": callers,
        "kills": kills,
        "answered": load.answered,
        "lost": load.lost,
        "wrong": load.wrong,
        "neighbour_answered": load.neighbour_answered,
        "neighbour_lost": load.neighbour_lost,
        "recovery_median_s": round(statistics.median(took), 2),
        "recovery_worst_s": round(max(took), 2),
    }


def main() -> None:
    """Start a server of its own, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-repository", type=Path, default=ROOT / "model_repository", help="has the service")
    parser.add_argument("--service", default="spam", help="a text classification")
    parser.add_argument("--callers", type=int, default=32, help="at once")
    parser.add_argument("--kills", type=int, default=20, help="over the steps in turn")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        repository = Path(work) / "repository"
        repository.mkdir()
        for model in options.model_repository.resolve().glob(f"{options.service}*"):
            (repository / model.name).symlink_to(model)
        build_repository(train_small(SMALL, Path(work)), repository)
        with Server(repository, http_port=0, grpc_port=0, metrics_port=0) as server:
            told = measure(server, options.service, SMALL, options.callers, options.kills)
    if options.json:
        print(json.dumps(told))
        return
    print(f"{title()}; {shlex.join(sys.argv)}")
    print(f"{told['kills']} kills, {told['callers']} callers: {told['answered']} answered, {len(told['lost'])} lost")
    print(f"a model serves again after {told['recovery_median_s']} s (median), {told['recovery_worst_s']} s (worst)")
    print(f"another service without retries: {told['neighbour_answered']} answered, {len(told['neighbour_lost'])} lost")


if __name__ == "__main__":
    main()
