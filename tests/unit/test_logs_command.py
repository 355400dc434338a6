"""`trident logs`: which log is shown, how, and for how long."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from server_states import server
from trident.cli import app
from trident.errors import TridentError
from trident.server.state import log_of
from typer.testing import CliRunner, Result

LINE = "E0302 11:59:58.024500 4711 server.cc:241] \"failed to load 'spam'\""


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIDENT_STATE_DIR", str(tmp_path))


def log(port: int, text: str, *, runs: bool = True) -> None:
    """Write the log of a server on a port, with a state file if it still runs."""
    log_of(port).parent.mkdir(parents=True)
    log_of(port).write_text(text, encoding="utf-8")
    if runs:
        server(port, log=str(log_of(port))).write()


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, ["logs", *arguments], env=environment)


def messages(result: Result) -> list[str]:
    assert result.exit_code == 0, result.exception
    return [json.loads(line)["message"] for line in result.stdout.splitlines()]


def test_json_has_an_object_a_line() -> None:
    log(18000, f"{LINE}\nschön\nno end")
    first, second, third = (json.loads(line) for line in run("--json").stdout.splitlines())
    assert (first["level"], first["message"], first["pid"]) == ("ERROR", "failed to load 'spam'", 4711)
    assert first["time"][4:] == "-03-02T11:59:58.024500+00:00"
    assert (second["time"], second["level"], second["message"], third["message"]) == (None, None, "schön", "no end")


def test_json_has_the_last_lines() -> None:
    log(18000, "".join(f"{number}\n" for number in range(300)))
    assert messages(run("--json", "-n", "2")) == ["298", "299"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:18010", "grpc://localhost:18011"])
def test_a_url_picks_the_server(url: str) -> None:
    for port in (18000, 18010):
        log(port, f"log of {port}\n")
    assert messages(run("--json", "--url", url)) == ["log of 18010"]
    assert messages(run("--json", TRIDENT_URL=url)) == ["log of 18010"]
    assert messages(run("--json", "--http-port", "18000", TRIDENT_URL=url)) == ["log of 18000"]


def test_of_several_one_must_be_named() -> None:
    for port in (18000, 18010):
        log(port, "")
    error = run().exception
    assert isinstance(error, TridentError)
    assert str(error).endswith("http://127.0.0.1:18000, http://127.0.0.1:18010; say which: trident logs --url URL")


def test_a_url_finds_the_log_of_a_server_that_has_ended() -> None:
    log(18000, "it runs\n")
    log(18010, "it ran\n", runs=False)
    assert messages(run("--json", "--url", "http://127.0.0.1:18010")) == ["it ran"]


@pytest.mark.parametrize("url", ["http://elsewhere:18000", "http://127.0.0.1:9", "nonsense"])
def test_a_url_of_no_server_of_this_machine_is_refused(url: str) -> None:
    log(18000, "")
    error = run("--url", url).exception
    assert isinstance(error, TridentError)
    assert str(error) == (
        f"{url} is no server of yours on this machine, and a log is a file there; you run http://127.0.0.1:18000, and "
        "logs are kept of those on the HTTP ports [18000]"
    )


def test_following_ends_when_its_time_is_over() -> None:
    log(18000, "first\n")
    assert messages(run("--json", "--follow", "--timeout", "0.3")) == ["first"]


def follow(monkeypatch: pytest.MonkeyPatch, *steps: Callable[[], object]) -> list[str]:
    """Messages of a log that is followed, with a step between one look and the next; then comes Ctrl-C."""
    left = list(steps)

    def sleep(seconds: float) -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop(0)()

    monkeypatch.setattr("trident.logs_command.time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
    return messages(run("--json", "--follow"))


def append(text: str) -> None:
    with log_of(18000).open("a") as file:
        file.write(text)


def rotate() -> None:
    log_of(18000).rename(log_of(18000).with_suffix(".log.1"))


def test_following_loses_no_line_when_the_log_rotates(monkeypatch: pytest.MonkeyPatch) -> None:
    log(18000, "first\n")

    def step() -> None:
        append("last\n")
        rotate()
        append("first of a new file that is longer than the old one\n")

    expected = ["first", "last", "first of a new file that is longer than the old one", "more"]
    assert follow(monkeypatch, step, lambda: append("more\n")) == expected


def test_following_waits_for_a_log_that_is_just_being_rotated(monkeypatch: pytest.MonkeyPatch) -> None:
    log(18000, "old\n")
    assert follow(monkeypatch, rotate, lambda: append("new\n")) == ["old", "new"]


def test_following_goes_on_with_a_log_that_is_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    log(18000, "of the server before\n")
    expected = ["of the server before", "anew", "more"]
    assert follow(monkeypatch, lambda: log_of(18000).write_text("anew\n"), lambda: append("more\n")) == expected


def test_a_time_without_following_is_wrong_usage() -> None:
    log(18000, "")
    result = run("--timeout", "1")
    assert result.exit_code == 2
    assert "--follow" in result.output
