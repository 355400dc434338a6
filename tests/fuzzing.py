"""Malformed requests over both protocols, with good ones in between; the same seed makes the same ones.

What crashes or hangs Triton 24.10 itself is not among them; `fuzzing_http.hazards` and docs/reliability.md list it.
"""

import http.client
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc
import pytest
from fuzzing_grpc import GrpcCase, grpc_case, send_grpc
from fuzzing_http import ANSWER_S, HTTP_MAKERS, TEXTS, HttpCase, send_http
from trident_client import Client, Prediction
from tritonclient.grpc import service_pb2_grpc

GOOD_EVERY = 10  # requests of which the last is a good one, and checked
REFUSALS = {
    *(grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED),
    *(grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED),
}
# With what Triton's HTTP front refuses a request that it cannot read, before any model sees it: which is a 4xx
# in all but its number.
FRONT_STATUS = (500, 501)
FRONT = re.compile(r"failed to parse the request JSON|Unable to parse |Unsupported compression|not found in the JSON")


@dataclass
class Findings:
    """What became of the requests.

    Attributes:
        codes: protocol and code → requests.
        faults: a line for each answer that is not as it should be.
    """

    codes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def cases(rng: random.Random, service: str) -> Iterator[HttpCase | GrpcCase]:
    """Malformed requests without end."""
    while True:
        yield grpc_case(rng, service) if rng.random() < 0.5 else rng.choice(HTTP_MAKERS)(rng, service)


class Target(Protocol):
    """What is asked: a `Server`, or a gateway before one."""

    @property
    def http_url(self) -> str: ...
    @property
    def grpc_url(self) -> str: ...


def fuzz(
    target: Target,
    service: str,
    requests: int,
    seed: int,
    say: Callable[[str], None] = lambda _: None,
    front: bool = True,
) -> Findings:
    """Send malformed requests, and good ones in between, whose answers are checked.

    Args:
        target: it serves the service, a text classification with `input_ids`.
        service: its name.
        requests: in all.
        seed: of the random numbers.
        say: told how far things are, now and then.
        front: whether what tritonserver's front says with 500 and 501 counts as a refusal.
    """
    rng, findings = random.Random(seed), Findings()
    made = cases(rng, service)
    with (
        grpc.insecure_channel(target.grpc_url.removeprefix("grpc://")) as channel,
        Client(target.http_url, timeout_s=ANSWER_S, retry=None) as client,
    ):
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        expected = client.infer(service, TEXTS, top_k=2)
        for number in range(requests):
            if number % GOOD_EVERY == GOOD_EVERY - 1:
                _check_good(client, service, expected, number, findings)
            else:
                send(target, stub, next(made), number, findings, front)
            if number % 500 == 499:
                say(f"{number + 1} requests, {len(findings.faults)} faults")
            if len(findings.faults) > 50:
                break
    return findings


def _check_good(client: Client, service: str, expected: Sequence[Prediction], number: int, findings: Findings) -> None:
    try:
        found = client.infer(service, TEXTS, top_k=2)
    except Exception as error:
        findings.faults.append(f"request {number}: a good one got {error!r}")
        return
    findings.codes["good answers"] += 1
    for one, other in zip(found, expected, strict=True):
        if one.labels != other.labels or one.scores != pytest.approx(other.scores, abs=1e-5):
            findings.faults.append(f"request {number}: a good one got {one}; expected {other}")


def send(
    target: Target, stub: Any, case: HttpCase | GrpcCase, number: int, findings: Findings, front: bool = True
) -> None:
    """Send a malformed request, count its answer, and note it if it is not as it should be.

    Args:
        target: to be asked.
        stub: of its gRPC service.
        case: the request.
        number: for the note.
        findings: gets the count and the note.
        front: as in `fuzz`.
    """
    if isinstance(case, GrpcCase):
        code = send_grpc(stub, case)
        findings.codes[f"gRPC {code.name}"] += 1
        right = code in REFUSALS or (code is grpc.StatusCode.OK and not case.bad)
        said = f"{code.name}: {case.message}"
    else:
        try:
            status, text = send_http(int(target.http_url.rpartition(":")[2]), case)
        except (OSError, http.client.HTTPException) as error:
            status, text = 0, repr(error)
        findings.codes[f"HTTP {status}"] += 1
        refused = 400 <= status < 500 or (front and status in FRONT_STATUS and bool(FRONT.search(text)))
        right = refused or (status == 200 and not case.bad)
        said = f"{status} {text[:300]}: {case.path} {case.headers} {case.body[:300]!r}"
    if not right:
        findings.faults.append(f"request {number} ({case.kind}): {' '.join(said.split())}"[:800])
