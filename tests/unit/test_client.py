"""The client against a server that answers what a test wants, over real HTTP."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from trident_client import (
    AsyncClient,
    Client,
    ClientError,
    InvalidRequest,
    NotFound,
    Prediction,
    RequestTimeout,
    ServerError,
)
from trident_client.deadline import Deadline
from trident_client.testing import FakeServer

PROTOCOLS = ["http", "grpc"]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A service `spam` that answers every text with itself, two at once."""
    with FakeServer() as running:
        running.add("spam", lambda text: Prediction((text,), (1.0,)), max_batch_size=2)
        yield running


def labels(predictions: Sequence[Prediction]) -> list[str | None]:
    return [prediction.label for prediction in predictions]


def all_ham(inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    shape = inputs["text"].shape
    return {"label": np.full(shape, b"ham", dtype=object), "score": np.ones(shape, np.float32)}


def sizes(server: FakeServer) -> list[int]:
    return sorted(len(request.inputs["text"]) for request in server.requests)


def infer_async(server: FakeServer, texts: Sequence[str], **options: Any) -> list[Prediction]:
    async def main() -> list[Prediction]:
        async with AsyncClient(server.url) as client:
            return await client.infer("spam", texts, **options)

    return asyncio.run(main())


def infer(server: FakeServer, texts: Sequence[str], **options: Any) -> list[Prediction]:
    with Client(server.url) as client:
        return client.infer("spam", texts, **options)


both = pytest.mark.parametrize("ask", [infer, infer_async], ids=["blocking", "async"])
Ask = Callable[..., list[Prediction]]


@both
def test_texts_are_sent_in_batches_that_the_service_takes(ask: Ask, server: FakeServer) -> None:
    assert labels(ask(server, list("abcde"))) == list("abcde")
    assert sizes(server) == [1, 2, 2]


@both
def test_a_service_without_batching_gets_one_text_at_a_time(ask: Ask, server: FakeServer) -> None:
    server.add("spam", lambda text: Prediction((text,), (1.0,)), max_batch_size=1)
    assert labels(ask(server, list("abc"))) == list("abc")
    assert sizes(server) == [1, 1, 1]


@both
def test_no_texts_send_nothing(ask: Ask, server: FakeServer) -> None:
    assert ask(server, []) == []
    assert server.requests == []


@both
def test_answers_come_in_the_order_asked_however_long_they_take(ask: Ask, server: FakeServer) -> None:
    def slow_for_some(text: str) -> Prediction:
        if text.endswith("0"):
            threading.Event().wait(0.05)
        return Prediction((text,), (1.0,))

    server.add("spam", slow_for_some, max_batch_size=3)
    texts = [f"text {number}" for number in range(100)]
    assert labels(ask(server, texts)) == texts


def test_a_service_that_takes_less_than_before_gets_less(server: FakeServer) -> None:
    server.add("spam", lambda text: Prediction((text,), (1.0,)), max_batch_size=8)
    with Client(server.url) as client:
        client.infer("spam", list("ab"))
        server.add("spam", lambda text: Prediction((text,), (1.0,)), max_batch_size=3)
        server.requests.clear()
        assert labels(client.infer("spam", list("abcdefgh"))) == list("abcdefgh")
        assert sizes(server) == [2, 3, 3, 8]
        server.requests.clear()
        client.infer("spam", list("abcdefgh"))
        assert sizes(server) == [2, 3, 3]


@both
@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, {}),
        ({"top_k": 2}, {"top_k": 2}),
        ({"threshold": 0.0}, {"threshold": 0.0}),
        ({"top_k": 1, "threshold": 0.5}, {"top_k": 1, "threshold": 0.5}),
    ],
)
def test_only_given_parameters_are_sent(
    ask: Ask, server: FakeServer, given: dict[str, Any], sent: dict[str, Any]
) -> None:
    ask(server, ["a"], **given)
    assert [request.parameters for request in server.requests] == [sent]


