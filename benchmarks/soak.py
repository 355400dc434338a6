"""Serves for an hour under mixed load, kills, releases and bad requests, and compares the end with the beginning.

Run `make demo` first, then `make soak`; nothing here gates a test. The service is built in a model repository of its
own. Callers wait between their requests, so that about half of the machine is in use and latency means something;
`--minutes` makes it shorter. Each figure is the median of the first five minutes (a twelfth of the time) beside that
of the last.
"""

import argparse
import contextlib
import json
import random
import shlex
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import grpc
from comparison.repositories import build_repository, trident
from healing import CALL_S, RIDE_OUT, kill
from processes import held
from trident.datasets import read_dataset
from trident.machine import title
from trident.server.lifecycle import Server
from trident_client import Client, ClientError
from tritonclient.grpc import service_pb2_grpc

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import fuzzing  # noqa: E402

AFTER_DEATH_S = 3.0  # requests that waited for a model that died may be refused for so long
SAMPLE_S = 5.0
PAUSE_S = 1.0  # mean, between two requests of a caller
KILL_S, BAD_S, RELEASE_S = 45.0, 0.1, 240.0  # mean, between two
BACK = 0.3  # share of the releases that are of the version before
WINDOW = 12  # the first and the last so-many-th of the time are compared
GOAL = 1.1
SIZES = (1, 1, 1, 1, 4, 16, 48)  # texts in a request
FIRST_LENGTH = 128  # max_length of the first version; each release has one less


class Soak:
    """All that goes on at a time, and what came of it."""

    def __init__(self, server: Server, service: Path, texts: list[str], seed: int) -> None:
        """Nothing goes on yet."""
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self.samples: list[dict[str, float]] = []
        self.latencies: list[tuple[float, float]] = []
        self.recoveries: list[float] = []
        self._server, self._service, self._texts, self._seed = server, service, texts, seed
        self._stop = threading.Event()
        self._connections = ExitStack()
        self._changing = threading.Lock()
        self._dead_since = self._alive_since = 0.0
        self._lock = threading.Lock()
        self._began = time.monotonic()
        with Client(server.http_url, timeout_s=CALL_S) as client:
            self._labels = [prediction.label for prediction in client.infer(service.name, texts)]

    def run(self, seconds: float, callers: int, tell: Callable[[str], None]) -> None:
        """Go on for so long."""
        jobs: list[tuple[float, Callable[[random.Random], Callable[[], None]]]] = [
            (PAUSE_S, self._caller),
        ] * callers
        jobs += [(KILL_S, self._killer), (BAD_S, self._vandal), (RELEASE_S, self._releaser)]
        with self._connections, ThreadPoolExecutor(len(jobs), "soak") as pool:
            acts = [(mean_s, begin(random.Random(self._seed + n))) for n, (mean_s, begin) in enumerate(jobs)]
            self._began = time.monotonic()
            try:
                for n, (mean_s, act) in enumerate(acts):
                    pool.submit(self._repeat, mean_s, act, self._seed + n)
                self._watch(seconds, tell)
            finally:
                self._stop.set()

    def _watch(self, seconds: float, tell: Callable[[str], None]) -> None:
        while (passed := time.monotonic() - self._began) < seconds:
            with contextlib.suppress(ProcessLookupError):  # tritonserver is between two lives
                self.samples.append({"s": passed} | asdict(held(self._server)))
                if len(self.samples) % 12 == 0:
                    tell(f"{passed / 60:.0f} of {seconds / 60:.0f} min, {dict(self.counts)}, {len(self.faults)} faults")
            self._stop.wait(SAMPLE_S)

    def _repeat(self, mean_s: float, act: Callable[[], None], seed: int) -> None:
        rng = random.Random(seed)
        while not self._stop.wait(rng.expovariate(1 / mean_s)):
            try:
                act()
            except (Exception, SystemExit) as error:  # `kill` ends so if there is nothing to kill
                self._fault(f"{act.__qualname__}: {error!r}")

    def _fault(self, line: str) -> None:
        fault = f"{time.monotonic() - self._began:.0f} s: {' '.join(line.split())}"[:500]
        with self._lock:
            self.faults.append(fault)
        print(fault, file=sys.stderr, flush=True)

    def _count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    def _caller(self, rng: random.Random) -> Callable[[], None]:
        url = rng.choice((self._server.http_url, self._server.grpc_url))
        client = self._connections.enter_context(Client(url, timeout_s=CALL_S, retry=RIDE_OUT))

        def ask() -> None:
            chosen = rng.sample(range(len(self._texts)), rng.choice(SIZES))
            started = time.monotonic()
            try:
                answers = client.infer(self._service.name, [self._texts[n] for n in chosen], top_k=rng.choice((1, 2)))
            except ClientError as error:
                self._count("lost requests")
                self._fault(f"lost: {error}")
                return
            took = time.monotonic() - started
            self._count("answered")
            if len(chosen) == 1:
                self.latencies.append((started - self._began, took))
            if [answer.label for answer in answers] != [self._labels[n] for n in chosen]:
                self._fault(f"wrong labels for texts {chosen}")

        return ask

    def _killer(self, rng: random.Random) -> Callable[[], None]:
        steps = [name for name in self._server.models if name.startswith(f"{self._service.name}_")]

        def act() -> None:
            with self._changing:  # a process of a version that a release drops is not replaced
                self._dead_since = time.monotonic()
                self.recoveries.append(kill(self._server, rng.choice(steps)))
                self._alive_since = time.monotonic()
            self._count("kills")

        return act

    def _vandal(self, rng: random.Random) -> Callable[[], None]:
        made = fuzzing.cases(rng, self._service.name)
        address = self._server.grpc_url.removeprefix("grpc://")
        channel = self._connections.enter_context(grpc.insecure_channel(address))
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)

        def act() -> None:
            findings, sent = fuzzing.Findings(), time.monotonic()
            fuzzing.send(self._server, stub, next(made), self.counts["bad requests"], findings)
            self._count("bad requests")
            for fault in findings.faults:
                if "(no_rows): INTERNAL" in fault:  # and the others of its batch try again
                    self._count("bad requests that spoiled a batch")
                elif self._alive_since > sent - AFTER_DEATH_S or self._dead_since > self._alive_since:
                    self._count("bad requests that met a death")
                else:
                    self._fault(fault)

        return act

    def _releaser(self, rng: random.Random) -> Callable[[], None]:
        options = (self._service.name, "--model-repository", str(self._server.model_repository))

        def act() -> None:
            with self._changing:
                if rng.random() < BACK:
                    trident("rollback", *options)
                    self._count("rollbacks")
                else:
                    build(self._service, self._server.model_repository, 2 + self.counts["builds"])
                    self._count("builds")
                trident("release", *options)  # so that two versions are loaded at all times that are compared
                self._count("releases")

        return act


