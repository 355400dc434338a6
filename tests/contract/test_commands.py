"""`trident models`, `status`, `logs`: what an operator sees and does, on a server of their own."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TRIDENT, RunTrident
from leftovers import leftovers
from trident.models_command import _short
from trident.server.lifecycle import Server
from trident_client import Client

BROKEN = 'backend: "python"\nmax_batch_size: 0\n'


@pytest.fixture(scope="module")
def own(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of `tiny`, `identity` and a model that does not load."""
    folder = tmp_path_factory.mktemp("own") / "model_repository"
    for model in ("tiny", "tiny_preprocess", "tiny_model", "tiny_postprocess", "identity"):
        shutil.copytree(repository / model, folder / model)
    (folder / "broken" / "1").mkdir(parents=True)
    (folder / "broken" / "config.pbtxt").write_text(BROKEN)
    (folder / "broken" / "1" / "model.py").write_text("raise RuntimeError('no such luck')\n")
    with Server(folder, http_port=0, grpc_port=0, metrics_port=0, keep_going=True, exit_timeout_s=2) as running:
        yield running
    assert leftovers(running) == []


@pytest.fixture(params=["http", "grpc"])
def url(request: pytest.FixtureRequest, own: Server) -> str:
    """The server over each protocol."""
    return own.http_url if request.param == "http" else own.grpc_url


def rows(trident: RunTrident, url: str) -> dict[str, dict[str, Any]]:
    result = trident("models", "--json", "--url", url)
    assert result.returncode == 0, result.stderr
    return {row["name"]: row for row in json.loads(result.stdout)}


def test_models_lists_what_was_done(trident: RunTrident, url: str) -> None:
    before = rows(trident, url)
    with Client(url) as client:
        client.infer("tiny", ["hello"] * 3)
    after = rows(trident, url)
    assert after["tiny"]["requests"] == before["tiny"]["requests"] + 1
    assert [after[name]["backend"] for name in ("tiny", "tiny_model", "identity")] == [
        "ensemble",
        "tensorflow",
        "python",
    ]
    assert after["tiny"]["queue_ms"] is None
    assert 0 <= after["tiny_model"]["queue_ms"] < after["tiny"]["latency_ms"]
    assert 1 <= after["tiny_model"]["batch_size"] <= 3
    assert after["broken"]["state"] == "UNAVAILABLE"
    assert "no such luck" in after["broken"]["reason"]


def test_the_table_fits_into_eighty_columns_and_says_what_is_wrong(trident: RunTrident, url: str) -> None:
    result = trident("models", "--url", url, env=os.environ | {"COLUMNS": "80"})
    lines = result.stdout.splitlines()
    (table_line,) = (line for line in lines if line.startswith("tiny_postprocess"))
    assert len(table_line.rstrip()) <= 80
    assert re.search(r"READY +python +\d", table_line)
    assert any(line.startswith("broken: ") and "no such luck" in line for line in lines)


@pytest.mark.parametrize(
    ("columns", "headings"), [(30, "model ver state"), (56, "model ver state req fail ms"), (80, "queue rows")]
)
def test_the_table_has_what_the_terminal_has_room_for(
    trident: RunTrident, url: str, columns: int, headings: str
) -> None:
    result = trident("models", "--url", url, env=os.environ | {"COLUMNS": str(columns)})
    head = next(line for line in result.stdout.splitlines() if line.strip())
    assert " ".join(head.split()).endswith(headings)
    assert "…" not in result.stdout.partition("broken: ")[0]
    assert re.search(r"^tiny_postprocess +1 +READY", result.stdout, re.MULTILINE), "names are whole"


def test_numbers_take_six_characters() -> None:
    values = (None, 0, 0.123, 99.99, 100.4, 9999.0, 12_345, 99_999, 123_456, 999_999, 1_234_567, 98_765_432_100)
    shown = ("", "0", "0.12", "99.99", "100", "9,999", "12.3k", "100.0k", "123k", "1000k", "1235k", "98.8G")
    assert tuple(map(_short, values)) == shown


def test_watch_without_a_terminal_prints_table_after_table(own: Server) -> None:
    command = [TRIDENT, "models", "--watch", "--interval", "0.2", "--url", own.http_url]
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert watching.stdout is not None
    heads = 0
    while heads < 3:
        heads += "req/s" in watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    watching.communicate(timeout=30)
    assert watching.returncode == 0