@both
def test_a_bad_text_is_refused_before_any_is_sent(ask: Ask, server: FakeServer) -> None:
    for texts, message in (
        ("free prize", "texts is one string; expected a list of them: [text]"),
        (b"free prize", "texts is one bytes object; expected a list of them: [text]"),
        (7, "texts is int; expected a list of texts"),
        (["a", "b", "c", None], "text 3 is NoneType; expected str"),
        (["a", "b", b"free"], "text 2 is bytes; expected str"),
        (["a", "b", "\ud800"], "text 2 cannot be encoded as UTF-8: surrogates not allowed"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            ask(server, texts)
        assert str(caught.value) == message
    assert server.requests == []


@both
def test_the_first_error_ends_the_call_and_the_requests_behind_it(ask: Ask, server: FakeServer) -> None:
    def fail_at(text: str) -> Prediction:
        if text == "3":
            raise NotFound("gone")
        return Prediction((text,), (1.0,))

    server.add("spam", fail_at, max_batch_size=1)
    with pytest.raises(NotFound, match="gone"):
        ask(server, [str(number) for number in range(1000)])
    assert len(server.requests) < 100


@both
def test_a_timeout_that_is_given_holds_for_all_texts_together(ask: Ask, server: FakeServer) -> None:
    server.delay_s = 0.1
    with pytest.raises(RequestTimeout, match=r"gave no answer within 0\.5 s; raise timeout_s$"):
        ask(server, ["a"] * 500, timeout_s=0.5)


@pytest.mark.parametrize(
    ("call", "requests"),
    [
        (lambda client: client.infer("spam", list("abc"), timeout_s=5), 3),
        (lambda client: client.embed("meanings", [], timeout_s=5), 1),
        (lambda client: client.infer_values("houses", [{"rooms": 1}], timeout_s=5), 2),
        (lambda client: client.infer_records("customers", [{"age": 1}], timeout_s=5), 2),
    ],
    ids=["infer", "embed", "infer_values", "infer_records"],
)
def test_all_requests_of_a_call_end_at_one_time(
    call: Callable[[Client], Any], requests: int, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those for a service's configuration, too."""
    server.add("meanings", np.ones(2))
    server.add("houses", 7.0, takes="record")
    server.add("customers", Prediction(("stays",), (1.0,)), takes="record")
    ends = []
    with Client(server.url) as client:
        transport = client._calls._transport
        send = transport.send

        async def watch(request: Any, deadline: Deadline) -> Any:
            ends.append(deadline)
            return await send(request, deadline)

        monkeypatch.setattr(transport, "send", watch)
        call(client)
    assert len(ends) == requests
    assert len(set(ends)) == 1


def test_the_clients_timeout_is_for_each_request(server: FakeServer) -> None:
    server.delay_s = 0.2
    with Client(server.url, timeout_s=0.5, concurrency=1) as client:
        assert len(client.infer("spam", ["a"] * 8)) == 8


def test_no_more_requests_are_under_way_than_the_client_allows(server: FakeServer) -> None:
    under_way, most, lock = 0, 0, threading.Lock()

    def count(text: str) -> Prediction:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        threading.Event().wait(0.01)
        with lock:
            under_way -= 1
        return Prediction((text,), (1.0,))

    server.add("spam", count, max_batch_size=1)
    with Client(server.url, concurrency=3) as client:
        client.infer("spam", ["a"] * 40)
    assert most == 3


def test_an_answer_that_is_none_is_the_servers_error(server: FakeServer) -> None:
    server.add_model("spam", lambda inputs: {"label": np.array([[b"a"]] * 3, dtype=object), "score": np.ones((3, 1))})
    with Client(server.url) as client:
        with pytest.raises(ServerError, match=r"^'spam' answered 3 texts; 1 were asked$"):
            client.infer("spam", ["a"])
        server.add_model(
            "spam", lambda inputs: {"label": np.array([[b"\xff"]], dtype=object), "score": np.ones((1, 1))}
        )
        with pytest.raises(ServerError, match=r"^'spam' answers what cannot be read \('utf-8'.*classification"):
            client.infer("spam", ["a"])
        server.add_model("spam", lambda inputs: {"embedding": np.ones((1, 2), np.float32)})
        with pytest.raises(InvalidRequest, match=r"^'spam' answers \['embedding'\]; a classification service answers"):
            client.infer("spam", ["a"])


# -- streams ---------------------------------------------------------------------------------------------------------


def stream(server: FakeServer, texts: Iterable[str], seen: Callable[[Prediction], None]) -> None:
    with Client(server.url, concurrency=2) as client:
        for prediction in client.infer_stream("spam", texts):
            seen(prediction)


def stream_async(server: FakeServer, texts: Iterable[str], seen: Callable[[Prediction], None]) -> None:
    async def main() -> None:
        async with AsyncClient(server.url, concurrency=2) as client:
            async for prediction in client.infer_stream("spam", texts):
                seen(prediction)

    asyncio.run(main())


@pytest.mark.parametrize(("ask", "count"), [(stream, 1_000_000), (stream_async, 200_000)], ids=["blocking", "async"])
def test_a_million_texts_stream_through_with_few_in_memory(ask: Any, count: int, server: FakeServer) -> None:
    size = count // 100
    server.add_model("spam", all_ham, max_batch_size=size)
    taken, answered, most = 0, 0, 0

    def texts() -> Iterator[str]:
        nonlocal taken
        for number in range(count):
            taken += 1
            yield f"text {number}"

    def seen(prediction: Prediction) -> None:
        nonlocal answered, most
        answered += prediction.label == "ham"
        most = max(most, taken - answered)

    ask(server, texts(), seen)
    assert answered == count
    assert most <= 9 * size


def test_async_iterables_stream_through_in_order(server: FakeServer) -> None:
    async def texts() -> AsyncIterator[str]:
        for number in range(500):
            await asyncio.sleep(0)
            yield str(number)

    async def main() -> list[str | None]:
        async with AsyncClient(server.url) as client:
            return [prediction.label async for prediction in client.infer_stream("spam", texts())]

    assert asyncio.run(main()) == [str(number) for number in range(500)]


def test_a_stream_answers_all_texts_before_a_bad_one(server: FakeServer) -> None:
    texts: Any = [*"a" * 101, 7, "b"]
    with Client(server.url) as client:
        stream = client.infer_stream("spam", texts)
        assert [next(stream).label for _ in range(100)] == ["a"] * 100  # two a request
        with pytest.raises(InvalidRequest, match=r"^text 101 is int; expected str$"):
            next(stream)


def test_a_stream_that_is_closed_early_stops_and_leaves_nothing(server: FakeServer) -> None:
    def endless() -> Iterator[str]:
        while True:
            yield "a"

    before = threading.active_count()
    with Client(server.url) as client:
        stream = client.infer_stream("spam", endless())
        assert [next(stream).label for _ in range(10)] == ["a"] * 10
        server.delay_s = 1
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        server.delay_s = 0
        assert sum(thread.name.startswith("trident-client") for thread in threading.enumerate()) == 0
        assert client.is_server_live()
    assert threading.active_count() <= before + 100  # the server's threads still sleep


def test_an_async_stream_that_is_closed_early_leaves_no_task(server: FakeServer) -> None:
    async def main() -> int:
        async with AsyncClient(server.url) as client:
            stream = client.infer_stream("spam", (str(number) for number in range(100_000)))
            assert (await anext(stream)).label == "0"
            server.delay_s = 1
            await anext(stream)
            await stream.aclose()
            return len(asyncio.all_tasks())

    assert asyncio.run(main()) == 1


def test_cancelling_a_call_ends_all_its_requests(server: FakeServer) -> None:
    answer, arrived = threading.Event(), threading.Semaphore(0)

    def wait(text: str) -> Prediction:
        arrived.release()
        answer.wait(20)
        return Prediction((text,), (1.0,))

    server.add("spam", wait, max_batch_size=1)

    async def main() -> None:
        async with AsyncClient(server.url, concurrency=3) as client:
            call = asyncio.create_task(client.infer("spam", ["a"] * 100))
            for _ in range(3):
                assert await asyncio.to_thread(arrived.acquire, timeout=10)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert len(asyncio.all_tasks()) == 1
            answer.set()
            assert await client.is_server_live()

    asyncio.run(main())
    assert len(server.requests) == 3


def test_a_stream_takes_iterables_only(server: FakeServer) -> None:
    async def texts() -> AsyncIterator[str]:
        yield "a"

    with Client(server.url) as client:
        with pytest.raises(InvalidRequest, match="texts is str; expected an iterable of texts"):
            next(client.infer_stream("spam", "one text"))
        with pytest.raises(
            InvalidRequest, match="texts is an async iterable; expected an iterable, or use AsyncClient"
        ):
            client.infer_stream("spam", texts())  # type: ignore[arg-type]


# -- tensors ---------------------------------------------------------------------------------------------------------


# Port 1 refuses connections, so a client that sends all the same raises another error.
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("array", "message"),
    [
        ([1.0], r"^input 'x' is list; expected a numpy array$"),
        (np.zeros(1, "<U4"), "input 'x' has dtype <U4; expected numbers"),
        (np.zeros(1, "complex128"), "input 'x' has dtype complex128"),
        (np.zeros(1, "datetime64[s]"), r"input 'x' has dtype datetime64\[s\]"),
        (np.zeros(1, ">f4"), "input 'x' has dtype >f4"),
        (np.array([b"a", "b"], dtype=object), r"input 'x' is an object array with str in it; .* \.encode\(\)"),
        (np.array([b"a", None], dtype=object), "input 'x' is an object array with NoneType in it"),
        (np.array([[1, 2], [3]], dtype=object), "input 'x' is an object array with list in it"),
    ],
)
def test_an_array_that_triton_has_no_datatype_for_is_refused(protocol: str, array: Any, message: str) -> None:
    with Client(f"{protocol}://127.0.0.1:1") as client, pytest.raises(InvalidRequest, match=message):
        client.infer_tensors("model", {"x": array})


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**63, None, [1], {"a": 1}])
def test_a_parameter_that_cannot_be_sent_is_refused(protocol: str, value: Any) -> None:
    with (
        Client(f"{protocol}://127.0.0.1:1") as client,
        pytest.raises(InvalidRequest, match=r"^parameter p is .*expect"),
    ):
        client.infer_tensors("model", {"x": np.zeros(1)}, parameters={"p": value})


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_model_needs_a_name_and_inputs_are_a_mapping(protocol: str) -> None:
    with Client(f"{protocol}://127.0.0.1:1") as client:
        with pytest.raises(InvalidRequest, match="name is empty"):
            client.infer_tensors("", {"x": np.zeros(1)})
        with pytest.raises(InvalidRequest, match=r"inputs is list; expected \{name: array\}"):
            client.infer_tensors("model", [np.zeros(1)])  # type: ignore[arg-type]


