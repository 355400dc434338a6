"""How calls over HTTP end: with the client, with the `infer` that they belong to, and in time."""

import asyncio
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import peers
import pytest
from peers import Peer
from trident_client import AsyncClient, Client, ClientError, Retry
from trident_client.blocking import Abort

CLOSED = r"^this client is closed; make another$"
SOON_S = 10.0  # of the client's 60
RETRY = Retry(attempts=100, lost_answers=True)
Waiting = tuple[str, threading.Event]  # the address of a server that does not answer, and what is set when it is asked


@contextmanager
def silent(scheme: str) -> Iterator[Waiting]:
    asked, over = threading.Event(), threading.Event()

    def wait(connection: socket.socket) -> None:
        connection.recv(65536)
        asked.set()
        over.wait(60)

    with Peer(wait) as peer:
        yield f"{scheme}://{peer.address}", asked
        over.set()


@contextmanager
def dropping() -> Iterator[Waiting]:
    with peers.dropping() as address:
        asked = threading.Event()
        timer = threading.Timer(0.3, asked.set)  # of the client, which nobody hears
        timer.start()
        yield f"http://{address}", asked
        timer.join()


@contextmanager
def nameless(monkeypatch: pytest.MonkeyPatch) -> Iterator[Waiting]:
    """A name that is searched for until the end."""
    asked, over = threading.Event(), threading.Event()

    def search(*arguments: Any, **named: Any) -> Any:
        asked.set()
        over.wait(60)
        raise socket.gaierror("nobody knows it")

    monkeypatch.setattr(socket, "getaddrinfo", search)
    yield "http://nobody.invalid:8000", asked
    over.set()


waits = pytest.mark.parametrize(
    "waits",
    [lambda: silent("http"), lambda: silent("https"), dropping],
    ids=["for the answer", "for the handshake", "for the connection"],
)
Waits = Callable[[], AbstractContextManager[Waiting]]


@waits
def test_closing_a_client_ends_what_waits(waits: Waits) -> None:
    with waits() as (url, asked), ThreadPoolExecutor(4) as pool:
        client = Client(url, timeout_s=60, retry=RETRY)
        calls = [pool.submit(client.is_server_live) for _ in range(4)]
        assert asked.wait(SOON_S)
        started = time.monotonic()
        client.close()
        for call in calls:
            with pytest.raises(ClientError, match=CLOSED):
                call.result()
        assert time.monotonic() - started < SOON_S


@waits
def test_the_end_of_an_infer_ends_what_it_sent(waits: Waits) -> None:
    abort = Abort()
    with (
        waits() as (url, asked),
        Client(url, timeout_s=60, retry=RETRY) as client,
        ThreadPoolExecutor(1, initializer=abort.adopt_thread) as pool,
    ):
        call = pool.submit(client.is_server_live)
        assert asked.wait(SOON_S)
        started = time.monotonic()
        abort.order()
        with pytest.raises(ClientError, match=CLOSED):
            call.result()
        assert time.monotonic() - started < SOON_S


def test_an_answer_that_came_before_the_end_is_one() -> None:
    good = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    with Peer(peers.answering(good, lambda: threading.Event().wait(0.1))) as peer:
        client = Client(f"http://{peer.address}")
        assert client.is_server_live()
        client.close()
        with pytest.raises(ClientError, match=CLOSED):
            client.is_server_live()


async def close_while_it_waits(url: str, asked: threading.Event) -> None:
    client = AsyncClient(url, timeout_s=60, retry=RETRY)
    call = asyncio.create_task(client.is_server_live())
    assert await asyncio.to_thread(asked.wait, SOON_S)
    started = time.monotonic()
    await client.close()
    with pytest.raises(ClientError, match=CLOSED):
        await call
    assert time.monotonic() - started < SOON_S


@waits
def test_closing_an_async_client_ends_what_waits(waits: Waits) -> None:
    with waits() as (url, asked):
        asyncio.run(close_while_it_waits(url, asked))


def test_closing_an_async_client_ends_the_search_for_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        with nameless(monkeypatch) as (url, asked):
            await close_while_it_waits(url, asked)

    asyncio.run(main())


def test_cancelling_an_async_call_is_no_end_of_the_client() -> None:
    async def main(url: str, asked: threading.Event) -> None:
        async with AsyncClient(url, timeout_s=60) as client:
            call = asyncio.create_task(client.is_server_live())
            assert await asyncio.to_thread(asked.wait, SOON_S)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    with silent("http") as (url, asked):
        asyncio.run(main(url, asked))


def test_an_async_call_of_many_seconds_ends_as_punctually(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiohttp's timer is looked at, not waited for; the end is 0.1 s behind a whole second of the loop's clock."""
    timers: list[float] = []

    async def main(url: str, asked: threading.Event) -> None:
        loop = asyncio.get_running_loop()
        call_at: Any = loop.call_at

        def watch(when: float, *arguments: Any, **named: Any) -> Any:
            timers.append(when)
            return call_at(when, *arguments, **named)

        monkeypatch.setattr(loop, "call_at", watch)
        end = math.floor(loop.time()) + 20.1
        async with AsyncClient(url, timeout_s=end - loop.time()) as client:
            call = asyncio.create_task(client.is_server_live())
            assert await asyncio.to_thread(asked.wait, SOON_S)
            call.cancel()
        assert end - 5 < max(timers) < math.ceil(end)

    with silent("http") as (url, asked):
        asyncio.run(main(url, asked))
