"""What dies or hangs is noticed, told and replaced: processes of models, and tritonserver itself."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, RunTrident
from leftovers import leftovers, pids
from patience import MODELS, PATIENT, WITHIN_S, ask, stub_of, until
from trident.model_table import ModelTable
from trident.server.health import read_health
from trident.server.lifecycle import Server
from trident_client import Client, ClientError, RequestTimeout

HANG_TIMEOUT_S = 2
STARVED_S = 2.5
# One for each kind of death: pauses grow for what dies often.
SPARE = ("killed", "crashed", "damaged", "early", "again", "moved", "touched")
ENSEMBLE = f"""\
name: "patient"
platform: "ensemble"
max_batch_size: 1
input {{ name: "x" data_type: TYPE_STRING dims: 1 }}
output {{ name: "y" data_type: TYPE_STRING dims: 1 }}
parameters {{ key: "HANG_TIMEOUT_S" value {{ string_value: "{HANG_TIMEOUT_S}" }} }}
ensemble_scheduling {{
  step {{
    model_name: "fragile"
    model_version: -1
    input_map {{ key: "x" value: "x" }}
    output_map {{ key: "y" value: "y" }}
  }}
}}
"""


@pytest.fixture(scope="module")
def folder(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with models that can be spared, and a SavedModel's."""
    folder = tmp_path_factory.mktemp("healing") / "models"
    for name in ("fragile", "identity"):
        shutil.copytree(MODELS / name, folder / name)
    shutil.copytree(repository / "bare", folder / "bare")
    for name in SPARE:
        shutil.copytree(MODELS / "identity", folder / name)
        config = folder / name / "config.pbtxt"
        config.write_text(config.read_text().replace("identity", name))
    shutil.copytree(MODELS / "slow", folder / "paired")
    config = folder / "paired" / "config.pbtxt"
    config.write_text(config.read_text().replace("slow", "paired").replace("count: 1", "count: 2"))
    code = folder / "paired" / "1" / "model.py"
    code.write_text(code.read_text().replace("DELAY_S = 2.0", "DELAY_S = 1.0"))  # less than the limit
    for name, model in (("patient", "fragile"), ("pair", "paired")):
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "config.pbtxt").write_text(ENSEMBLE.replace("fragile", model).replace("patient", name))
    return folder


@pytest.fixture(scope="module")
def own(folder: Path) -> Iterator[Server]:
    """A server whose processes are killed."""
    with Server(folder, http_port=0, grpc_port=0, metrics_port=0, exit_timeout_s=2) as running:
        yield running
    assert leftovers(running) == []


@pytest.fixture
def patient(own: Server) -> Iterator[list[Client]]:
    """A client for each protocol that asks until it is answered."""
    with (
        Client(own.http_url, timeout_s=WITHIN_S, retry=PATIENT) as http,
        Client(own.grpc_url, timeout_s=WITHIN_S, retry=PATIENT) as grpc,
    ):
        yield [http, grpc]


def double(client: Client) -> Any:
    return client.infer_tensors("bare", {"x": np.array([[1, 2, 3]], np.float32)})["doubled"].tolist()


def told(server: Server) -> dict[str, Any]:
    return read_health(server.ports["health"], 10)


@pytest.mark.parametrize(("model", "number"), [("killed", signal.SIGKILL), ("crashed", signal.SIGSEGV)])
def test_a_process_that_dies_is_told_and_replaced(
    own: Server, trident: RunTrident, model: str, number: signal.Signals
) -> None:
    with Client(own.http_url, timeout_s=WITHIN_S, retry=PATIENT) as client:
        assert ask(client, model) == [[b"a"]]
        pid = stub_of(own, model)
        os.kill(pid, number)
        reason = f"its process {pid} was ended by {number.name}"
        assert until(lambda: told(own)["not_ready"].get(model), "nobody noticed") == reason
        status = trident("status", "--url", own.grpc_url, "--json")
        (entry,) = json.loads(status.stdout)
        if not entry["ready"]:  # else it is mended already
            assert (status.returncode, entry["not_ready"]) == (1, [model])
        assert ask(client, model) == [[b"a"]]
        until(lambda: told(own)["restarts"].get(model) == 1, "it is not mended")
    log = own.log.read_text()
    assert f"trident: model '{model}' version 1: {reason}; it is loaded anew" in log
    assert f"trident: model '{model}' serves again after" in log


