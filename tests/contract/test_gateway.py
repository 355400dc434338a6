"""`trident gateway`: what tritonserver does not survive never reaches it, and all else goes through unchanged."""

import asyncio
import contextlib
import gzip
import http.client
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fuzzing
import grpc
import numpy as np
import pytest
from conftest import RunTrident
from fuzzing_http import HttpCase, hazards, send_http
from gateways import Gateway, gateway_before
from leftovers import leftovers, pids
from overload_models import write_guarded
from trident.server.lifecycle import Server
from trident_client import AnswerLost, AsyncClient, Client, InvalidRequest, NotFound, Retry, Unavailable
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

MOST_BYTES = 2**21
TEXTS = ["You won a free prize", "see you at home"]
REQUESTS, SEED = 600, 20242
X = {"x": np.array([[b"a"]], dtype=object)}


@pytest.fixture(scope="module")
def guarded(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of `tiny`, which nobody else needs alive, and of `guarded`, of which four requests may wait."""
    folder = tmp_path_factory.mktemp("behind") / "model_repository"
    for model in ("tiny", "tiny_preprocess", "tiny_model", "tiny_postprocess"):
        shutil.copytree(repository / model, folder / model)
    write_guarded(folder, limit=4, delay_s=0.1, batch=1)
    with Server(folder, http_port=0, grpc_port=0, metrics_port=0) as server:
        yield server
    assert leftovers(server) == []


@pytest.fixture(scope="module")
def gateway(guarded: Server) -> Iterator[Gateway]:
    with gateway_before(guarded.http_url, "--max-request-bytes", str(MOST_BYTES)) as opened:
        yield opened


@pytest.fixture(params=["http", "grpc"])
def client(request: pytest.FixtureRequest, gateway: Gateway) -> Iterator[Client]:
    """A client of each protocol, which does not try again."""
    url = gateway.http_url if request.param == "http" else gateway.grpc_url
    with Client(url, timeout_s=20, retry=None) as connected:
        yield connected


def tritonserver(server: Server) -> int:
    """Its pid; another means that it was started again."""
    (pid,) = pids(server, "bin/tritonserver --")
    return pid


def ask(gateway: Gateway, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any, Any]:
    """Status, headers and JSON of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.http_port, timeout=20)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.headers, json.loads(answer.read())
    finally:
        connection.close()


def becomes_away(client: Client) -> bool:
    """Whether a request fails as one does that can be tried again, before long."""
    for _ in range(100):
        try:
            client.infer("tiny", TEXTS)
        except (Unavailable, AnswerLost):
            return True
    return False


