"""One round of one server: started, its answers compared with those in process, measured, ended."""

import dataclasses
import http.client
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

from comparison.environments import environment
from comparison.load import HOST, Sample, measure, post
from comparison.processes import cpu_s, free_port, memory_mb, running, with_descendants
from comparison.results import BATCH, Load, Row
from comparison.servers import ACCELERATED, PEER, THIS_ENVIRONMENT, Answer, Place, Server
from comparison.texts import Texts

READY_S = 300.0
ANSWER_S = 60.0
POLL_S = 0.05
QUIET_SHARE, QUIET_S, SETTLE_S = 0.1, 0.5, 30.0
TOLERANCE = {True: 0.08, False: 0.002}  # of a score: accelerated in 16 bits, or TensorFlow in f32
WARM_S = 0.75
BATCH_TEXTS = 64


class ServerFailed(Exception):
    """A server does not start, or does not answer as it should; the message says what happened."""


@dataclass(frozen=True)
class Model:
    """A service that all servers serve.

    Attributes:
        service: its folder.
        name: of the service.
        texts: by the name of their kind.
        expected: tokens of a text that count → the answers in process to `checked`.
        checked: texts that each server is asked before anything is timed.
        repositories: name of a server of ours → its model repository.
    """

    service: Path
    name: str
    texts: dict[str, Texts]
    checked: list[str]
    expected: dict[int, list[Answer]]
    repositories: dict[str, Path]


@dataclass(frozen=True)
class Bench:
    """What rounds have in common.

    Attributes:
        work: a folder for logs.
        seconds: of a load of length 1.
        wait_ms: how long a peer's batch waits to fill.
        say: is told how far things are.
    """

    work: Path
    seconds: float
    wait_ms: float
    say: Callable[[str], None]

    def round(
        self, server: Server, model: Model, loads: Sequence[Load], row: Row, extra: Callable[[Server, int], None]
    ) -> None:
        """Measure a server once; what goes wrong is written into its row.

        Args:
            server: to measure.
            model: that it serves.
            loads: to measure it with.
            row: that the figures go to.
            extra: is called in the end with the server and its port.
        """
        started = time.perf_counter()
        log = self.work / "server.log"
        try:
            self._round(server, model, loads, row, extra, log)
        except Exception as error:  # whatever one server does, the others are measured
            lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
            said = "" if isinstance(error, ServerFailed) and not lines else f"; its log ends: {' / '.join(lines[-3:])}"
            row.failure = f"{type(error).__name__}: {error}"[:300] + said[:600]
        rates = ", ".join(f"{name} {samples[-1].rate:.0f}" for name, samples in row.samples.items() if samples)
        self.say(f"  {server.name}: {row.failure or rates} ({time.perf_counter() - started:.0f} s)")

    def _round(
        self,
        server: Server,
        model: Model,
        loads: Sequence[Load],
        row: Row,
        extra: Callable[[Server, int], None],
        log: Path,
    ) -> None:
        log.write_text("")
        where = environment(server.folder, self.say) if server.kind == PEER else THIS_ENVIRONMENT
        repository = model.repositories.get(server.name, model.service)
        place = Place(model.service, repository, where, free_port(), self.wait_ms)
        command, variables, folder = server.start(place)
        with log.open("wb") as output:
            began = time.perf_counter()
            with running(command, variables, folder, output) as process:
                _wait_until_ready(server, place.port, process, model.checked[0])
                row.start_s.append(time.perf_counter() - began)
                _settle(process)
                _compare(server, place.port, model)
                for load in loads:
                    sample = self._load(server, place.port, model.texts[load.texts], load)
                    row.samples.setdefault(load.name, []).append(sample)
                if server.kind != PEER and loads[0].name.startswith("short"):
                    row.samples.setdefault(BATCH, []).append(self._batch(server, place.port, model.texts["short"]))
                row.memory_mb.append(memory_mb(with_descendants(process.pid)))
                extra(server, place.port)

    def _load(self, server: Server, port: int, texts: Texts, load: Load) -> Sample:
        requests = [post(server.path, server.body([text]), port) for text in texts.texts]
        sample = measure(port, requests, texts.short, load.callers, WARM_S, self.seconds * load.length)
        if sample.failed or not sample.rate:
            raise ServerFailed(f"{load.name}: {sample.failed} requests failed, the first with {sample.failure!r}")
        return sample

    def _batch(self, server: Server, port: int, texts: Texts) -> Sample:
        """Requests of many texts, one after the other; the rate is in texts."""
        requests = [post(server.path, server.body(texts.texts[:BATCH_TEXTS]), port)]
        sample = measure(port, requests, [True], 1, WARM_S, self.seconds)
        return dataclasses.replace(sample, rate=1e3 * BATCH_TEXTS / sample.p50_ms)


def ask(server: Server, port: int, texts: Sequence[str]) -> list[Answer]:
    """The answers to one request.

    Raises:
        OSError: there is no answer.
        ServerFailed: the answer's status is not 200.
    """
    connection = http.client.HTTPConnection(HOST, port, timeout=ANSWER_S)
    try:
        connection.request("POST", server.path, server.body(texts), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise ServerFailed(f"status {answer.status}: {body[:200].decode(errors='replace')}")
        return server.answer(body)
    finally:
        connection.close()


def _wait_until_ready(server: Server, port: int, process: "Popen[bytes]", text: str) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            ask(server, port, [text])
            return
        except (OSError, http.client.HTTPException, ServerFailed) as error:
            if process.poll() is not None:
                raise ServerFailed(f"it ended with status {process.returncode} while starting") from error
            if time.monotonic() > deadline:
                raise ServerFailed(f"no answer within {READY_S:g} s, the last: {error}") from error
        time.sleep(POLL_S)


def _settle(process: "Popen[bytes]") -> None:
    """Wait until a server does nothing: the first of its processes has answered, the others may still load."""
    deadline = time.monotonic() + SETTLE_S
    before = cpu_s(with_descendants(process.pid))
    while time.monotonic() < deadline:
        time.sleep(QUIET_S)
        now = cpu_s(with_descendants(process.pid))
        if now - before <= QUIET_SHARE * QUIET_S:
            return
        before = now


def _compare(server: Server, port: int, model: Model) -> None:
    expected = model.expected[server.max_length]
    for text, wanted in zip(model.checked, expected, strict=True):
        found = ask(server, port, [text])
        if len(found) != 1 or difference(found[0], wanted) > TOLERANCE[server.kind == ACCELERATED]:
            raise ServerFailed(f"it answers {found} to {text[:60]!r}, in process it is {wanted}")


def difference(found: Answer, wanted: Answer) -> float:
    """How far the scores of one of two labels are apart."""
    same = found[0] == wanted[0]
    return abs(found[1] - wanted[1]) if same else abs(found[1] - (1 - wanted[1]))