def test_a_process_that_dies_once_it_is_loaded_is_replaced_although_the_start_goes_on(tmp_path: Path) -> None:
    shutil.copytree(MODELS / "identity", tmp_path / "identity")
    killed: list[int] = []

    def kill_once(loaded: int, of: int) -> None:
        if loaded == of and not killed:
            killed.append(stub_of(server, "identity"))
            os.kill(killed[0], signal.SIGKILL)

    server = Server(tmp_path, http_port=0, grpc_port=0, metrics_port=0, exit_timeout_s=2, on_progress=kill_once)
    with server:
        until(lambda: told(server)["restarts"].get("identity") == 1, "nobody noticed")
        with Client(server.http_url, retry=PATIENT) as client:
            assert ask(client, "identity") == [[b"a"]]
    assert leftovers(server) == []


def test_a_process_of_the_tensorflow_backend_is_replaced(own: Server, patient: list[Client]) -> None:
    assert [double(client) for client in patient] == [[[2, 4, 6]]] * 2
    before = told(own)["restarts"].get("bare", 0)
    os.kill(stub_of(own, "bare"), signal.SIGKILL)
    until(lambda: "DEAD" in {row.state for row in ModelTable(patient[0]).read()}, "the table does not show it")
    assert [double(client) for client in patient] == [[[2, 4, 6]]] * 2
    until(lambda: told(own)["restarts"].get("bare", 0) == before + 1, "it is not mended")


def test_requests_to_other_models_are_not_disturbed(own: Server) -> None:
    stop, failures, answers = threading.Event(), list[str](), list[Any]()

    def ask_identity(url: str) -> None:
        with Client(url, retry=None) as client:
            while not stop.is_set():
                try:
                    answers.append(ask(client, "identity"))
                except ClientError as error:
                    failures.append(str(error))

    callers = [threading.Thread(target=ask_identity, args=(url,)) for url in (own.http_url, own.grpc_url)]
    for caller in callers:
        caller.start()
    before = told(own)["restarts"].get("fragile", 0)
    os.kill(stub_of(own, "fragile"), signal.SIGKILL)
    until(lambda: told(own)["restarts"].get("fragile", 0) == before + 1, "it is not mended")
    stop.set()
    for caller in callers:
        caller.join()
    assert failures == []
    assert answers


def test_a_process_that_hangs_is_replaced(own: Server, patient: list[Client]) -> None:
    pid = stub_of(own, "fragile")
    waiting = [threading.Thread(target=_give_up_soon, args=(own.grpc_url, text)) for text in (b"hang", b"a", b"b")]
    for thread in waiting:
        thread.start()
        time.sleep(0.2)  # the first one is at work
    until(lambda: f"its process {pid} was ended by SIGKILL" in own.log.read_text(), "nobody noticed")
    assert f"model 'fragile' version 1 has answered nothing for {HANG_TIMEOUT_S} s" in own.log.read_text()
    assert [ask(client, "patient") for client in patient] == [[[b"a"]]] * 2
    for thread in waiting:
        thread.join()


def test_processes_beside_one_that_died_with_a_request_do_not_stay_for_ever(own: Server) -> None:
    """Triton lets go of no instance of a version then, and each may hold a model on a GPU."""
    old = pids(own, "/paired/1/")
    assert len(old) == 2
    with ThreadPoolExecutor(2) as pool, Client(own.grpc_url, timeout_s=WITHIN_S, retry=None) as client:
        assert client.is_server_live()  # and connected
        asked = [pool.submit(ask, client, "paired") for _ in old]
        time.sleep(0.5)  # both are at work for a second
        os.kill(old[0], signal.SIGKILL)
        assert sorted(bool(future.exception()) for future in asked) == [False, True]
        until(lambda: not set(old) & set(pids(own, "/paired/1/")), "they are still there")
        assert len(pids(own, "/paired/1/")) == 2
        assert ask(client, "paired") == [[b"a"]]
    assert f"model 'paired' version 1: process {old[1]} was replaced" in own.log.read_text()
    assert told(own)["restarts"]["paired"] == 1


def _give_up_soon(url: str, text: bytes) -> None:
    with Client(url, timeout_s=15, retry=None) as client:
        try:
            ask(client, "patient", text)
        except ClientError:
            return


def test_a_model_that_does_not_come_back_is_tried_until_it_is_mended(
    own: Server, folder: Path, patient: list[Client]
) -> None:
    code = folder / "damaged" / "1" / "model.py"
    good = code.read_text()
    code.write_text("import nothing_of_this_name\n")
    try:
        os.kill(stub_of(own, "damaged"), signal.SIGKILL)
        until(lambda: "No module named" in told(own)["not_ready"].get("damaged", ""), "nobody said why")
        assert "model 'damaged' does not come back: " in own.log.read_text()
    finally:
        code.write_text(good)
    until(lambda: told(own)["ready"], "it is not mended")
    assert [ask(client, "damaged") for client in patient] == [[[b"a"]]] * 2


