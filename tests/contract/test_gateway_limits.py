"""What callers of `trident gateway` may hold: time to send and to take, and memory. It runs in this process."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import pytest
from trident.gateway import grpc_stream, room, running
from trident.gateway.room import Room
from trident.server.lifecycle import Server
from trident_client import Client, Retry, Unavailable
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

HOST = "127.0.0.1"
PATIENCE_S = 2.0
MOST_BYTES = 2**25
RECEIVE_ALL = [("grpc.max_receive_message_length", -1)]
INFER, STREAM = "/inference.GRPCInferenceService/ModelInfer", "/inference.GRPCInferenceService/ModelStreamInfer"


@dataclass(frozen=True)
class Gateway:
    """Where it listens, and what its callers hold."""

    http: int
    grpc: int
    room: Room
    whole: int


@pytest.fixture
def gateway(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """One of the largest requests may be under way, and in the end nothing is held."""
    monkeypatch.setattr(room, "PATIENCE_S", PATIENCE_S)
    monkeypatch.setattr(room, "SLOWEST", 2**40)
    monkeypatch.setattr(room, "TOGETHER", 1)
    shared = Room(MOST_BYTES)
    whole = shared.free
    monkeypatch.setattr(running, "Room", lambda most_bytes: shared)
    place = running.Place(server.http_url, server.grpc_url.removeprefix("grpc://"), HOST, 0, 0, MOST_BYTES, 1.0)
    opened: Future[tuple[asyncio.AbstractEventLoop, int, int]] = Future()
    closing = asyncio.Event()

    def tell(http: int, grpc: int) -> None:
        opened.set_result((asyncio.get_running_loop(), http, grpc))

    thread = threading.Thread(target=lambda: asyncio.run(running.run(place, tell, closing)))
    thread.start()
    loop, http, grpc = opened.result(20)
    try:
        yield Gateway(http, grpc, shared, whole)
        until(lambda: shared.free == whole, "something is held for ever")
    finally:
        loop.call_soon_threadsafe(closing.set)
        thread.join(20)
    assert not thread.is_alive()


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def head(size: int, path: str = "/v2/models/identity/infer") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {size}\r\n\r\n".encode()


@contextmanager
def caller(gateway: Gateway, sent: bytes) -> Iterator[socket.socket]:
    """One who sends this, and no more."""
    with closing(socket.create_connection((HOST, gateway.http), timeout=20)) as connected:
        connected.sendall(sent)
        yield connected


def ask(gateway: Gateway, size: int = 1, retry: Retry | None = None) -> Any:
    with Client(f"http://{HOST}:{gateway.http}", timeout_s=20, retry=retry) as client:
        return client.infer_tensors("identity", {"x": np.array([[b"a" * size]], object)})["y"][0, 0]


def test_a_body_that_does_not_come_is_not_waited_for(gateway: Gateway) -> None:
    with caller(gateway, head(1000) + b"{") as silent:
        answer = silent.recv(2**16)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'{"error": "the body takes too long to come"}' in answer
    assert ask(gateway) == b"a"


@pytest.fixture
def silent() -> Iterator[Iterator[bytes]]:
    """Messages that do not come."""
    never = threading.Event()

    def messages() -> Iterator[bytes]:
        never.wait(20)
        yield b""

    yield messages()
    never.set()


def test_a_message_that_does_not_come_is_not_waited_for(gateway: Gateway, silent: Iterator[bytes]) -> None:
    with grpc.insecure_channel(f"{HOST}:{gateway.grpc}") as channel:
        call = channel.stream_unary(INFER).future(silent, timeout=20)
        assert call.exception().code() is grpc.StatusCode.UNAVAILABLE
        assert call.exception().details() == "the message takes too long to come"
        with pytest.raises(grpc.RpcError, match="the call has no message") as caught:
            channel.stream_unary(INFER)(iter([]), timeout=20)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_call_whose_name_is_no_text_does_not_close_the_door(
    gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ends gRPC's server, which is opened again."""
    fields = {b":method": b"POST", b":scheme": b"http", b":path": b"/\xff", b":authority": b"a"}
    fields |= {b"content-type": b"application/grpc", b"te": b"trailers"}
    block = b"".join(b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in fields.items())
    with closing(socket.create_connection((HOST, gateway.grpc), timeout=20)) as connected:
        connected.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b"") + _frame(1, 5, 1, block))
        until(lambda: b"Server shutdown" in connected.recv(2**16), "it is not ended")
        with Client(f"grpc://{HOST}:{gateway.grpc}", timeout_s=20, retry=Retry(attempts=20)) as client:
            assert client.is_server_live()
    assert capsys.readouterr().err.count("\n") == 1


def _frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    """Of HTTP/2."""
    return len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content


