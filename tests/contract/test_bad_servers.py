"""Servers that cannot be reached, do not answer, answer half or speak another language: over real sockets."""

import asyncio
import gzip
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import peers
import pytest
from leftovers import leftovers, processes
from peers import Peer, answering
from trident.server.lifecycle import Server
from trident_client import (
    AnswerLost,
    AsyncClient,
    Client,
    ClientError,
    ConnectError,
    Forbidden,
    InvalidRequest,
    NotFound,
    RequestTimeout,
    Retry,
    ServerError,
    Unavailable,
    http_protocol,
)
from tritonclient.grpc import service_pb2, service_pb2_grpc

MODELS = Path(__file__).parent.parent / "models"
BOMB = gzip.compress(b" " * 1_000_000)
X = {"x": np.array([[b"a"]], dtype=object)}
HTML = b"HTTP/1.1 %s\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"
LARGE = {"x": np.zeros((1, 10_000_000), np.float32)}  # more than fits into the buffers of a connection
Ask = Callable[..., Any]
Call = Callable[..., Any]
Talk = Callable[..., AbstractContextManager[Call]]


@contextmanager
def talk_blocking(url: str, **options: Any) -> Iterator[Call]:
    with Client(url, **{"timeout_s": 10, "retry": None} | options) as client:
        yield lambda method, *arguments, **named: getattr(client, method)(*arguments, **named)


@contextmanager
def talk_async(url: str, **options: Any) -> Iterator[Call]:
    loop = asyncio.new_event_loop()
    client = AsyncClient(url, **{"timeout_s": 10, "retry": None} | options)
    try:
        yield lambda method, *arguments, **named: loop.run_until_complete(getattr(client, method)(*arguments, **named))
    finally:
        _end(loop, client)


def _end(loop: asyncio.AbstractEventLoop, client: AsyncClient) -> None:
    """What `asyncio.run` does in the end, so that nothing is left open."""
    loop.run_until_complete(client.close())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


@pytest.fixture(params=[talk_blocking, talk_async], ids=["blocking", "async"])
def talk(request: pytest.FixtureRequest) -> Talk:
    """Makes a client of each kind, and calls its methods by name."""
    found: Talk = request.param
    return found


@pytest.fixture
def ask(talk: Talk) -> Ask:
    """Asks a model over a client that is made for this."""

    def ask_once(url: str, model: str = "identity", inputs: Any = X, **options: Any) -> Any:
        with talk(url, **options) as call:
            return call("infer_tensors", model, inputs)["y"].tolist()

    return ask_once