def test_a_model_whose_folder_is_deleted_serves_on_and_is_told_when_it_dies(
    own: Server, folder: Path, patient: list[Client]
) -> None:
    aside = folder.parent / "moved"
    (folder / "moved").rename(aside)
    try:
        assert [ask(client, "moved") for client in patient] == [[[b"a"]]] * 2
        os.kill(stub_of(own, "moved"), signal.SIGKILL)
        until(lambda: "failed to poll" in told(own)["not_ready"].get("moved", ""), "nobody said why")
    finally:
        aside.rename(folder / "moved")
    until(lambda: told(own)["ready"], "it is not mended")
    assert [ask(client, "moved") for client in patient] == [[[b"a"]]] * 2


def test_a_clock_that_was_set_back_hinders_nothing(own: Server, folder: Path) -> None:
    """To Triton, the version changed later than it is touched now."""
    later = time.time() + 86_400
    os.utime(folder / "touched" / "1", (later, later))
    os.kill(stub_of(own, "touched"), signal.SIGKILL)
    until(lambda: "touched" in told(own)["not_ready"], "nobody noticed")
    until(lambda: told(own)["ready"], "it is not mended")


def test_a_load_does_not_wait_for_ever_for_a_process_that_died(
    own: Server, folder: Path, patient: list[Client]
) -> None:
    """tritonserver notices if it dies late; if it dies early, as here, nobody could load the model again."""
    shutil.copytree(MODELS / "identity" / "1", folder / "early" / "2")
    with Client(own.grpc_url, timeout_s=WITHIN_S, retry=None) as client, ThreadPoolExecutor() as pool:
        both = client.get_model_config("early") | {"version_policy": {"specific": {"versions": [1, 2]}}}
        load = pool.submit(client.load_model, "early", both)
        for pid in until(lambda: pids(own, "/early/2/"), "it does not load"):
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(ClientError) as caught:
            load.result()
        assert not isinstance(caught.value, RequestTimeout)
    assert [ask(client, "early") for client in patient] == [[[b"a"]]] * 2
    until(lambda: told(own)["ready"], "it is not mended")


def test_a_process_that_dies_while_its_model_comes_back_is_replaced_too(own: Server, patient: list[Client]) -> None:
    """To tritonserver's index the model is ready all the while, and it waits for the second process for ever."""
    first = stub_of(own, "again")
    os.kill(first, signal.SIGKILL)
    for pid in until(lambda: set(pids(own, "/again/1/")) - {first}, "it is not loaded anew"):
        os.kill(pid, signal.SIGKILL)
    assert [ask(client, "again") for client in patient] == [[[b"a"]]] * 2
    until(lambda: told(own)["ready"], "it is not mended")


STARVED = """\
import pathlib, time
import identity


class TritonPythonModel(identity.TritonPythonModel):
    def initialize(self, args):
        begun = pathlib.Path(args["model_repository"], "begun")
        if not begun.exists():
            begun.touch()
            time.sleep(3)
"""


def test_a_process_that_is_starved_while_it_loads_holds_up_no_start(tmp_path: Path) -> None:
    """It is stopped for longer than Triton's patience, as on a machine that is too busy; Triton forgets it then."""
    shutil.copytree(MODELS / "identity", tmp_path / "starved")
    config = tmp_path / "starved" / "config.pbtxt"
    config.write_text(config.read_text().replace("identity", "starved"))
    version = tmp_path / "starved" / "1"
    (version / "model.py").rename(version / "identity.py")
    (version / "model.py").write_text(STARVED)
    (tmp_path / "patient" / "1").mkdir(parents=True)
    (tmp_path / "patient" / "config.pbtxt").write_text(ENSEMBLE.replace("fragile", "starved"))
    server = Server(tmp_path, http_port=0, grpc_port=0, metrics_port=0, start_timeout_s=WITHIN_S)
    with ThreadPoolExecutor() as pool:
        started = pool.submit(server.start)
        until((tmp_path / "starved" / "begun").exists, "it does not load")
        (stopped,) = pids(server, "/starved/1")
        os.kill(stopped, signal.SIGSTOP)
        time.sleep(STARVED_S)
        os.kill(stopped, signal.SIGCONT)
        try:
            started.result()
            with Client(server.http_url) as client:
                assert ask(client, "patient") == [[b"a"]]
            assert f"tritonserver gave its process {stopped} up" in server.log.read_text()
        finally:
            server.stop()
    assert leftovers(server) == []


