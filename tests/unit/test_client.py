"""The client checks what it is given before it calls anybody."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from trident_client import Client, ConnectError, InvalidRequest, Prediction
from trident_client.client import _encode

PROTOCOLS = ["http", "grpc"]


class Answers:
    """A transport that notes the requests and answers with the texts it was sent."""

    def __init__(self, max_batch_size: int) -> None:
        self.max_batch_size = max_batch_size
        self.requests: list[tuple[list[bytes], dict[str, Any], float]] = []

    def call(self, method: str, *arguments: Any, timeout_s: float) -> Any:
        assert (method, arguments[0]) == ("get_model_config", "spam")
        return {"config": {"max_batch_size": self.max_batch_size}}

    def infer(self, model: str, inputs: Any, **options: Any) -> dict[str, NDArray[Any]]:
        texts = inputs["text"]
        self.requests.append((texts.ravel().tolist(), options["parameters"], options["timeout_s"]))
        return {"label": texts, "score": np.ones(texts.shape, np.float32)}

    def close(self) -> None:
        """Nothing is open."""


def client_of(transport: Answers) -> Client:
    client = Client(timeout_s=3)
    client._transport = transport  # no server can exist in a unit test
    return client


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8000",
        "localhost:8000",
        "https://localhost:8000",
        "http://",
        "grpc://",
        "http://localhost:8000/v2",
        "http://localhost:port",
        "grpc://localhost:port",
        "http://localhost:99999",
        "http://:8000",
        "http://[::1",
    ],
)
def test_a_url_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(ConnectError) as caught:
        Client(url)
    assert str(caught.value) == f"url is '{url}'; expected http://HOST:PORT or grpc://HOST:PORT"


@pytest.mark.parametrize("url", ["http://localhost:8000", "http://127.0.0.1:8000/", "grpc://localhost:8001"])
def test_a_client_connects_to_nobody_before_the_first_call(url: str) -> None:
    with Client(url) as client:
        assert client.url == url


@pytest.mark.parametrize("timeout_s", [0, -1.5])
def test_a_client_needs_time(timeout_s: float) -> None:
    with pytest.raises(InvalidRequest, match=rf"^timeout_s is {timeout_s}; expected seconds > 0 and ≤ 86400$"):
        Client(timeout_s=timeout_s)


def test_texts_become_a_bytes_tensor_of_one_column() -> None:
    encoded = _encode(["schön", "", "a\x00b"])
    assert encoded.dtype == object
    assert encoded.tolist() == [["schön".encode()], [b""], [b"a\x00b"]]


def test_no_texts_are_an_empty_tensor() -> None:
    assert _encode([]).shape == (0, 1)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("free prize", "texts is one string; expected a list of them: [text]"),
        (["free", None], "text 1 is NoneType; expected str"),
        ([b"free"], "text 0 is bytes; expected str"),
        (["free", "\ud800"], "text 1 cannot be encoded as UTF-8: surrogates not allowed"),
    ],
)
def test_what_is_no_list_of_texts_is_refused(texts: Any, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        _encode(cast("Sequence[str]", texts))
    assert str(caught.value) == message


def test_a_tensor_must_be_an_array() -> None:
    with Client() as client, pytest.raises(InvalidRequest, match=r"^input 'x' is list; expected a numpy array$"):
        client.infer_tensors("model", {"x": [1.0]})  # type: ignore[dict-item]


# Port 1 refuses connections, so a client that sends all the same raises another error.
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("dtype", ["<U4", "complex128", "datetime64[s]"])
def test_an_array_that_triton_has_no_datatype_for_is_refused(protocol: str, dtype: str) -> None:
    with Client(f"{protocol}://127.0.0.1:1", timeout_s=1) as client, pytest.raises(InvalidRequest) as caught:
        client.infer_tensors("model", {"x": np.zeros(1, dtype)})
    assert "input 'x'" in str(caught.value)
    assert dtype in str(caught.value)


def test_texts_are_sent_in_batches_that_the_service_takes() -> None:
    transport = Answers(max_batch_size=2)
    predictions = client_of(transport).infer("spam", ["a", "b", "c", "d", "e"])
    assert [texts for texts, _, _ in transport.requests] == [[b"a", b"b"], [b"c", b"d"], [b"e"]]
    assert predictions == [Prediction((label,), (1.0,)) for label in "abcde"]


def test_a_service_without_batching_gets_one_text_at_a_time() -> None:
    transport = Answers(max_batch_size=0)
    client_of(transport).infer("spam", ["a", "b"])
    assert [texts for texts, _, _ in transport.requests] == [[b"a"], [b"b"]]


def test_no_texts_send_nothing() -> None:
    transport = Answers(max_batch_size=2)
    assert client_of(transport).infer("spam", []) == []
    assert transport.requests == []


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, {}),
        ({"top_k": 2}, {"top_k": 2}),
        ({"threshold": 0.0}, {"threshold": 0.0}),
        ({"top_k": 1, "threshold": 0.5}, {"top_k": 1, "threshold": 0.5}),
    ],
)
def test_only_given_parameters_are_sent(given: dict[str, Any], sent: dict[str, Any]) -> None:
    transport = Answers(max_batch_size=2)
    client_of(transport).infer("spam", ["a"], **given)
    assert transport.requests == [([b"a"], sent, 3)]


def test_a_call_may_have_a_timeout_of_its_own() -> None:
    transport = Answers(max_batch_size=2)
    client_of(transport).infer("spam", ["a"], timeout_s=0.5)
    assert transport.requests == [([b"a"], {}, 0.5)]