@pytest.fixture(params=["http", "grpc"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the small models alone."""
    repository = tmp_path_factory.mktemp("models")
    shutil.copytree(MODELS, repository, dirs_exist_ok=True)
    with Server(repository, http_port=0, grpc_port=0, metrics_port=0) as running:
        yield running
    assert leftovers(running) == []


def failure(kind: type[ClientError], ask: Ask, *arguments: Any, **options: Any) -> str:
    """What the error says, which must be of this very class and in one line."""
    with pytest.raises(ClientError) as caught:
        ask(*arguments, **options)
    assert type(caught.value) is kind, repr(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def wait_a_while(connection: socket.socket) -> None:
    connection.settimeout(20)
    while connection.recv(65536):
        pass


# -- nobody, or nobody who answers -----------------------------------------------------------------------------------


def test_a_refused_connection(ask: Ask, protocol: str) -> None:
    with peers.refusing() as address:
        message = failure(ConnectError, ask, f"{protocol}://{address}")
    assert message.startswith(f"cannot reach {protocol}://{address}: ")
    assert message.endswith("; is the server running? (`trident serve`)")


def test_a_host_that_has_no_address(ask: Ask, protocol: str) -> None:
    message = failure(ConnectError, ask, f"{protocol}://nobody.invalid:8000")
    assert message.startswith(f"cannot reach {protocol}://nobody.invalid:8000: ")


def test_a_name_that_is_looked_up_for_too_long(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    look_up: Any = socket.getaddrinfo
    ended = threading.Event()

    def search(*arguments: Any, flags: int = 0, **named: Any) -> Any:
        if not flags & socket.AI_NUMERICHOST:
            ended.wait(20)
        return look_up(*arguments, flags=flags, **named)

    monkeypatch.setattr(socket, "getaddrinfo", search)
    with talk("http://nobody.invalid:8000", timeout_s=0.5) as call:
        failure(RequestTimeout, call, "is_server_live")
        ended.set()


def test_one_that_accepts_and_never_answers(ask: Ask, protocol: str) -> None:
    with Peer(wait_a_while) as peer:
        message = failure(RequestTimeout, ask, f"{protocol}://{peer.address}", timeout_s=0.5)
    assert message == f"{protocol}://{peer.address} gave no answer within 0.5 s; raise timeout_s"


@pytest.mark.parametrize(
    "head",
    [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"],
    ids=["status", "headers", "body"],
)
def test_one_that_drips_cannot_outlast_the_deadline(ask: Ask, head: bytes) -> None:
    def drip(connection: socket.socket) -> None:
        peers.read_request(connection)
        connection.sendall(head)
        for byte in b"HTTP/1.1 200 OK" + b"x" * 200:
            connection.sendall(bytes([byte]))
            time.sleep(0.1)

    with Peer(drip) as peer:
        failure(RequestTimeout, ask, f"http://{peer.address}", timeout_s=0.6)
        assert peer.connections == 1


def test_one_that_takes_only_half_of_a_request(talk: Talk) -> None:
    ended = threading.Event()

    def wait(connection: socket.socket) -> None:
        ended.wait(20)

    with Peer(wait) as peer, talk(f"http://{peer.address}", timeout_s=0.5) as call:
        failure(RequestTimeout, call, "infer_tensors", "identity", LARGE)
        peer.close()  # an event loop's connection ends when what is left has been sent, or cannot be
        ended.set()
        time.sleep(0.3)
        failure(ConnectError, call, "is_server_live")  # the loop runs, and sees that end


# -- half an answer --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nx",
    ],
    ids=["none", "length", "chunked"],
)
def test_one_that_answers_half(ask: Ask, answer: bytes) -> None:
    with Peer(answering(answer)) as peer:
        message = failure(AnswerLost, ask, f"http://{peer.address}", retry=Retry())
        assert peer.connections == 1, "it was asked again, though it may have served the request"
        assert message.startswith(f"http://{peer.address} closed the connection before its answer was complete: ")
        assert message.endswith("Retry(lost_answers=True) sends it again")
        failure(AnswerLost, ask, f"http://{peer.address}", retry=Retry(3, 0.01, lost_answers=True))
        assert peer.connections == 4


def test_one_that_closes_in_the_middle(ask: Ask, protocol: str, server: Server) -> None:
    def cut(connection: socket.socket) -> None:
        ended = threading.Event()
        threading.Timer(0.7, ended.set).start()
        peers.relay(server.ports[protocol], connection, ended)

    with Peer(cut) as peer:
        failure(AnswerLost, ask, f"{protocol}://{peer.address}", "slow", retry=Retry())
        assert peer.connections == 1, "it was asked again, though it may have served the request"


def test_one_that_ends_in_the_middle_of_a_large_answer(ask: Ask, protocol: str, server: Server) -> None:
    def cut(connection: socket.socket) -> None:
        peers.relay(server.ports[protocol], connection, answer_bytes=50_000)

    large = {"x": np.array([[b"x" * 1_000_000]], dtype=object)}
    with Peer(cut) as peer:
        failure(AnswerLost, ask, f"{protocol}://{peer.address}", inputs=large, retry=Retry())
        assert peer.connections == 1
        failure(AnswerLost, ask, f"{protocol}://{peer.address}", inputs=large, retry=Retry(2, 0.01, lost_answers=True))
        assert peer.connections == 3


def test_one_that_ends_in_the_middle_of_a_request(ask: Ask) -> None:
    def read_some(connection: socket.socket) -> None:
        connection.recv(65536)

    with Peer(read_some) as peer:
        failure(AnswerLost, ask, f"http://{peer.address}", inputs=LARGE, retry=Retry())
        assert peer.connections == 1


def test_one_that_refuses_a_large_request_before_it_has_read_it(ask: Ask) -> None:
    def refuse(connection: socket.socket) -> None:
        peers.read_request(connection)
        connection.sendall(HTML % b"413 Payload Too Large")
        connection.shutdown(socket.SHUT_WR)
        time.sleep(0.2)  # a client that only writes finds the connection closed

    with Peer(refuse) as peer:
        failure(InvalidRequest, ask, f"http://{peer.address}", inputs=LARGE, retry=Retry())
        assert peer.connections == 1


def test_one_that_resets_the_connection_in_the_middle(ask: Ask) -> None:
    def reset(connection: socket.socket) -> None:
        peers.read_request(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()

    with Peer(reset) as peer:
        failure(AnswerLost, ask, f"http://{peer.address}")


def test_calls_share_a_connection(talk: Talk, protocol: str, server: Server) -> None:
    def serve(connection: socket.socket) -> None:
        peers.relay(server.ports[protocol], connection)

    with Peer(serve) as peer, talk(f"{protocol}://{peer.address}") as call:
        for _ in range(5):
            assert call("infer_tensors", "identity", X)["y"].tolist() == [[b"a"]]
            assert call("is_server_live")
        failure(NotFound, call, "infer_tensors", "nobody", X)
        assert call("is_server_live")
        assert peer.connections == 1


def test_a_connection_that_the_server_closed_meanwhile_is_not_used_again() -> None:
    good = b'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"name": "triton"}'
    with Peer(answering(good)) as peer, Client(f"http://{peer.address}", retry=None) as client:
        for _ in range(20):
            assert client.get_server_metadata() == {"name": "triton"}
            time.sleep(0.02)
        assert peer.connections == 20


def test_a_server_that_is_back_is_found_again(ask: Ask, protocol: str, server: Server) -> None:
    def serve(connection: socket.socket) -> None:
        peers.relay(server.ports[protocol], connection)

    with Peer(serve) as peer:
        port = int(peer.address.partition(":")[2])
        assert ask(f"{protocol}://{peer.address}") == [[b"a"]]
    with Client(f"{protocol}://{peer.address}", timeout_s=20, retry=Retry(100, 0.1, 0.1)) as client:
        failure(ConnectError, client.infer_tensors, "identity", X, timeout_s=0.5)
        back: list[Peer] = []
        threading.Timer(0.5, lambda: back.append(Peer(serve, port=port))).start()
        assert client.infer_tensors("identity", X)["y"].tolist() == [[b"a"]]
        back[0].close()


def test_a_client_of_another_event_loop_is_refused(protocol: str, server: Server) -> None:
    client = AsyncClient(server.http_url if protocol == "http" else server.grpc_url)
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    assert first.run_until_complete(client.is_server_live())
    with pytest.raises(
        ClientError, match=r"used in another event loop before; make an AsyncClient in each asyncio.run"
    ):
        second.run_until_complete(client.is_server_live())
    first.run_until_complete(client.close())
    first.close()
    second.close()


# -- others than Triton ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (b"500 Internal Server Error", ServerError),
        (b"200 OK", ServerError),
        (b"404 Not Found", ServerError),
        (b"301 Moved Permanently", ServerError),
        (b"403 Forbidden", Forbidden),
        (b"413 Payload Too Large", InvalidRequest),
        (b"502 Bad Gateway", AnswerLost),
        (b"504 Gateway Timeout", AnswerLost),
        (b"503 Service Unavailable", Unavailable),
    ],
)
def test_one_that_answers_with_a_web_page(ask: Ask, status: bytes, kind: type[ClientError]) -> None:
    with Peer(answering(HTML % status)) as peer:
        message = failure(kind, ask, f"http://{peer.address}")
    assert f"http://{peer.address}" in message
    assert "<html>" not in message


@pytest.mark.parametrize(
    "answer",
    [
        b"\x00\x01\x02 nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull",
        b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"outputs": [7]}'[:-1] + b"}",
        b"HTTP/1.1 200 OK\r\nInference-Header-Content-Length: ten\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200_000 + b"\r\n",
    ],
    ids=["noise", "no outputs", "null", "no tensor", "header length", "no gzip", "brotli", "endless head"],
)
def test_one_that_answers_nonsense(ask: Ask, answer: bytes) -> None:
    with Peer(answering(answer)) as peer:
        message = failure(ServerError, ask, f"http://{peer.address}")
    assert message.startswith(f"http://{peer.address} does not answer as Triton does: ")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + b"x" * 1024 + b"\r\n" + b"0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1024,
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s" % (len(BOMB), BOMB),
    ],
    ids=["announced", "chunked", "without a length", "compressed"],
)
def test_one_that_answers_more_than_memory_holds(ask: Ask, answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "LARGEST_ANSWER_BYTES", 1000)
    with Peer(answering(answer)) as peer:
        message = failure(ServerError, ask, f"http://{peer.address}")
    assert "the answer has more than 1,000 bytes" in message


def test_http_on_the_grpc_port(ask: Ask, server: Server) -> None:
    url = f"http://127.0.0.1:{server.ports['grpc']}"
    message = failure(ServerError, ask, url)
    assert message.startswith(f"{url} does not answer as Triton does: ")
    assert message.endswith("; is it the HTTP port, and no proxy's?")


def test_grpc_on_the_http_port(ask: Ask, server: Server) -> None:
    url = f"grpc://127.0.0.1:{server.ports['http']}"
    hint = "it closed the connection at once, as one does that speaks no gRPC"
    assert failure(ConnectError, ask, url).startswith(f"cannot reach {url}: {hint}; ")


def test_grpc_where_another_web_server_is(ask: Ask) -> None:
    with Peer(answering(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")) as peer:
        message = failure(ServerError, ask, f"grpc://{peer.address}")
    assert message.endswith("it speaks HTTP/1; is it the gRPC port, and no proxy's?")


def test_tls_where_there_is_none(ask: Ask, protocol: str, server: Server) -> None:
    url = f"{protocol}s://127.0.0.1:{server.ports[protocol]}"
    message = failure(ConnectError, ask, url)
    assert message.startswith(f"no secure connection to {url}: ")
    with Peer(lambda connection: connection.sendall(HTML % b"400 Bad Request")) as peer:
        message = failure(ConnectError, ask, f"{protocol}s://{peer.address}")
    assert message.startswith(f"no secure connection to {protocol}s://{peer.address}: ")


# -- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> peers.Certificate:
    return peers.make_authority(tmp_path_factory.mktemp("authority"))


def test_tls_and_a_certificate_of_the_client(
    ask: Ask, protocol: str, server: Server, authority: peers.Certificate, tmp_path: Path
) -> None:
    own = peers.make_certificate(tmp_path, "server", authority)
    mine = peers.make_certificate(tmp_path, "client", authority)
    files = {"ca_file": authority.certificate}
    mutual = files | {"certificate_file": mine.certificate, "key_file": str(mine.key)}

    def serve(connection: socket.socket) -> None:
        peers.relay(server.ports[protocol], connection)

    with Peer(serve, peers.server_context(own)) as peer:
        assert ask(f"{protocol}s://{peer.address}", **files) == [[b"a"]]
        message = failure(ConnectError, ask, f"{protocol}s://{peer.address}")
        assert message.startswith(f"no secure connection to {protocol}s://{peer.address}: ")
        assert "ca_file" in message
    with Peer(serve, peers.server_context(own, clients=authority)) as peer:
        assert ask(f"{protocol}s://{peer.address}", **mutual) == [[b"a"]]
        with pytest.raises(ConnectError):
            ask(f"{protocol}s://{peer.address}", **files)


def test_an_expired_certificate(ask: Ask, protocol: str, authority: peers.Certificate, tmp_path: Path) -> None:
    expired = peers.make_certificate(tmp_path, "expired", authority, days=-1)
    with Peer(wait_a_while, peers.server_context(expired)) as peer:
        message = failure(ConnectError, ask, f"{protocol}s://{peer.address}", ca_file=authority.certificate)
    assert message.startswith(f"no secure connection to {protocol}s://{peer.address}: ")
    assert "expired" in message


# -- Triton in trouble -----------------------------------------------------------------------------------------------


def test_a_model_that_disappears_between_two_calls(talk: Talk, protocol: str, server: Server) -> None:
    url = server.http_url if protocol == "http" else server.grpc_url
    with talk(url) as call, Client(url, admin_key=server.admin_key) as admin:
        assert call("infer_tensors", "identity", X)["y"].tolist() == [[b"a"]]
        try:
            admin.unload_model("identity")
            _wait_until(lambda: not admin.is_model_ready("identity"))
            message = failure(Unavailable, call, "infer_tensors", "identity", X)
            assert "'identity' has no available versions" in message
        finally:
            admin.load_model("identity")
        assert call("infer_tensors", "identity", X)["y"].tolist() == [[b"a"]]


def test_a_restricted_call_is_forbidden_and_a_header_opens_it(
    talk: Talk, protocol: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIDENT_STATE_DIR", str(tmp_path))  # where the client finds no key by itself
    url = server.http_url if protocol == "http" else server.grpc_url
    with talk(url, retry=Retry()) as call:
        message = failure(Forbidden, call, "get_model_repository_index")
        assert message.endswith("; give the client its admin_key, or set TRIDENT_ADMIN_KEY")
    name = "admin-key" if protocol == "http" else "triton-grpc-protocol-admin-key"
    with talk(url, headers={name: server.admin_key}) as call:
        assert "identity" in {entry["name"] for entry in call("get_model_repository_index")}


def test_a_full_queue(protocol: str, server: Server) -> None:
    url = server.http_url if protocol == "http" else server.grpc_url
    with Client(url, admin_key=server.admin_key, retry=None) as client:
        queue = {"dynamic_batching": {"default_queue_policy": {"max_queue_size": 1}}}
        client.load_model("slow", client.get_model_config("slow") | queue | {"max_batch_size": 1})

        def try_it(_: int) -> Any:
            try:
                return client.infer_tensors("slow", X)["y"].tolist()
            except ClientError as error:
                return f"{type(error).__name__}: {error}"

        try:
            with futures.ThreadPoolExecutor(8) as pool:
                found = list(pool.map(try_it, range(8)))
        finally:
            client.load_model("slow")
    refused = [answer for answer in found if answer != [[b"a"]]]
    assert 0 < len(refused) < 8
    assert all("Unavailable: " in answer and "Exceeds maximum queue size" in answer for answer in refused), refused


def test_a_model_whose_process_does_not_answer(ask: Ask, tmp_path: Path) -> None:
    """To Triton it is as one that has died, which `trident serve` would replace; on a server of its own."""
    shutil.copytree(MODELS / "identity", tmp_path / "identity")
    with Server(tmp_path, http_port=0, grpc_port=0, metrics_port=0, exit_timeout_s=1) as running:
        for url in (running.http_url, running.grpc_url):
            assert ask(url) == [[b"a"]]
        for line in processes(running.shm_prefix):
            if "backend_stub" in line:
                os.kill(int(line.partition(":")[0]), signal.SIGSTOP)
        for url in (running.http_url, running.grpc_url):
            assert "is not healthy" in failure(Unavailable, ask, url)


def _wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(100):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come true within 5 s")


def test_cancelling_a_call_cancels_the_request_over_grpc() -> None:
    arrived, cancelled = threading.Event(), threading.Event()

    class Service(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
        def ModelInfer(  # noqa: N802 - the RPC's name
            self, request: Any, context: Any
        ) -> Any:
            context.add_callback(cancelled.set)
            arrived.set()
            cancelled.wait(20)
            return service_pb2.ModelInferResponse()

    pool = futures.ThreadPoolExecutor(2)
    fake = grpc.server(pool)
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Service(), fake)
    port = fake.add_insecure_port("127.0.0.1:0")
    fake.start()

    async def main() -> None:
        async with AsyncClient(f"grpc://127.0.0.1:{port}") as client:
            task = asyncio.create_task(client.infer_tensors("identity", X))
            assert await asyncio.to_thread(arrived.wait, 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(cancelled.wait, 5), "the server was not told"

    try:
        asyncio.run(main())
    finally:
        fake.stop(None).wait()
        pool.shutdown()


def test_cancelling_a_call_stops_waiting_over_http() -> None:
    arrived, gone = threading.Event(), threading.Event()

    def wait_for_the_end(connection: socket.socket) -> None:
        peers.read_request(connection)
        arrived.set()
        wait_a_while(connection)
        gone.set()

    async def main(url: str) -> None:
        async with AsyncClient(url) as client:
            task = asyncio.create_task(client.infer_tensors("identity", X))
            assert await asyncio.to_thread(arrived.wait, 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(gone.wait, 5), "the connection is still open"

    with Peer(wait_for_the_end) as peer:
        asyncio.run(main(f"http://{peer.address}"))
