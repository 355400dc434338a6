"""The embedded server: closed to others, clear when it cannot start, and gone when it is stopped."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from conftest import TRIDENT, RunTrident
from leftovers import is_free, leftovers, processes
from trident.errors import ServerStartError
from trident.server.health import read_health
from trident.server.lifecycle import HOST, Server
from trident.server.state import SHARED_MEMORY, ServerState, running_servers
from trident_client import Client, ClientError, Forbidden, Retry
from tritonclient.utils import InferenceServerException

MODELS = Path(__file__).parent.parent / "models"
FREE_PORTS = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0")
GONE_WITHIN_S = 20
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F"}  # 127.0.0.1 as /proc/net/tcp and tcp6 write it


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A repository with one small model, at a path with a blank in it."""
    folder = tmp_path / "model repository"
    shutil.copytree(MODELS / "identity", folder / "identity")
    return folder


@contextmanager
def _serving(repository: Path) -> Iterator["tuple[subprocess.Popen[str], ServerState]"]:
    """`trident serve` as a user starts it; killed at the end if it still runs."""
    process = subprocess.Popen(
        [TRIDENT, "serve", "--model-repository", str(repository), *FREE_PORTS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        while (line := process.stdout.readline()) and not line.startswith("log "):
            pass
        (state,) = [state for state in running_servers() if state.model_repository == str(repository.resolve())]
        yield process, state
    finally:
        process.kill()
        process.communicate()


def _without_progress(errors: str) -> list[str]:
    """The lines on stderr but those that say what begins (where a terminal would show a bar)."""
    return [line for line in errors.splitlines() if not line.endswith(" ...")]


def _rename(model: Path) -> None:
    config = model / "config.pbtxt"
    config.write_text(config.read_text().replace('name: "identity"', f'name: "{model.name}"'))


def _left(state: ServerState, staying: Path | None = None) -> list[str]:
    """What is left of a server but what stays, after the time it may take to go."""
    deadline = time.monotonic() + GONE_WITHIN_S
    while True:
        left = [
            *processes(state.shm_prefix),
            *(str(port) for port in (state.http_port, state.grpc_port, state.metrics_port) if not is_free(port)),
            *(str(region) for region in SHARED_MEMORY.glob(f"{state.shm_prefix}*")),
            *(path for path in (str(state.path), state.links) if path and Path(path).exists()),
        ]
        left = [line for line in left if line != str(staying)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.1)


def test_it_listens_on_loopback_only(server: Server) -> None:
    listening = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            address, _, state = line.split()[1:4]
            if state == "0A":  # TCP_LISTEN
                host, port = address.split(":")
                listening.add((host, int(port, 16)))
    mine = {host for host, port in listening if port in server.ports.values()}
    assert mine <= LOOPBACK


def test_admin_apis_need_the_key(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRIDENT_STATE_DIR", str(tmp_path))  # where the client finds no key by itself
    for url, protocol in ((server.http_url, tritonclient.http), (server.grpc_url, tritonclient.grpc)):
        with Client(url) as client:
            for call in (
                client.get_model_repository_index,
                lambda: client.load_model("identity"),
                lambda: client.unload_model("identity"),
            ):
                with pytest.raises(Forbidden):
                    call()
        with protocol.InferenceServerClient(url.partition("//")[2]) as raw:
            for method in ("get_trace_settings", "get_log_settings", "get_system_shared_memory_status"):
                with pytest.raises(InferenceServerException, match="restricted"):
                    getattr(raw, method)()


def test_admin_apis_open_with_the_key(server: Server) -> None:
    for url in (server.http_url, server.grpc_url):
        for key in (server.admin_key, None):  # without one it is found in the server's state file
            with Client(url, admin_key=key) as client:
                index = client.get_model_repository_index()
            assert {"name": "tiny", "version": "1", "state": "READY"} in index


def test_the_state_file_is_for_its_owner_only(server: Server) -> None:
    (state,) = [state for state in running_servers() if state.http_port == server.ports["http"]]
    assert state.admin_key == server.admin_key
    assert state.path.stat().st_mode & 0o777 == 0o600


def test_the_log_holds_no_request_contents(server: Server, client: Client) -> None:
    secret = "secret-7f3a91"
    client.infer("tiny", [secret])
    client.infer_tensors("identity", {"x": np.array([[secret.encode()]], dtype=object)})
    assert secret not in server.log.read_text(encoding="utf-8")


def test_a_context_manager_leaves_nothing_behind(small: Path) -> None:
    with Server(small, http_port=0, grpc_port=0, metrics_port=0) as server, Client(server.http_url) as client:
        answer = client.infer_tensors("identity", {"x": np.array([[b"a"]], dtype=object)})
        assert answer["y"].tolist() == [[b"a"]]
    assert leftovers(server) == []


def test_progress_is_told_while_models_load(small: Path) -> None:
    told: list[tuple[int, int]] = []

    def note(done: int, total: int) -> None:
        told.append((done, total))

    with Server(small, http_port=0, grpc_port=0, metrics_port=0, on_progress=note):
        pass
    assert (told[0], told[-1]) == ((0, 1), (1, 1))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_in_order(small: Path, number: signal.Signals) -> None:
    with _serving(small) as (process, state):
        process.send_signal(number)
        _, errors = process.communicate(timeout=GONE_WITHIN_S)
        assert process.returncode == 0, errors
        assert "stopping" in errors
        assert _left(state) == []


def test_a_stop_waits_for_requests_in_flight_but_not_for_those_that_a_process_died_with(tmp_path: Path) -> None:
    shutil.copytree(MODELS / "slow", tmp_path / "slow")
    with _serving(tmp_path) as (process, state), ThreadPoolExecutor() as pool:
        client = Client(f"grpc://{HOST}:{state.grpc_port}", timeout_s=GONE_WITHIN_S, retry=None)
        ask = partial(client.infer_tensors, "slow", {"x": np.array([[b"late"]], dtype=object)})
        lost = pool.submit(ask)
        time.sleep(0.5)  # the model takes 2 s, so the request is in flight now
        (line,) = [line for line in processes(state.shm_prefix) if "/slow/1/" in line]
        os.kill(int(line.split(":")[0]), signal.SIGKILL)
        deadline = time.monotonic() + GONE_WITHIN_S
        while not read_health(state.health_port, 10)["restarts"]:
            assert time.monotonic() < deadline, "it is not mended"
            time.sleep(0.1)
        late = pool.submit(ask)
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        assert late.result()["y"].tolist() == [[b"late"]]
        with pytest.raises(ClientError):
            lost.result()
        assert _left(state) == [], "before the 30 s of --exit-timeout"


def test_serve_tells_a_program_what_it_needs_and_stop_ends_it(small: Path, trident: RunTrident) -> None:
    line = [TRIDENT, "serve", "--model-repository", str(small), "--json", *FREE_PORTS]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            said = json.loads(process.stdout.readline())
            (state,) = [state for state in running_servers() if state.model_repository == str(small.resolve())]
            assert {key: said[key] for key in ("http_port", "grpc_port", "metrics_port", "health_port")} == {
                key: value for key, value in asdict(state).items() if key.endswith("_port")
            }
            assert (said["http_url"], said["grpc_url"]) == (state.http_url, state.grpc_url)
            assert (said["pid"], said["log"]) == (state.supervisor_pid, state.log)
            assert said["model_repository"] == state.model_repository
            assert [(model["name"], model["state"]) for model in said["models"]] == [("identity", "READY")]
            refused = trident("stop", env=os.environ | {"TRIDENT_URL": "http://elsewhere:8000"})
            assert (refused.returncode, "is no server that you run on this machine" in refused.stderr) == (1, True)
            result = trident("stop", "--url", said["grpc_url"])
            assert (result.returncode, result.stdout) == (0, f"stopped the server on port {state.http_port}\n")
            assert process.wait(GONE_WITHIN_S) == 0
            assert process.stdout.read() == ""
        finally:
            process.kill()
    assert _left(state) == []


def test_trident_stop_without_a_server_says_so(trident: RunTrident) -> None:
    result = trident("stop", "--http-port", "1")
    assert result.returncode == 1
    assert "no server on HTTP port 1" in result.stderr


def test_nothing_is_left_when_the_parent_is_killed(small: Path) -> None:
    with _serving(small) as (process, state):
        process.kill()
        process.wait()
        assert _left(state) == []


def test_nothing_but_the_state_file_is_left_when_the_supervisor_is_killed(small: Path) -> None:
    with _serving(small) as (process, state):
        os.kill(state.supervisor_pid, signal.SIGKILL)
        process.communicate(timeout=GONE_WITHIN_S)
        assert process.returncode == 1
        assert _left(state, staying=state.path) == []
        assert state.path.exists()
        assert state not in running_servers()  # which cleans up
        assert not state.path.exists()


def test_a_tritonserver_that_dies_is_told_and_started_again(small: Path) -> None:
    with _serving(small) as (process, state):
        (line,) = [line for line in processes(state.shm_prefix) if "bin/tritonserver --" in line]
        os.kill(int(line.split(":")[0]), signal.SIGKILL)
        assert process.stderr is not None
        while "tritonserver was ended by SIGKILL; it is started again" not in process.stderr.readline():
            assert process.poll() is None
        with Client(f"http://{HOST}:{state.http_port}", retry=Retry(attempts=1000), timeout_s=60) as client:
            assert client.is_model_ready("identity")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=GONE_WITHIN_S)
        assert process.returncode == 0
        assert _left(state) == []


def test_stopping_one_server_leaves_another_alone(small: Path, server: Server, client: Client) -> None:
    with Server(small, http_port=0, grpc_port=0, metrics_port=0):
        pass
    assert client.infer("tiny", ["hello"])[0].label == "ham"


def test_a_busy_port_is_named(small: Path, trident: RunTrident) -> None:
    with socket.socket() as holder:
        holder.bind((HOST, 0))
        holder.listen()
        port = holder.getsockname()[1]
        result = trident(
            "serve", "--model-repository", small, "--http-port", port, "--grpc-port", 0, "--metrics-port", 0
        )
    assert result.returncode == 1
    assert f"error: http port {port} is taken" in result.stderr
    assert len(_without_progress(result.stderr)) == 1


def test_a_repository_that_does_not_exist_is_named(tmp_path: Path, trident: RunTrident) -> None:
    result = trident("serve", "--model-repository", tmp_path / "nowhere", *FREE_PORTS)
    assert result.returncode == 1
    assert f"no model repository {tmp_path / 'nowhere'}" in result.stderr


def test_an_empty_repository_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServerStartError, match="no models in"):
        Server(tmp_path).start()


def test_an_option_that_is_no_program_is_named(small: Path, trident: RunTrident) -> None:
    result = trident("serve", "--model-repository", small, "--tritonserver", small, *FREE_PORTS)
    assert result.returncode == 1
    assert f"{small} is no program" in result.stderr


BROKEN = {
    "config": ("config.pbtxt", "name: nonsense {", "failed to read text proto"),
    "code": ("1/model.py", "import nothing_of_this_name", "No module named 'nothing_of_this_name'"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_model_that_does_not_load_is_one_clear_line(small: Path, trident: RunTrident, fault: str) -> None:
    before = running_servers()
    file, content, cause = BROKEN[fault]
    shutil.copytree(MODELS / "identity", small / "broken")
    _rename(small / "broken")
    (small / "broken" / file).write_text(content)
    result = trident("serve", "--model-repository", small, *FREE_PORTS)
    assert result.returncode == 1
    (line,) = _without_progress(result.stderr)
    assert line.startswith("error: model 'broken': ")
    assert cause in line
    assert "--keep-going" in line
    assert running_servers() == before


def test_keep_going_serves_the_models_that_load(small: Path) -> None:
    shutil.copytree(MODELS / "identity", small / "broken")
    _rename(small / "broken")
    (small / "broken" / "1" / "model.py").write_text("import nothing_of_this_name")
    with Server(small, http_port=0, grpc_port=0, metrics_port=0, keep_going=True) as server:
        states = {row.name: row.state for row in server.model_status()}
        assert states == {"broken": "UNAVAILABLE", "identity": "READY"}
        with Client(server.http_url) as client:
            assert client.is_model_ready("identity")


def test_a_truncated_saved_model_is_one_clear_line(repository: Path, tmp_path: Path, trident: RunTrident) -> None:
    for fault, file in (("pb", "saved_model.pb"), ("variables", "variables/variables.data-00000-of-00001")):
        folder = tmp_path / fault
        shutil.copytree(repository / "ragged", folder / "ragged")
        path = folder / "ragged" / "1" / "model.savedmodel" / file
        path.write_bytes(path.read_bytes()[:40])
        result = trident("serve", "--model-repository", folder, *FREE_PORTS)
        assert result.returncode == 1
        (line,) = _without_progress(result.stderr)
        assert "model 'ragged': " in line
        assert ("or a truncated one" if fault == "pb" else "cannot load the SavedModel") in line


def test_a_config_that_disagrees_with_the_signature_says_where(
    repository: Path, tmp_path: Path, trident: RunTrident
) -> None:
    shutil.copytree(repository / "two_outputs", tmp_path / "two_outputs")
    path = tmp_path / "two_outputs" / "config.pbtxt"
    path.write_text(path.read_text().replace('name: "bad" data_type: TYPE_FP32', 'name: "worse" data_type: TYPE_FP32'))
    result = trident("serve", "--model-repository", tmp_path, *FREE_PORTS)
    assert result.returncode == 1
    assert "output 'worse': expected one of ['bad', 'good'], as the signature has them" in result.stderr
