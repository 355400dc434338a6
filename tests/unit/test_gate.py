"""The gate lets in as many as may wait, forgets nobody whom it let in, and opens when they are gone."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from trident.stages.gate import CALM_S, FASTEST, FEW, PERIOD_S, Gate, Metrics, metrics_address, parse


class Waiting:
    """Says how many wait, and has the time."""

    def __init__(self, before: int = 0, behind: int = 0) -> None:
        self.waiting = (before, behind)
        self.fault: Exception | None = None
        self.looks = 0
        self.now = 0.0

    def __call__(self) -> tuple[int, int]:
        self.looks += 1
        if self.fault is not None:
            raise self.fault
        return self.waiting

    def clock(self) -> float:
        return self.now

    def gate(self, limit: int) -> Gate:
        return Gate(limit, self, self.clock)


def test_so_many_are_let_in_as_may_wait() -> None:
    gate = Waiting().gate(3)
    assert [gate.refusal() for _ in range(3)] == [None] * 3
    assert gate.refusal() == "3 requests wait, and 3 may (max_queue_size); try again later"


def test_nobody_is_refused_for_those_that_it_let_in_and_that_are_answered_since() -> None:
    waiting = Waiting()
    gate = waiting.gate(3)
    for _ in range(100):
        waiting.now += 2 * PERIOD_S
        assert gate.refusal() is None
    assert waiting.looks == 33


def test_it_stays_closed_while_too_many_wait_and_opens_when_they_are_gone() -> None:
    waiting = Waiting(behind=5)
    gate = waiting.gate(5)
    for _ in range(5):
        gate.refusal()
    for _ in range(3):
        waiting.now += 2 * PERIOD_S
        assert gate.refusal() is not None
    assert waiting.looks == 3
    assert gate.refusal() is not None
    assert waiting.looks == 3, "twice within the period"
    waiting.waiting = (0, 0)
    waiting.now += 2 * PERIOD_S
    assert gate.refusal() is None


def test_it_looks_as_seldom_as_a_long_queue_allows() -> None:
    waiting = Waiting(behind=FASTEST)
    gate = waiting.gate(FASTEST)
    waiting.now += CALM_S
    for _ in range(FEW + 1):
        gate.refusal()
    looks = waiting.looks
    for _ in range(99):
        waiting.now += 0.01
        assert gate.refusal() is not None
    assert waiting.looks == looks
    waiting.now += 0.02
    waiting.waiting = (0, 0)
    assert gate.refusal() is None


def test_of_more_than_may_wait_before_it_the_last_are_let_in() -> None:
    waiting = Waiting(before=40)
    gate = waiting.gate(4)
    for _ in range(4):
        gate.refusal()
    waiting.now += 2 * PERIOD_S
    said = [gate.refusal() for _ in range(41)]  # itself, and those before it
    assert [one is None for one in said] == [False] * 37 + [True] * 4


def test_a_stage_that_is_too_slow_itself_refuses_long_before_it_let_so_many_in() -> None:
    waiting = Waiting(before=500)
    gate = waiting.gate(500)
    for _ in range(FEW):
        assert gate.refusal() is None
    waiting.now += CALM_S
    assert gate.refusal() is not None


@pytest.mark.parametrize("fault", [ConnectionRefusedError(), ValueError()])
def test_nobody_is_refused_where_nobody_can_say_how_many_wait(fault: Exception) -> None:
    waiting = Waiting(behind=5)
    waiting.fault = fault
    gate = waiting.gate(1)
    for _ in range(3):
        waiting.now += 2 * PERIOD_S
        assert gate.refusal() is None


def test_a_lone_caller_never_waits_for_a_look_and_many_seldom() -> None:
    waiting = Waiting()
    gate = waiting.gate(512)
    for _ in range(FEW):
        waiting.now += 10 * CALM_S
        assert gate.refusal() is None
    assert waiting.looks == 0
    for _ in range(1000):
        waiting.now += CALM_S / 100
        assert gate.refusal() is None
    assert waiting.looks <= 11


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
