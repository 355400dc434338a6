"""What the client makes of the errors of a gRPC server: one of the tests' own, which ends calls as it is told."""

import asyncio
import math
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from peers import Peer
from trident_client import (
    AnswerLost,
    AsyncClient,
    Client,
    ClientError,
    Forbidden,
    Retry,
    ServerError,
    Unavailable,
)
from trident_client.blocking import Abort
from trident_client.grpc_protocol import PUSHBACK
from tritonclient.grpc import service_pb2, service_pb2_grpc

Failure = tuple[grpc.StatusCode, str, Sequence[tuple[str, str]]]
Ask = Callable[..., bool]


def ask_blocking(url: str, **options: Any) -> bool:
    with Client(url, **options) as client:
        return client.is_server_live()


def ask_in_a_pool(url: str, **options: Any) -> bool:
    """As the calls do that one `infer` sends at once, which its end cancels."""
    with ThreadPoolExecutor(1, initializer=Abort().adopt_thread) as pool:
        return pool.submit(ask_blocking, url, **options).result()


def ask_async(url: str, **options: Any) -> bool:
    async def main() -> bool:
        async with AsyncClient(url, **options) as client:
            return await client.is_server_live()

    return asyncio.run(main())


everybody = pytest.mark.parametrize("ask", [ask_blocking, ask_in_a_pool, ask_async])


@contextmanager
def failing(failures: Iterable[Failure]) -> Iterator[str]:
    """The address of a server whose first calls fail so; it lives afterwards."""
    left = iter(failures)

    class Service(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
        def ServerLive(self, request: Any, context: Any) -> Any:  # noqa: N802 - the RPC's name
            for code, details, metadata in left:
                context.set_trailing_metadata(metadata)
                context.abort(code, details)
            return service_pb2.ServerLiveResponse(live=True)

    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Service(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"grpc://127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


def busy(pushback: str | None) -> Failure:
    return grpc.StatusCode.UNAVAILABLE, "too many wait", [] if pushback is None else [(PUSHBACK, pushback)]


@everybody
def test_a_server_may_say_when_to_come_back(ask: Ask) -> None:
    started = time.monotonic()
    with failing([busy("400"), busy("0")]) as url:
        assert ask(url, retry=Retry(base_s=0.001, max_s=0.002))
    assert time.monotonic() - started >= 0.4


@everybody
@pytest.mark.parametrize(
    ("pushback", "retry_after_s"),
    [("1500", 1.5), ("0", 0.0), ("-1", math.inf), ("soon", math.inf), (None, None)],
)
def test_the_error_says_when_to_come_back(ask: Ask, pushback: str | None, retry_after_s: float | None) -> None:
    with failing([busy(pushback)]) as url, pytest.raises(Unavailable, match="too many wait") as caught:
        ask(url, retry=None)
    assert caught.value.retry_after_s == retry_after_s


@everybody
def test_a_server_may_ask_not_to_be_tried_again(ask: Ask) -> None:
    with failing([busy("-1")]) as url, pytest.raises(Unavailable):
        ask(url)


@everybody
def test_a_call_that_the_server_cancels_closes_no_client(ask: Ask) -> None:
    with failing([(grpc.StatusCode.CANCELLED, "the model gave it up", [])]) as url:
        with pytest.raises(ServerError, match=r"^the model gave it up$"):
            ask(url)
        assert ask(url)


def read(connection: socket.socket, count: int) -> bytes:
    content = b""
    while len(content) < count:
        piece = connection.recv(count - len(content))
        if not piece:
            raise ConnectionError("it has ended")
        content += piece
    return content


def frame(kind: int, flags: int, stream: int, content: bytes = b"") -> bytes:
    return len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content


@everybody
@pytest.mark.parametrize(
    ("status", "kind"),
    [(b"401", Forbidden), (b"404", ServerError), (b"502", AnswerLost), (b"503", Unavailable), (b"504", AnswerLost)],
)
def test_what_a_proxy_answers_in_place_of_the_server(ask: Ask, status: bytes, kind: type[ClientError]) -> None:
    """HTTP/2 without gRPC's trailers. Source: RFC 9113, 4.1 and 6; RFC 7541, 6.2.2 and appendix A."""

    def refuse(connection: socket.socket) -> None:
        connection.sendall(frame(4, 0, 0))  # SETTINGS
        read(connection, len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
        while True:
            head = read(connection, 9)
            read(connection, int.from_bytes(head[:3], "big"))
            if head[3] == 1:  # HEADERS, which end with END_HEADERS and END_STREAM
                connection.sendall(frame(1, 5, int.from_bytes(head[5:], "big"), b"\x08\x03" + status))

    with Peer(refuse) as peer, pytest.raises(ClientError) as caught:
        ask(f"grpc://{peer.address}", retry=None)
    assert type(caught.value) is kind
    assert status.decode() in str(caught.value)


@pytest.fixture
def waiting() -> Iterator[tuple[str, threading.Event]]:
    """The address of a server that does not answer, and what is set when it is asked."""
    asked, over = threading.Event(), threading.Event()

    def wait() -> Iterator[Failure]:
        asked.set()
        over.wait(20)
        yield busy(None)

    with failing(wait()) as url:
        yield url, asked
        over.set()


def test_closing_a_client_ends_what_waits(waiting: tuple[str, threading.Event]) -> None:
    url, asked = waiting
    client = Client(url)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.is_server_live)
        assert asked.wait(10)
        client.close()
        with pytest.raises(ClientError, match="this client is closed; make another"):
            call.result()


def test_the_end_of_an_infer_ends_what_it_sent(waiting: tuple[str, threading.Event]) -> None:
    url, asked = waiting
    abort = Abort()
    with Client(url) as client, ThreadPoolExecutor(1, initializer=abort.adopt_thread) as pool:
        call = pool.submit(client.is_server_live)
        assert asked.wait(10)
        abort.order()
        with pytest.raises(ClientError, match="this client is closed; make another"):
            call.result()


def test_closing_an_async_client_ends_what_waits(waiting: tuple[str, threading.Event]) -> None:
    url, asked = waiting

    async def main() -> None:
        client = AsyncClient(url)
        call = asyncio.create_task(client.is_server_live())
        assert await asyncio.to_thread(asked.wait, 10)
        await client.close()
        with pytest.raises(ClientError, match="this client is closed; make another"):
            await call

    asyncio.run(main())
