"""One candidate of `trident tune` after the other: built, served by a server of its own, compared, measured."""

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from trident_client import Client, ClientError

from trident.agreement import ALLOWED, TOLERANCES, Answers, read_answers, share_differing
from trident.benching import Load, bench
from trident.candidates import Candidate, Machine
from trident.errors import BenchError, ServerStartError
from trident.machine import bf16_flags, cores, gpus
from trident.perf_inputs import TEXT
from trident.releasing import release
from trident.repository import build
from trident.server.lifecycle import Server
from trident.service import Service, load_service
from trident.tuning import Figures, Goal, Refused

COMPARED = 500  # texts, at most
COMPARING_S = 120.0  # an accelerator that compiles for each shape may never come to an end
# What the backend's log says if another engine, or another precision, serves than was asked for.
FALLBACKS = ("cannot serve this model, TensorFlow does", "so it computes in f32")


class Trials:
    """Measures candidates of one service; its first is the service as it is, whose answers the others must give."""

    def __init__(
        self,
        service: Service,
        texts: Sequence[str],
        data: Path,
        scratch: Path,
        goal: Goal,
        seconds: float,
        allowed: float,
    ) -> None:
        """Nothing is built yet.

        Args:
            service: the service folder.
            texts: to compare answers on.
            data: the same in perf_analyzer's form.
            scratch: a folder, for a copy of the service and a model repository.
            goal: how many callers to measure with.
            seconds: to measure each load for.
            allowed: share of texts that may get another answer of a candidate in bf16.
        """
        self.differing: dict[Candidate, float] = {}
        self._service = service
        self._texts = texts[:COMPARED]
        self._data = data
        self._copy = scratch / "service"
        self._repository = scratch / "model_repository"
        self._callers = sorted({1, goal.concurrency})
        self._seconds = seconds
        self._allowed = allowed
        self._expected: Answers | None = None
        self._precision = service.spec.serving.precision
        self._agreeing: dict[tuple[str, str], float] = {}
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # else building leaves servers no memory on a GPU

    def prepare(self) -> None:
        """Build a copy of the service, which runs its model; later builds only change settings.

        The service itself may be trained anew meanwhile, or edited.

        Raises:
            TridentError: it cannot be built.
        """
        self._service = load_service(shutil.copytree(self._service.folder, self._copy))
        build(self._service, self._repository)

    def measure(self, candidate: Candidate) -> Figures:
        """Serve a candidate and measure it.

        Raises:
            Refused: it does not load, something else serves than was asked for, or its answers differ.
            TridentError: the service cannot be built, or perf_analyzer failed.
        """
        name = self._service.spec.name
        if build(self._service.with_serving(asdict(candidate)), self._repository).pending:
            release(name, self._repository)
        try:
            with Server(self._repository, http_port=0, grpc_port=0, metrics_port=0) as server:
                self._check_log(server)
                load = Load(name, server.http_url, self._data, self._seconds, timeout_s=60)
                points = bench(load, self._callers, lambda done: None)
                self._check_answers(server.http_url, candidate)
        except (ServerStartError, BenchError, ClientError) as error:
            raise Refused(str(error)) from None
        return Figures(points[-1].throughput, points[-1].p99_ms, points[0].p50_ms)

    def _check_log(self, server: Server) -> None:
        lines = server.log.read_text(encoding="utf-8", errors="replace").splitlines()
        told = next((line for line in lines for fallback in FALLBACKS if fallback in line), None)
        if told is not None:
            raise Refused(told.partition("] ")[2] or told)

    def _check_answers(self, url: str, candidate: Candidate) -> None:
        """Once for each way of computing; how many instances do so changes nothing."""
        kind = (candidate.accelerator, candidate.precision)
        looser = "bf16" if "bf16" in (candidate.precision, self._precision) else "f32"
        if kind not in self._agreeing:
            answers = self._ask(url)
            self._expected = self._expected or answers
            self._agreeing[kind] = share_differing(answers, self._expected, TOLERANCES[looser])
        share = self._agreeing[kind]
        self.differing[candidate] = share
        allowed = self._allowed if looser == "bf16" else ALLOWED["f32"]
        if share > allowed:
            raise Refused(f"{share:.2%} of {len(self._texts)} texts get another answer; expected at most {allowed:.2%}")

    def _ask(self, url: str) -> Answers:
        name = self._service.spec.name
        end = time.monotonic() + COMPARING_S
        responses = []
        with Client(url, timeout_s=60) as client:
            for text in self._texts:  # one by one: these shapes an accelerator has compiled for the lone caller
                if time.monotonic() > end:
                    raise Refused(f"it did not answer {len(self._texts)} texts within {COMPARING_S:g} s")
                responses.append(client.infer_tensors(name, {TEXT: np.array([[text.encode()]], object)}))
        return read_answers(responses)


def this_machine() -> Machine:
    """What candidates may use here."""
    return Machine(cores(), gpus(), bool(bf16_flags()), find_spec("openvino") is not None)