def document(text: str = "hello") -> bytes:
    return json.dumps({"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1, 1], "data": [text]}]}).encode()


def test_it_answers_as_the_server_behind_it(guarded: Server, client: Client) -> None:
    with Client(guarded.http_url) as direct:
        expected = direct.infer("tiny", TEXTS, top_k=2)
        assert client.get_model_metadata("tiny") == direct.get_model_metadata("tiny")
    assert client.infer("tiny", TEXTS, top_k=2) == expected
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    with pytest.raises(NotFound, match="unknown model"):
        client.infer_tensors("nobody", X)


def test_the_asynchronous_client_goes_through_too(gateway: Gateway) -> None:
    async def labels(url: str) -> list[Any]:
        async with AsyncClient(url) as client:
            return list(await client.infer("tiny", TEXTS))

    assert asyncio.run(labels(gateway.http_url)) == asyncio.run(labels(gateway.grpc_url))


def test_malformed_requests_get_a_4xx_and_harm_nobody(gateway: Gateway) -> None:
    findings = fuzzing.fuzz(gateway, "tiny", REQUESTS, SEED, front=False)
    assert findings.faults == []
    assert findings.codes["good answers"] == REQUESTS // fuzzing.GOOD_EVERY
    assert findings.codes["gRPC INVALID_ARGUMENT"] > findings.codes["gRPC OK"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("classification", "'classification' of 'label' is not offered here"),
        ("nesting", "the request is no JSON: maximum recursion depth"),
        ("overflow", "which has more elements than the request has bytes"),
        ("no rows", r"has the shape [0, 0], which has no elements"),
    ],
)
def test_what_ends_tritonserver_is_refused(guarded: Server, gateway: Gateway, name: str, said: str) -> None:
    before = tritonserver(guarded)
    status, text = send_http(gateway.http_port, hazards("tiny")[name])
    assert (status, said in text) == (400, True), text
    assert tritonserver(guarded) == before


@pytest.mark.parametrize(
    "said",
    [
        b"\0\xff\r\n\r\n",
        b"GET / HTTP/9\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["garbage", "version", "path", "lengths", "chunks"],
)
def test_what_is_no_http_is_refused(gateway: Gateway, said: bytes) -> None:
    """And is no news for stderr, which the fixture `gateway` looks at in the end."""
    with socket.create_connection(("127.0.0.1", gateway.http_port), timeout=20) as caller:
        caller.sendall(said)
        assert caller.recv(100).startswith((b"HTTP/1.1 4", b"HTTP/1.0 4"))


def test_callers_who_go_in_the_middle_are_no_news(gateway: Gateway) -> None:
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", gateway.http_port), timeout=20) as caller:
            caller.sendall(b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n{")
    assert ask(gateway, "POST", "/v2/models/tiny/infer", document())[0] == 200


def test_a_question_that_is_no_message_is_refused(gateway: Gateway) -> None:
    with grpc.insecure_channel(gateway.grpc_url.removeprefix("grpc://")) as channel:
        ask_anything = channel.unary_unary("/inference.GRPCInferenceService/ModelReady")
        with pytest.raises(grpc.RpcError) as caught:
            ask_anything(b"\xff\xff", timeout=20)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_what_takes_memory_for_numbers_that_do_not_come_is_refused(gateway: Gateway) -> None:
    content = {"inputs": [{"name": "input_ids", "datatype": "INT32", "shape": [2**31, 1], "data": [1]}]}
    status, text = send_http(
        gateway.http_port, HttpCase("memory", "/v2/models/tiny_model/infer", {}, json.dumps(content).encode())
    )
    assert (status, "more elements than" in text) == (400, True)


def test_a_request_that_comes_in_pieces_is_answered(gateway: Gateway) -> None:
    """Cut inside the model's name, tritonserver itself says 404, or closes the connection."""
    head = f"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: a\r\nContent-Length: {len(document())}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", gateway.http_port), timeout=20) as caller:
        for piece in (head[:18], head[18:26], head[26:], document()[:5], document()[5:]):
            caller.sendall(piece)
            time.sleep(0.05)
        assert caller.recv(100).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("fault", ["classification", "no rows"])
def test_what_ends_tritonserver_is_refused_over_grpc(guarded: Server, gateway: Gateway, fault: str) -> None:
    message = pb.ModelInferRequest(model_name="tiny")
    tensor = message.inputs.add(name="text", datatype="BYTES", shape=[1, 1])
    tensor.contents.bytes_contents.append(b"a")
    if fault == "no rows":
        tensor.shape[:] = [0, 0]
    else:
        message.outputs.add(name="label").parameters["classification"].int64_param = 1
    before = tritonserver(guarded)
    with grpc.insecure_channel(gateway.grpc_url.removeprefix("grpc://")) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        calls: list[Callable[[], Any]] = [
            lambda: stub.ModelInfer(message, timeout=20),
            lambda: list(stub.ModelStreamInfer(iter([message]), timeout=20)),
        ]
        for call in calls:
            with pytest.raises(grpc.RpcError, match=r"is not offered here|has no elements") as caught:
                call()
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert tritonserver(guarded) == before


def test_a_stream_is_answered_message_by_message(gateway: Gateway) -> None:
    message = pb.ModelInferRequest(model_name="tiny")
    message.inputs.add(name="text", datatype="BYTES", shape=[1, 1]).contents.bytes_contents.append(b"a")
    with grpc.insecure_channel(gateway.grpc_url.removeprefix("grpc://")) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        answers = list(stub.ModelStreamInfer(iter([message] * 3), timeout=20))
    assert [(answer.error_message, answer.infer_response.model_name) for answer in answers] == [("", "tiny")] * 3


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2/repository/models/tiny/unload"),
        ("POST", "/v2/repository/index"),
        ("GET", "/v2/systemsharedmemory/status"),
        ("POST", "/v2/trace/setting"),
        ("GET", "/v2/logging"),
        ("POST", "/v2/models/tiny/generate"),
        ("GET", "/v2/models/tiny/infer"),
        ("PUT", "/v2/models/tiny"),
        ("GET", "/metrics"),
    ],
)
def test_administration_is_not_offered(gateway: Gateway, method: str, path: str) -> None:
    status, _, said = ask(gateway, method, path, b"{}" if method == "POST" else b"")
    assert status in (404, 405)
    assert f"{method} '{path}' is not offered here" in said["error"]