def build(service: Path, repository: Path, number: int) -> None:
    """Build a version that differs from those before."""
    toml = service / "service.toml"
    lines = toml.read_text().splitlines()
    place = next(n for n, line in enumerate(lines) if line.startswith("max_length"))
    lines[place] = f"max_length = {FIRST_LENGTH - number}"
    toml.write_text("\n".join(lines) + "\n")
    build_repository(service, repository)


def compare(soak: Soak, seconds: float) -> dict[str, dict[str, float]]:
    """The first and the last part of the time."""
    part = seconds / WINDOW
    first = [sample for sample in soak.samples if sample["s"] < part]
    last = [sample for sample in soak.samples if sample["s"] > seconds - part]
    figures = {
        name: (statistics.median(sample[name] for sample in first), statistics.median(sample[name] for sample in last))
        for name in soak.samples[0]
        if name != "s"
    }
    early = sorted(took for at, took in soak.latencies if at < part)
    late = sorted(took for at, took in soak.latencies if at > seconds - part)
    for percent in (50, 90):
        figures[f"latency_p{percent}_ms"] = (
            1e3 * early[len(early) * percent // 100],
            1e3 * late[len(late) * percent // 100],
        )
    return {
        name: {"first": round(one, 1), "last": round(other, 1), "ratio": round(other / one, 3)}
        for name, (one, other) in figures.items()
    }


def draw(soak: Soak, path: Path) -> None:
    """Draw what was held over the time."""
    from matplotlib.figure import Figure

    names = [name for name in soak.samples[0] if name != "s"]
    figure = Figure(figsize=(9, 2 * len(names) + 2), layout="constrained")
    for place, name in enumerate([*names, "latency of one text, s"], start=1):
        axes = figure.add_subplot(len(names) + 1, 1, place)
        axes.set_title(name, fontsize="medium", loc="left")
        if name in names:
            axes.plot([sample["s"] / 60 for sample in soak.samples], [sample[name] for sample in soak.samples])
            axes.set_ylim(bottom=0)
        else:
            axes.plot([at / 60 for at, _ in soak.latencies], [took for _, took in soak.latencies], ",")
            axes.set_yscale("log")
    axes.set_xlabel("minutes")
    figure.savefig(path, dpi=120)


def soak_service(options: argparse.Namespace) -> tuple[Soak, float]:
    """Serve, and let everything go on."""
    dataset = read_dataset(
        ROOT / "data" / "sms_spam.tsv", text_column="text", label_column="label", skip_bad_rows=False
    )
    texts = [example.text for example in dataset.examples[:500]]
    seconds = 60 * options.minutes
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        service, repository = work / options.service.name, work / "model_repository"
        shutil.copytree(options.service, service)
        for number in range(2):
            build(service, repository, number)
        server = stack.enter_context(Server(repository, http_port=0, grpc_port=0, metrics_port=0, exit_timeout_s=5))
        trident("release", service.name, "--model-repository", str(repository))
        soak = Soak(server, service, texts, options.seed)
        soak.run(seconds, options.callers, lambda line: print(line, file=sys.stderr, flush=True))
    return soak, seconds


def main() -> None:
    """Soak, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--service", type=Path, default=ROOT / "services" / "spam", help="a text classification")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--callers", type=int, default=10, help="at once; each waits a second, on average, in between")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--picture", type=Path, help="draw them over the time into this PNG")
    options = parser.parse_args()
    soak, seconds = soak_service(options)
    figures = compare(soak, seconds)
    print(f"{title()}; {shlex.join(['benchmarks/soak.py', *sys.argv[1:]])}")
    print(f"{dict(soak.counts)}; recovery {statistics.median(soak.recoveries):.1f} s (median)")
    print(f"| | first {seconds / WINDOW / 60:.3g} minutes | last | ratio (goal: {GOAL}) |\n|---|---|---|---|")
    for name, row in figures.items():
        print(f"| {name} | {row['first']} | {row['last']} | {row['ratio']} |")
    told: dict[str, Any] = {"counts": soak.counts, "faults": soak.faults, "figures": figures, "samples": soak.samples}
    if options.json:
        options.json.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    if options.picture:
        draw(soak, options.picture)


if __name__ == "__main__":
    main()
