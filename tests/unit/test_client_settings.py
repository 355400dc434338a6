"""What a client is made with is checked at once, and what is secret is never shown."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trident_client import AsyncClient, Client, ConnectError, InvalidRequest, Prediction, Unavailable
from trident_client.settings import Settings
from trident_client.testing import FakeServer

SECRET = "key-5f1c"
clients = pytest.mark.parametrize("kind", [Client, AsyncClient])
Kind = Callable[..., Any]


@clients
@pytest.mark.parametrize(
    "url",
    [
        *("", "127.0.0.1:8000", "localhost:8000", "ftp://localhost:8000", "http://", "grpc://", "https://host"),
        *("http://localhost:8000/v2", "http://localhost:8000?x", "http://localhost:port", "grpc://localhost:port"),
        *("http://localhost:99999", "http://:8000", "http://[::1", "http://localhost:0"),
    ],
)
def test_a_url_of_another_form_is_refused(kind: Kind, url: str) -> None:
    with pytest.raises(ConnectError) as caught:
        kind(url)
    hint = "expected http://HOST:PORT or grpc://HOST:PORT, or https:// or grpcs:// for TLS"
    assert str(caught.value) == f"url is '{url}'; {hint}"


@clients
def test_a_password_in_the_url_is_refused_and_not_repeated(kind: Kind) -> None:
    with pytest.raises(ConnectError, match="holds a user; give headers=") as caught:
        kind(f"http://me:{SECRET}@localhost:8000")
    assert SECRET not in str(caught.value)


@clients
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"concurrency": 0}, "concurrency is 0; expected requests at once, 1 to 1024"),
        ({"concurrency": True}, "concurrency is True"),
        ({"concurrency": "8"}, "concurrency is '8'"),
        ({"retry": 5}, "retry is 5; expected a Retry or None"),
        ({"admin_key": 5}, "admin_key is int; expected a string"),
        ({"headers": ["X-Key"]}, "headers is list; expected {name: value}"),
        ({"headers": {"X-Key": 1}}, "header 'X-Key' is int; expected strings"),
        ({"headers": {"Content-Length": "1"}}, "header 'Content-Length' belongs to the protocol"),
        ({"headers": {"host": "a"}}, "header 'host' belongs to the protocol"),
        ({"compression": "br"}, "compression is 'br'; expected 'gzip', 'deflate' or None"),
        ({"headers": {"X-Key": "a\r\nb"}}, "header 'X-Key' cannot be sent"),
        ({"headers": {"X Key": "a"}}, "header 'X Key' cannot be sent"),
        ({"headers": {"X-Key": "schön"}}, "header 'X-Key' cannot be sent"),
        ({"ca_file": __file__}, "ca_file is given, and the url is 'http://127.0.0.1:8000'; expected https://"),
        ({"url": "https://h:1", "ca_file": "nowhere.pem"}, "ca_file is 'nowhere.pem', which is no file"),
        ({"url": "https://h:1", "ca_file": __file__}, "cannot be used: .*; expected PEM files"),
        ({"url": "grpcs://h:1", "key_file": __file__}, "of certificate_file and key_file only one is given"),
    ],
)
def test_a_wrong_argument_is_refused(kind: Kind, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        kind(**options)


@clients
def test_headers_and_keys_are_never_shown(kind: Kind) -> None:
    headers = {"Authorization": SECRET}
    client = kind("http://127.0.0.1:1", headers=headers, admin_key=SECRET, retry=None)
    assert repr(client) == f"{kind.__name__}('http://127.0.0.1:1')"
    assert SECRET not in repr(Settings("http://127.0.0.1:1", headers=headers, admin_key=SECRET))
    with pytest.raises(InvalidRequest) as caught:
        kind(headers={"Authorization": f"{SECRET}\n"})
    assert SECRET not in str(caught.value)


def test_headers_go_with_every_request() -> None:
    with FakeServer() as server, Client(server.url, headers={"Authorization": SECRET}) as client:
        server.add("spam", Prediction(("ham",), (1.0,)))
        client.infer("spam", ["a"])
        assert server.requests[0].headers["authorization"] == SECRET


async def infer_async(url: str, text: str, **options: Any) -> list[Prediction]:
    async with AsyncClient(url, **options) as client:
        return await client.infer("spam", [text])


def infer(url: str, text: str, **options: Any) -> list[Prediction]:
    with Client(url, **options) as client:
        return client.infer("spam", [text])


@pytest.mark.parametrize("ask", [infer, lambda *given, **options: asyncio.run(infer_async(*given, **options))])
@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_requests_are_compressed_if_told(ask: Any, compression: str) -> None:
    with FakeServer() as server:
        server.add("spam", lambda text: Prediction((text[:1],), (1.0,)))
        assert ask(server.url, "x" * 100_000, compression=compression)[0].label == "x"
        headers = server.requests[0].headers
        assert headers["content-encoding"] == headers["accept-encoding"] == compression
        assert int(headers["content-length"]) < 1000


# -- the admin key ---------------------------------------------------------------------------------------------------


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state of a server on the ports 8000 and 8001, beside a file that is none."""
    monkeypatch.setenv("TRIDENT_STATE_DIR", str(tmp_path))
    monkeypatch.delenv("TRIDENT_ADMIN_KEY", raising=False)
    for port, text in ((1, "no JSON"), (8000, json.dumps({"http_port": 8000, "grpc_port": 8001, "admin_key": SECRET}))):
        folder = tmp_path / "servers" / str(port)
        folder.mkdir(parents=True)
        (folder / "state.json").write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://127.0.0.1:8000", SECRET),
        ("http://localhost:8000", SECRET),
        ("grpc://[::1]:8001", SECRET),
        ("grpc://127.0.0.1:8000", None),
        ("http://127.0.0.1:8002", None),
        ("http://elsewhere:8000", None),
    ],
)
def test_the_key_of_a_server_of_this_machine_is_found(state: Path, url: str, found: str | None) -> None:
    assert Settings(url).find_admin_key() == found


def test_a_key_that_is_given_comes_before_the_environments_and_that_before_the_files(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "http://127.0.0.1:8000"
    monkeypatch.setenv("TRIDENT_ADMIN_KEY", "of the environment")
    assert Settings(url).find_admin_key() == "of the environment"
    assert Settings(url, admin_key="given").find_admin_key() == "given"


def test_a_key_that_would_make_a_header_of_its_own_is_refused() -> None:
    with Client("http://127.0.0.1:1", admin_key=f"{SECRET}\r\nX: y") as client:
        with pytest.raises(InvalidRequest, match="the admin key cannot be sent in a header") as caught:
            client.get_model_repository_index()
        assert SECRET not in str(caught.value)


def test_only_restricted_calls_carry_the_key() -> None:
    with FakeServer() as server, Client(server.url, admin_key=SECRET, retry=None) as client:
        server.add("spam", Prediction(("ham",), (1.0,)))
        server.be_unavailable()
        with pytest.raises(Unavailable):
            client.infer("spam", ["a"])
        assert SECRET not in server.requests[0].headers.values()