def test_a_question_for_the_head_of_an_answer_is_refused(gateway: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", gateway.http_port), timeout=20) as caller:
        caller.sendall(b"HEAD /v2/health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        head, _, body = b"".join(iter(lambda: caller.recv(2**16), b"")).partition(b"\r\n\r\n")
    assert (head.split(b"\r\n")[0], body) == (b"HTTP/1.1 405 Method Not Allowed", b"")


def test_administration_is_not_found_over_either_protocol(client: Client) -> None:
    with pytest.raises(NotFound, match="is not offered here"):
        client.get_model_repository_index()


def test_status_takes_it_for_ready_although_it_lists_no_models(gateway: Gateway, trident: RunTrident) -> None:
    for url in (gateway.http_url, gateway.grpc_url):
        result = trident("status", "--url", url, "--json")
        (entry,) = json.loads(result.stdout)
        assert (result.returncode, entry["ready"], entry["models"]) == (0, True, None)


def test_administration_is_not_offered_over_grpc(gateway: Gateway) -> None:
    with grpc.insecure_channel(gateway.grpc_url.removeprefix("grpc://")) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError, match="RepositoryModelUnload is not offered here") as caught:
            stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="tiny"), timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_request_of_more_bytes_than_the_limit_is_refused_also_when_it_is_packed(
    gateway: Gateway, client: Client
) -> None:
    with pytest.raises((InvalidRequest, Unavailable), match=r"2,097,152 bytes|larger than max"):
        client.infer_tensors("tiny", {"text": np.array([[b"a" * MOST_BYTES]], object)})
    path = "/v2/models/tiny/infer"
    status, _, said = ask(gateway, "POST", path, gzip.compress(document("a" * MOST_BYTES)), Content_Encoding="gzip")
    assert (status, "more than 2,097,152 bytes, unpacked" in said["error"]) == (413, True)
    assert ask(gateway, "POST", path, gzip.compress(document()), Content_Encoding="gzip")[0] == 200
    for wrong in (document(), gzip.compress(document())[:-1], gzip.compress(document()) + b"a"):
        status, _, said = ask(gateway, "POST", path, wrong, Content_Encoding="gzip")
        assert (status, "is not what its Content-Encoding says" in said["error"]) == (400, True)
    assert ask(gateway, "POST", path, document(), Content_Encoding="br")[0] == 415