def test_watch_shows_rates_until_it_is_interrupted(own: Server) -> None:
    command = [TRIDENT, "models", "--watch", "--json", "--interval", "0.3", "--url", own.http_url]
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert watching.stdout is not None
    first = {row["name"]: row for row in json.loads(watching.stdout.readline())}
    assert first["identity"]["requests_per_s"] is None
    rates = []
    with Client(own.http_url) as client:
        for _ in range(3):
            client.infer_tensors("identity", {"x": np.array([[b"a"]], dtype=object)})
            looked = {row["name"]: row for row in json.loads(watching.stdout.readline())}
            rates.append(looked["identity"]["requests_per_s"])
    watching.send_signal(signal.SIGINT)
    watching.communicate(timeout=30)
    assert watching.returncode == 0
    assert max(rates) > 0


def test_a_service_is_unloaded_with_its_models_and_loaded_again(trident: RunTrident, url: str) -> None:
    result = trident("models", "unload", "tiny", "--url", url)
    assert (result.returncode, result.stdout) == (0, "unloaded tiny\n"), result.stderr
    states = {name: row["state"] for name, row in rows(trident, url).items()}
    assert {states[name] for name in ("tiny", "tiny_preprocess", "tiny_model", "tiny_postprocess")} == {"UNAVAILABLE"}
    assert states["identity"] == "READY"
    result = trident("models", "load", "tiny", "--url", url, "--json")
    assert json.loads(result.stdout) == {"loaded": "tiny"}
    with Client(url) as client:
        assert client.infer("tiny", ["hello"])[0].label


@pytest.mark.parametrize("order", ["load", "unload"])
def test_a_model_that_nobody_knows_is_named(trident: RunTrident, url: str, order: str) -> None:
    result = trident("models", order, "nobody", "--url", url)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "'nobody'" in line


def test_a_model_that_is_not_built_is_completed_by_a_server_that_found_it_at_its_start(
    repository: Path, tmp_path: Path, trident: RunTrident
) -> None:
    folder = tmp_path / "model_repository"
    for model in ("tiny", "tiny_preprocess", "tiny_model", "tiny_postprocess"):
        shutil.copytree(repository / model, folder / model)
    with Server(folder, http_port=0, grpc_port=0, metrics_port=0) as built_only, Client(built_only.http_url) as client:
        assert client.infer("tiny", ["hello"])[0].label
        shutil.copytree(repository / "bare", folder / "bare")
        result = trident("models", "load", "bare", "--url", built_only.http_url)
        assert result.returncode == 1
        (line,) = result.stderr.splitlines()
        assert "config.pbtxt of 'bare' is missing or leaves something out" in line
        assert line.endswith("start it again")
        assert client.is_model_ready("tiny")
    with Server(folder, models=["tiny"], http_port=0, grpc_port=0, metrics_port=0) as started_again:
        result = trident("models", "load", "bare", "--url", started_again.http_url)
        assert (result.returncode, result.stdout) == (0, "loaded bare\n"), result.stderr


def test_without_the_key_the_loaded_models_are_listed_and_nothing_is_changed(
    trident: RunTrident, url: str, tmp_path: Path
) -> None:
    stranger = os.environ | {"TRIDENT_STATE_DIR": str(tmp_path)}
    result = trident("models", "--json", "--url", url, env=stranger)
    assert "identity" in {row["name"] for row in json.loads(result.stdout)}
    result = trident("models", "load", "identity", "--url", url, env=stranger)
    assert result.returncode == 1
    assert "TRIDENT_ADMIN_KEY" in result.stderr
    key = {"TRIDENT_ADMIN_KEY": json.loads(_state_file(url).read_text())["admin_key"]}
    assert trident("models", "load", "identity", "--url", url, env=stranger | key).returncode == 0


def _state_file(url: str) -> Path:
    port = int(url.rpartition(":")[2])
    found = Path(os.environ["TRIDENT_STATE_DIR"]).glob("servers/*/state.json")
    return next(path for path in found if port in json.loads(path.read_text()).values())


