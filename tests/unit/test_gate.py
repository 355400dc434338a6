"""The gate lets in as many as may wait, forgets nobody whom it let in, and opens when they are gone."""

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from trident.stages.gate import Gate, Metrics, metrics_address, parse

DEADLINE_S = 10.0


class Waiting:
    """Says how many wait, when it is allowed to."""

    def __init__(self, behind: int, before: int = 0, fault: Exception | None = None) -> None:
        self.waiting = (before, behind)
        self.fault = fault
        self.looks = 0
        self.may_look = threading.Event()

    def __call__(self) -> tuple[int, int]:
        self.may_look.wait(DEADLINE_S)
        self.looks += 1
        if self.fault is not None:
            raise self.fault
        return self.waiting


def becomes(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.005)
    return False


def test_before_it_has_looked_only_so_many_are_let_in() -> None:
    gate = Gate(3, Waiting(0))
    assert [gate.refusal() for _ in range(3)] == [None] * 3
    assert gate.refusal() == "3 requests wait, and 3 may (max_queue_size); try again later"


def test_it_opens_when_those_that_it_let_in_wait_no_longer() -> None:
    waiting = Waiting(0)
    gate = Gate(1, waiting)
    assert gate.refusal() is None
    assert gate.refusal() is not None
    waiting.may_look.set()
    assert becomes(lambda: gate.refusal() is None)


@pytest.mark.parametrize(("behind", "before"), [(5, 0), (0, 5)], ids=["behind it", "before it"])
def test_it_stays_closed_while_too_many_wait_and_looks_again_without_being_asked(behind: int, before: int) -> None:
    waiting = Waiting(behind, before)
    waiting.may_look.set()
    gate = Gate(5, waiting)
    gate.refusal()
    assert becomes(lambda: waiting.looks >= 3)
    assert gate.refusal() is not None
    waiting.waiting = (0, 0)
    assert becomes(lambda: gate.refusal() is None)


@pytest.mark.parametrize("fault", [ConnectionRefusedError(), ValueError()])
def test_nobody_is_refused_where_nobody_can_say_how_many_wait(fault: Exception) -> None:
    waiting = Waiting(5, fault=fault)
    waiting.may_look.set()
    gate = Gate(1, waiting)
    for _ in range(3):
        assert becomes(lambda: gate.refusal() is None)


def test_it_does_not_look_while_there_are_no_requests() -> None:
    waiting = Waiting(0)
    waiting.may_look.set()
    Gate(1, waiting)
    time.sleep(0.1)
    assert waiting.looks == 0


def test_those_that_wait_for_the_models_are_counted() -> None:
    lines = [
        "# TYPE nv_inference_pending_request_count gauge",
        *(f'nv_inference_pending_request_count{{model="a_model",version="{version}"}} 2' for version in (1, 2)),
        'nv_inference_pending_request_count{model="b_model",version="1"} 40',
        'nv_inference_pending_request_count{model="a",version="1"} 1e1',
        'nv_inference_count{model="a_model",version="1"} 700',
    ]

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write("\n".join(lines).encode() + b"\n")

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            look = Metrics(("127.0.0.1", server.server_port), "a", ["a_model", "a_postprocess"])
            assert look() == (10, 4)
        finally:
            server.shutdown()
    with pytest.raises(OSError, match="refused"):
        look()


@pytest.mark.parametrize(
    ("arguments", "address"),
    [
        ([], ("127.0.0.1", 8002)),
        (["--metrics-port=9", "--metrics-address=10.0.0.1"], ("10.0.0.1", 9)),
        (["--metrics-port", "9", "--http-address", "10.0.0.1"], ("10.0.0.1", 9)),
        (["--http-address=0.0.0.0"], ("127.0.0.1", 8002)),
        (["--allow-metrics=false"], None),
        (["--allow-metrics", "0", "--metrics-port=9"], None),
        (["--allow-metrics=true"], ("127.0.0.1", 8002)),
    ],
)
def test_the_servers_arguments_say_where_the_metrics_are(arguments: list[str], address: tuple[str, int] | None) -> None:
    assert parse(["/opt/tritonserver/bin/tritonserver", *arguments]) == address


def test_a_process_that_no_tritonserver_started_has_no_metrics() -> None:
    assert metrics_address() is None
    assert metrics_address("0") is None