def test_a_refusal_for_want_of_room_says_when_to_come_again(gateway: Gateway) -> None:
    body = json.dumps({"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1, 1], "data": ["a"]}]}).encode()
    with ThreadPoolExecutor(40) as pool:
        found = list(pool.map(lambda _: ask(gateway, "POST", "/v2/models/guarded/infer", body), range(40)))
    refused = [headers["Retry-After"] for status, headers, _ in found if status == 503]
    assert {status for status, _, _ in found} == {200, 503}
    assert refused == ["1"] * len(refused)
    message = pb.ModelInferRequest(model_name="guarded")
    message.inputs.add(name="x", datatype="BYTES", shape=[1, 1]).contents.bytes_contents.append(b"a")
    with grpc.insecure_channel(gateway.grpc_url.removeprefix("grpc://")) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        calls = [stub.ModelInfer.future(message, timeout=20) for _ in range(40)]
        refusals = [call for call in calls if call.code() is grpc.StatusCode.UNAVAILABLE]
    assert refusals
    assert {dict(call.trailing_metadata())["grpc-retry-pushback-ms"] for call in refusals} == {"1000"}


def test_while_tritonserver_is_away_callers_are_told_to_come_again(guarded: Server, gateway: Gateway) -> None:
    with Client(gateway.http_url, timeout_s=30, retry=None) as client:
        client.infer("tiny", TEXTS)
        os.kill(tritonserver(guarded), signal.SIGKILL)
        assert becomes_away(client)
    status, headers, said = ask(gateway, "POST", "/v2/models/tiny/infer", document())
    while status == 502:  # it was taken on by the one that is dying
        status, headers, said = ask(gateway, "POST", "/v2/models/tiny/infer", document())
    assert (status, headers["Retry-After"]) == (503, "1")
    assert said == {"error": "tritonserver does not answer; it may be starting"}
    with Client(gateway.grpc_url, timeout_s=60, retry=Retry(attempts=60, lost_answers=True)) as client:
        assert len(client.infer("tiny", TEXTS)) == 2
    with Client(gateway.http_url, timeout_s=60, retry=Retry(attempts=60, lost_answers=True)) as client:
        assert len(client.infer("tiny", TEXTS)) == 2


def test_a_caller_who_takes_it_for_a_proxy_is_answered_all_the_same(gateway: Gateway) -> None:
    assert ask(gateway, "GET", "http://elsewhere:1/v2/models/tiny")[2]["name"] == "tiny"


def test_it_listens_to_ipv6(guarded: Server) -> None:
    with gateway_before(guarded.http_url, "--host", "::1") as own:
        assert own.http_url.startswith("http://[::1]:")
        for url in (own.http_url, own.grpc_url):
            with Client(url, timeout_s=20) as client:
                assert client.infer("tiny", TEXTS)


def test_requests_in_flight_finish_when_it_stops(guarded: Server) -> None:
    with ThreadPoolExecutor(1) as pool, contextlib.ExitStack() as stack:
        own = stack.enter_context(gateway_before(guarded.http_url))
        client = Client(own.http_url)
        answer = pool.submit(client.infer_tensors, "ranked", X)
        time.sleep(0.2)  # it takes half a second
        stack.close()
        assert list(answer.result()) == ["y"]
        client.close()


def test_it_says_what_it_cannot_do(trident: RunTrident, guarded: Server, gateway: Gateway) -> None:
    for options, said in (
        (("--url", "http://127.0.0.1:1"), "say where it takes gRPC with --grpc-url"),
        (("--url", guarded.grpc_url), "expected http://HOST:PORT"),
        (("--url", f"{guarded.http_url}/v2"), "expected http://HOST:PORT"),
        (("--url", guarded.http_url, "--grpc-url", "nonsense"), "expected grpc://HOST:PORT"),
        (("--url", guarded.http_url, "--http-port", "7", "--grpc-port", "7"), "are both 7; expected two ports"),
        (("--url", guarded.http_url, "--http-port", guarded.http_url.rpartition(":")[2]), "in front of itself"),
        (
            ("--url", guarded.http_url, "--grpc-port", guarded.http_url.rpartition(":")[2], "--host", "0.0.0.0"),
            "itself",
        ),
        (("--url", guarded.http_url, "--http-port", "0", "--host", "198.51.100.1"), "Cannot assign requested address"),
        (("--url", guarded.http_url, "--grpc-port", "0", "--http-port", str(gateway.http_port)), "--http-port"),
        (
            ("--url", guarded.http_url, "--http-port", "0", "--grpc-port", gateway.grpc_url.rpartition(":")[2]),
            "--grpc-port",
        ),
    ):
        result = trident("gateway", *options)
        assert (result.returncode, said in result.stderr) == (1, True), result.stderr
        assert result.stderr.count("\n") == 1