def test_a_service_is_removed_from_the_repository_and_from_its_server(
    trident: RunTrident, own: Server, repository: Path
) -> None:
    folder = own.model_repository
    for model in ("batching", "batching_preprocess", "batching_model", "batching_postprocess"):
        shutil.copytree(repository / model, folder / model)
    with Client(own.http_url) as client:
        client.load_model("batching", timeout_s=120)
        asked = trident("models", "remove", "batching", "--model-repository", folder, input="n\n")
        assert asked.returncode == 1
        assert client.is_model_ready("batching")
        result = trident("models", "remove", "batching", "--model-repository", folder, "--yes", "--json")
        assert json.loads(result.stdout)["removed"][0] == "batching", result.stderr
        assert not client.is_model_ready("batching_model")
    assert not list(folder.glob("*batching*"))
    foreign = trident("models", "remove", "identity", "--model-repository", folder, "--yes")
    assert "is a model that no service 'identity' built" in foreign.stderr
    assert (folder / "identity").is_dir()
    missing = trident("models", "remove", "batching", "--model-repository", folder, "--yes")
    assert (missing.returncode, "no service 'batching' in" in missing.stderr) == (1, True)


# -- status and logs ------------------------------------------------------------------------------------------------


def test_status_says_what_is_not_ready_and_its_exit_status_too(trident: RunTrident, own: Server, url: str) -> None:
    result = trident("status", "--url", url, "--json")
    (found,) = json.loads(result.stdout)
    assert (result.returncode, found["live"], found["not_ready"]) == (1, True, ["broken"])
    (local,) = (entry for entry in json.loads(trident("status", "--json").stdout) if entry["url"] == own.http_url)
    assert local["model_repository"] == str(own.model_repository.resolve())
    assert local["log"] == str(own.log)
    text = trident("status", "--url", url)
    assert text.stdout.startswith(f"{url}  live, not ready, ")
    assert "no such luck" in text.stdout


def test_status_of_a_server_that_is_ready_or_not_there(trident: RunTrident, server: Server, tmp_path: Path) -> None:
    ready = trident("status", "--url", server.grpc_url)
    assert (ready.returncode, ready.stdout.split(",")[0]) == (0, f"{server.grpc_url}  ready")
    gone = trident("status", "--url", "http://127.0.0.1:1")
    assert (gone.returncode, gone.stdout.split("\n")[0]) == (1, "http://127.0.0.1:1  no answer")
    none = trident("status", env=os.environ | {"TRIDENT_STATE_DIR": str(tmp_path)})
    assert (none.returncode, "start one with `trident serve`" in none.stdout) == (1, True)


def test_logs_shows_the_last_lines_and_follows(trident: RunTrident, own: Server) -> None:
    port = own.ports["http"]
    lines = own.log.read_text().splitlines()
    assert trident("logs", "--http-port", port, "-n", 3).stdout.splitlines() == lines[-3:]
    assert trident("logs", "--http-port", port, "-n", 10**6).stdout.splitlines() == lines
    assert trident("logs", "--http-port", port, "-n", 0).stdout == ""
    command = [TRIDENT, "logs", "--http-port", str(port), "-n", "1", "--follow"]
    following = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert following.stdout is not None
    assert following.stdout.readline()  # it has begun
    with Client(own.http_url) as client:
        client.unload_model("identity")
        while client.is_model_ready("identity"):
            time.sleep(0.05)
        client.load_model("identity")
    assert any("identity" in line for line in iter(following.stdout.readline, ""))
    following.send_signal(signal.SIGINT)
    following.communicate(timeout=30)
    assert following.returncode == 0


def test_a_log_that_begins_anew_is_followed(tmp_path: Path) -> None:
    log = tmp_path / "servers" / "1234" / "tritonserver.log"
    log.parent.mkdir(parents=True)
    log.write_text("first server\n")
    command = [TRIDENT, "logs", "--http-port", "1234", "--follow"]
    following = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TRIDENT_STATE_DIR": str(tmp_path)},
    )
    assert following.stdout is not None
    assert following.stdout.readline() == "first server\n"
    log.write_text("second\n")
    assert following.stdout.readline() == "second\n"
    following.send_signal(signal.SIGINT)
    following.communicate(timeout=30)
    assert following.returncode == 0


def test_logs_of_a_port_without_a_server_names_those_that_there_are(trident: RunTrident, own: Server) -> None:
    result = trident("logs", "--http-port", 1)
    assert result.returncode == 1
    assert str(own.ports["http"]) in result.stderr
