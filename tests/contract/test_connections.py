"""Idle, slow and vanishing callers cost nothing that lasts, and hold nobody up."""

import json
import os
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from leftovers import processes
from trident.server.lifecycle import HOST, Server
from trident_client import Client, RequestTimeout

IDLE = 1000
DEADLINE_S = 60.0
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"  # how gRPC begins: the preface, and SETTINGS
X = {"x": np.array([[b"a"]], dtype=object)}


def held(server: Server) -> int:
    """Files that tritonserver holds open, connections among them."""
    (line,) = [line for line in processes(server.shm_prefix) if "bin/tritonserver" in line]
    return len(os.listdir(f"/proc/{line.split(':')[0]}/fd"))  # noqa: PTH208 - iterdir holds one open itself


def threads(server: Server) -> int:
    (line,) = [line for line in processes(server.shm_prefix) if "bin/tritonserver" in line]
    return len(list(Path(f"/proc/{line.split(':')[0]}/task").iterdir()))


def becomes(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def clients(server: Server) -> Iterator[list[Client]]:
    """One of each protocol, connected."""
    with Client(server.http_url, timeout_s=20) as http, Client(server.grpc_url, timeout_s=20) as grpc:
        both = [http, grpc]
        answer_all(both)
        yield both


def answer_all(clients: list[Client]) -> None:
    for client in clients:
        assert client.infer_tensors("identity", X)["y"].tolist() == X["x"].tolist()


@contextmanager
def connections(port: int, count: int, content: bytes) -> Iterator[None]:
    """Callers that connect, send this, and no more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with ExitStack() as stack:
            for _ in range(count):
                stack.enter_context(socket.create_connection((HOST, port))).sendall(content)
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def request(model: str, body: bytes) -> bytes:
    head = f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


BODY = json.dumps({"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1, 1], "data": ["a"]}]}).encode()
CALLERS = {
    "idle over HTTP": ("http", IDLE, b""),
    "idle over gRPC": ("grpc", IDLE, HTTP2),
    "silent on the gRPC port": ("grpc", IDLE, b""),
    "in the middle of the head": ("http", 200, request("identity", BODY)[:40]),
    "in the middle of the body": ("http", 200, request("identity", BODY)[:-20]),
}


@pytest.mark.parametrize("kind", CALLERS)
def test_many_connections_hold_nobody_up_and_leave_nothing(server: Server, clients: list[Client], kind: str) -> None:
    protocol, count, content = CALLERS[kind]
    before, running = held(server), threads(server)
    with connections(server.ports[protocol], count, content):
        assert becomes(lambda: held(server) >= before + count), "the server did not accept them"
        answer_all(clients)
        with Client(server.http_url, timeout_s=20) as newcomer:
            answer_all([newcomer])
    assert becomes(lambda: held(server) <= before + 2)
    assert threads(server) <= running + 2
    answer_all(clients)


def test_a_slow_sender_is_answered_when_it_is_done(server: Server, clients: list[Client]) -> None:
    with socket.create_connection((HOST, server.ports["http"]), timeout=20) as slow:
        sent = request("identity", BODY)
        slow.sendall(sent[: -len(BODY)])
        for byte in BODY:
            slow.sendall(bytes([byte]))
        answer_all(clients)
        assert slow.recv(65536).startswith(b"HTTP/1.1 200")


def test_callers_that_vanish_while_they_wait_leave_nothing(server: Server, clients: list[Client]) -> None:
    before = held(server)
    with connections(server.ports["http"], 1, request("slow", BODY)):
        pass
    with Client(server.grpc_url, timeout_s=0.2, retry=None) as client, pytest.raises(RequestTimeout):
        client.infer_tensors("slow", X)
    answer_all(clients)
    assert becomes(lambda: held(server) <= before + 2)
    assert clients[0].infer_tensors("slow", X)["y"].tolist() == X["x"].tolist()