def test_requests_that_are_half_there_take_memory_up_to_a_limit(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "PATIENCE_S", 60)
    with caller(gateway, head(MOST_BYTES) + b" " * (MOST_BYTES - 2**20)):
        until(lambda: gateway.room.free <= 2**20, "the body is not there")
        with pytest.raises(Unavailable, match="holds as many bytes of requests as it may"):
            ask(gateway, 2**21)
        message = echo(2**21)
        with grpc.insecure_channel(f"{HOST}:{gateway.grpc}") as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            for call in (
                lambda: stub.ModelInfer(message, timeout=20),
                lambda: list(stub.ModelStreamInfer(iter([message]), timeout=20)),
            ):
                with pytest.raises(grpc.RpcError, match="as many bytes of requests") as caught:
                    call()
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
                assert ("grpc-retry-pushback-ms", "1000") in caught.value.trailing_metadata()
        assert ask(gateway) == b"a"  # there is room for small ones


def echo(size: int, model: str = "identity") -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name=model)
    message.inputs.add(name="x", datatype="BYTES", shape=[1, 1])
    message.raw_input_contents.append(size.to_bytes(4, "little") + b"a" * size)
    return message


def test_a_stream_that_is_idle_is_ended(gateway: Gateway, silent: Iterator[bytes]) -> None:
    with grpc.insecure_channel(f"{HOST}:{gateway.grpc}") as channel:
        answers = channel.stream_stream(STREAM)(silent, timeout=20)
        with pytest.raises(grpc.RpcError, match="the next message takes too long to come") as caught:
            next(answers)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_stream_whose_answers_nobody_takes_holds_nothing(gateway: Gateway) -> None:
    with grpc.insecure_channel(f"{HOST}:{gateway.grpc}", RECEIVE_ALL) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        answers = stub.ModelStreamInfer(iter([echo(2**22)] * 4), timeout=20)
        until(lambda: gateway.room.free < gateway.whole - 2**22, "they are not there")
        until(lambda: gateway.room.free == gateway.whole, "they are held for ever")
        assert not answers.done()  # it was the gateway that gave them up, and no end of the call
        answers.cancel()


def test_callers_who_vanish_hold_nothing_although_their_model_is_at_work(gateway: Gateway) -> None:
    body = json.dumps({"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1, 1], "data": ["a"]}]}).encode()
    with ExitStack() as callers:
        for _ in range(5):
            callers.enter_context(caller(gateway, head(len(body), "/v2/models/slow/infer") + body))
        until(lambda: gateway.room.free < gateway.whole - 5 * room.REQUEST_BYTES, "they are not there")
    began = time.monotonic()
    until(lambda: gateway.room.free == gateway.whole, "they hold something for ever")
    assert time.monotonic() - began < 2, "the model was waited for, which takes two seconds for each"


def test_a_stream_is_not_taken_in_faster_than_it_is_answered(gateway: Gateway) -> None:
    """tritonserver itself would take all that is sent."""
    message = echo(2**19, model="slow")
    taken = 0

    def endless() -> Iterator[pb.ModelInferRequest]:
        nonlocal taken
        for taken in range(1, 1000):  # noqa: B007
            yield message

    with grpc.insecure_channel(f"{HOST}:{gateway.grpc}") as channel:
        answers = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer(endless(), timeout=20)
        time.sleep(3)  # one answer, and one more for each second
        answers.cancel()
    assert grpc_stream.UNDER_WAY <= taken < 40


def test_streams_hold_nothing_when_their_callers_have_gone(gateway: Gateway) -> None:
    with grpc.insecure_channel(f"{HOST}:{gateway.grpc}") as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for taken in (0, 1, 5):
            answers = stub.ModelStreamInfer(iter([echo(2**19)] * 50), timeout=20)
            for _ in range(taken):
                assert next(answers).error_message == ""
            answers.cancel()
    time.sleep(2 * grpc_stream.ROOM_S)  # one more may have waited for its place; the fixture looks whether it holds any


def test_a_body_that_is_announced_as_too_large_is_not_read(gateway: Gateway) -> None:
    with caller(gateway, head(MOST_BYTES + 1)) as connected:
        assert connected.recv(2**16).startswith(b"HTTP/1.1 413 ")


def test_an_answer_that_nobody_takes_is_not_held_for_ever(gateway: Gateway) -> None:
    content = {"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1, 1], "data": ["a" * (2**24 - 1000)]}]}
    body = json.dumps(content).encode()
    with socket.socket() as idle:
        idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        idle.settimeout(20)
        idle.connect((HOST, gateway.http))
        idle.sendall(head(len(body)) + body)
        assert idle.recv(9) == b"HTTP/1.1 "
        assert gateway.room.free < gateway.whole - 2**23
        until(lambda: gateway.room.free == gateway.whole, "it is held for ever")
        assert _left(idle) < 2**23, "the whole answer was held"


def _left(connected: socket.socket) -> int:
    """Bytes that come yet: what the kernel has taken is sent, however late."""
    return sum(map(len, iter(lambda: connected.recv(2**20), b"")))