def test_a_models_name_may_hold_what_a_path_may_not() -> None:
    with FakeServer() as server, Client(server.url) as client:
        server.add_model("a/b c?d", lambda inputs: inputs)
        assert client.infer_tensors("a/b c?d", {"x": np.ones((1, 1))})["x"].tolist() == [[1]]


def test_the_fake_server_has_the_statistics_of_all_models(server: FakeServer) -> None:
    server.add_model("double", all_ham)
    server.add_model("gone", all_ham)
    server.add_model("stats", all_ham)
    with Client(server.url) as client:
        client.unload_model("gone")
        client.infer("spam", ["a"])
        found = client.get_inference_statistics()["model_stats"]
        assert [(entry["name"], entry["inference_count"]) for entry in found] == [
            ("double", 0),
            ("spam", 1),
            ("stats", 0),
        ]
        assert client.get_inference_statistics("stats")["model_stats"] == found[2:]


# -- the client itself -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["http://localhost:8000", "http://127.0.0.1:8000/", "grpc://localhost:8001"])
def test_a_client_connects_to_nobody_before_the_first_call(url: str) -> None:
    with Client(url) as client:
        assert client.url == url


@pytest.mark.parametrize("timeout_s", [0, -1.5, float("nan"), 90_000, True, "1"])
def test_a_client_needs_time(timeout_s: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"^timeout_s is .*; expected seconds > 0 and ≤ 86400$"):
        Client(timeout_s=timeout_s)
    with Client() as client, pytest.raises(InvalidRequest, match="timeout_s"):
        client.is_server_live(timeout_s=timeout_s)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_closed_client_says_so(protocol: str) -> None:
    client = Client(f"{protocol}://127.0.0.1:1")
    client.close()
    with pytest.raises(ClientError, match="this client is closed; make another"):
        client.is_server_live()

    async def main() -> None:
        closed = AsyncClient(f"{protocol}://127.0.0.1:1")
        await closed.close()
        with pytest.raises(ClientError, match="this client is closed; make another"):
            await closed.is_server_live()

    asyncio.run(main())


# -- arguments of other types ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "grpc"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": 5}, "the model's name is 5; expected a string such as 'spam'"),
        ({"model": ""}, "the model's name is empty"),
        ({"model": "\ud800"}, "cannot be encoded as UTF-8"),
        ({"version": 1}, "the version is 1; expected a string such as '1'"),
        ({"outputs": 5}, "outputs is 5; expected a list of names"),
        ({"outputs": "label"}, "outputs is 'label'; expected a list of names"),
        ({"outputs": [5]}, r"outputs is \[5\]; expected a list of names"),
        ({"parameters": [1]}, "parameters is list; expected {name: value}"),
        ({"inputs": {5: np.zeros((1, 1))}}, r"inputs has the names \[5\]; expected strings"),
    ],
)
def test_an_argument_of_another_type_is_refused_before_it_is_sent(
    scheme: str, arguments: dict[str, Any], message: str
) -> None:
    given: dict[str, Any] = {"model": "spam", "inputs": {"x": np.zeros((1, 1))}} | arguments
    with Client(f"{scheme}://127.0.0.1:1") as client, pytest.raises(InvalidRequest, match=message):
        client.infer_tensors(**given)
