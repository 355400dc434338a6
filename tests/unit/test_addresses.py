"""Which server a command means."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import scoring_server
from server_states import server
from trident import addresses
from trident.addresses import address, own_server
from trident.cli import app
from trident.errors import TridentError
from typer.testing import CliRunner

DEFAULT = "http://127.0.0.1:8000"


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIDENT_STATE_DIR", str(tmp_path))


@pytest.fixture
def _free(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The default port, on which nothing listens: it is bound, so that nobody else takes it."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        monkeypatch.setattr(addresses, "PORT", holder.getsockname()[1])
        yield


def test_what_is_given_counts(capsys: pytest.CaptureFixture[str]) -> None:
    server(18000).write()
    assert address("grpc://elsewhere:8001") == "grpc://elsewhere:8001"
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("_free")
def test_without_a_server_of_ones_own_it_is_the_default() -> None:
    assert address(None) == DEFAULT


@pytest.mark.usefixtures("_free")
def test_the_only_server_of_ones_own_is_taken_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    server(18000).write()
    assert address(None) == "http://127.0.0.1:18000"
    line = f"nothing serves at {DEFAULT}; asking http://127.0.0.1:18000, the one server that you run\n"
    assert capsys.readouterr() == ("", line)


@pytest.mark.usefixtures("_free")
def test_of_several_one_must_be_named() -> None:
    for port in (18000, 18010):
        server(port).write()
    with pytest.raises(
        TridentError, match=r"several servers: http://127.0.0.1:18000, http://127.0.0.1:18010; say which"
    ):
        address(None)


@pytest.mark.usefixtures("_free")
def test_a_command_without_a_url_asks_that_server() -> None:
    with scoring_server.running() as running:
        server(running.server_port).write()
        result = CliRunner().invoke(app, ["infer", "spam", "hello", "--json"])
    assert json.loads(result.stdout)["text"] == "hello"
    assert result.stderr == (
        f"nothing serves at {DEFAULT}; asking http://127.0.0.1:{running.server_port}, the one server that you run\n"
    )


def test_a_server_on_the_default_port_is_taken_whoever_runs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server(18000).write()
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        monkeypatch.setattr(addresses, "PORT", stranger.getsockname()[1])
        assert address(None) == DEFAULT
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("_free")
def test_ones_own_server_on_the_default_port_goes_before_others() -> None:
    for port in (18000, addresses.PORT):
        server(port).write()
    assert address(None) == DEFAULT


@pytest.mark.parametrize("url", ["http://127.0.0.1:18000", "grpc://localhost:18001", "http://[::1]:18000"])
def test_a_url_leads_to_ones_own_server(url: str) -> None:
    for port in (18000, 18010):
        server(port).write()
    assert own_server(url).http_port == 18000


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://elsewhere:18000", "http://127.0.0.1:x", "nonsense"])
def test_a_url_that_leads_to_no_own_server_is_refused(url: str) -> None:
    server(18000).write()
    with pytest.raises(TridentError, match=f"{url} is no server that you run .*; you run http://127.0.0.1:18000$"):
        own_server(url)