def test_what_somebody_unloads_stays_unloaded(own: Server) -> None:
    with Client(own.http_url) as client:
        before = told(own)["restarts"]
        client.unload_model("identity")
        until(lambda: not client.is_model_ready("identity"), "it is still there")
        time.sleep(2.5)  # the supervisor looks every second
        assert not client.is_model_ready("identity")
        assert (told(own)["ready"], told(own)["restarts"]) == (True, before)
        client.load_model("identity")
        assert client.is_model_ready("identity")


def test_tritonserver_is_started_again_with_what_it_had_loaded(own: Server, patient: list[Client]) -> None:
    with Client(own.http_url) as client:
        client.unload_model("bare")
        until(lambda: not client.is_model_ready("bare"), "it is still there")
    time.sleep(2.5)  # the supervisor looks every second
    before = told(own)["restarts"].get("tritonserver", 0)
    (pid,) = pids(own, "bin/tritonserver --")
    os.kill(pid, signal.SIGKILL)
    assert [ask(client, "identity") for client in patient] == [[[b"a"]]] * 2
    until(lambda: told(own)["ready"], "it is not mended")
    assert told(own)["restarts"]["tritonserver"] == before + 1
    assert "trident: tritonserver was ended by SIGKILL; it is started again" in own.log.read_text()
    with Client(own.http_url, timeout_s=WITHIN_S) as client:
        assert not client.is_model_ready("bare")
        client.load_model("bare")


def test_tritonserver_is_started_again_when_there_is_room_for_it(own: Server, patient: list[Client]) -> None:
    """Its supervisor may open no more files for a while."""
    (pid,) = pids(own, "bin/tritonserver --")
    supervisor = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    before = told(own)["restarts"].get("tritonserver", 0)
    soft, hard = resource.prlimit(supervisor, resource.RLIMIT_NOFILE)
    resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (5, hard))
    try:
        os.kill(pid, signal.SIGKILL)
        until(lambda: "tritonserver cannot be run: " in own.log.read_text(), "it is not tried")
    finally:
        resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (soft, hard))
    assert [ask(client, "identity") for client in patient] == [[[b"a"]]] * 2
    until(lambda: told(own)["ready"], "it is not mended")
    assert told(own)["restarts"]["tritonserver"] > before


DAEMON = """\
import subprocess
import identity


class TritonPythonModel(identity.TritonPythonModel):
    def initialize(self, args):
        subprocess.Popen(["sleep", "{seconds}"], start_new_session=True)
"""


def test_tritonserver_is_started_again_with_nothing_although_a_model_left_a_process_of_its_own(tmp_path: Path) -> None:
    """All was unloaded; what a model started apart from tritonserver's processes must end, too, or it is waited for."""
    shutil.copytree(MODELS / "identity", tmp_path / "identity")
    version = tmp_path / "identity" / "1"
    (version / "model.py").rename(version / "identity.py")
    seconds = f"7{os.getpid()}"  # by which it is known
    (version / "model.py").write_text(DAEMON.format(seconds=seconds))
    with (
        Server(tmp_path, http_port=0, grpc_port=0, metrics_port=0, exit_timeout_s=2) as server,
        Client(server.http_url) as client,
    ):
        client.unload_model("identity")
        until(lambda: not pids(server, "/identity/1"), "it is still there")
        time.sleep(2.5)  # the supervisor looks every second
        (pid,) = pids(server, "bin/tritonserver --")
        os.kill(pid, signal.SIGKILL)
        until(lambda: told(server)["restarts"].get("tritonserver") == 1, "it is not started again")
        until(lambda: told(server)["ready"], "it is not mended")
        assert not client.is_model_ready("identity")
        client.load_model("identity")
        assert ask(client, "identity") == [[b"a"]]
    assert leftovers(server) == []
    assert subprocess.run(["pgrep", "-f", f"^sleep {seconds}$"], check=False).returncode == 1


def test_a_service_under_load_loses_nothing(repository: Path) -> None:
    """The benchmark, short."""
    script = ROOT / "benchmarks" / "healing.py"
    options = ["--model-repository", repository, "--service", "tiny", "--callers", "4", "--kills", "3", "--json"]
    result = subprocess.run(
        [sys.executable, script, *map(str, options)], capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert (report["lost"], report["wrong"], report["neighbour_lost"]) == ([], [], [])
    assert min(report["answered"], report["neighbour_answered"]) > 0
