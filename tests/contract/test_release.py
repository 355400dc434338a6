"""Releases and rollbacks of a service that is under load: no request fails, and no answer mixes two versions."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TRIDENT, RunTrident
from leftovers import leftovers, processes
from marked_service import build_marked, write_savedmodels
from trident.pins import read_pin
from trident.repository import BuildResult
from trident.server.health import read_health
from trident.server.lifecycle import Server
from trident.server.state import SHARED_MEMORY
from trident.server.stubs import Stub, find_stubs
from trident_client import Client, Retry

WAIT_S = 60
RELEASES = 3
TEXT = {"text": np.array([[b"hello"]], object)}
PATIENT = Retry(attempts=1000, lost_answers=True, attempt_timeout_s=5)


class Marked:
    """The service `marked`, whose answers are three times the mark of their version."""

    def __init__(self, folder: Path) -> None:
        """Write the SavedModels and build mark 1."""
        self.folder, self.repository = folder, folder / "model_repository"
        self._marks = count(1)
        write_savedmodels(folder / "savedmodels")
        self.build()

    def build(self, **options: Any) -> tuple[BuildResult, int]:
        """Build the next version; returns what `build` did and the version's mark."""
        mark = next(self._marks)
        folders = (self.folder / "marked", self.folder / "savedmodels", self.repository)
        return build_marked(*folders, mark, **options), mark


class Callers:
    """Ask without a pause, over both protocols."""

    def __init__(self, server: Server, retry: Retry | None) -> None:
        """Start them."""
        self._retry = retry
        self.answers: Counter[tuple[int, ...]] = Counter()
        self.errors: list[str] = []
        self._ended = threading.Event()
        urls = (server.http_url, server.grpc_url) * 2
        self._threads = [threading.Thread(target=self._run, args=(url,)) for url in urls]
        for thread in self._threads:
            thread.start()

    def _run(self, url: str) -> None:
        with Client(url, retry=self._retry, timeout_s=WAIT_S) as client:
            while not self._ended.is_set():
                try:
                    marks = client.infer_tensors("marked", TEXT)["marks"][0]
                    self.answers[tuple(marks.astype(int).tolist())] += 1
                except Exception as error:
                    self.errors.append(str(error))

    def end(self) -> None:
        """Stop them."""
        self._ended.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Marked:
    return Marked(tmp_path_factory.mktemp("release"))


@pytest.fixture(scope="module")
def server(marked: Marked) -> Iterator[Server]:
    with Server(marked.repository, http_port=0, grpc_port=0, metrics_port=0, exit_timeout_s=5) as running:
        yield running
    assert leftovers(running) == []


@pytest.fixture
def callers(server: Server, request: pytest.FixtureRequest) -> Iterator[Callers]:
    """Callers who do not try again, unless the test's parameter says how."""
    running = Callers(server, getattr(request, "param", None))
    yield running
    running.end()


def released(server: Server) -> int:
    with Client(server.grpc_url, retry=PATIENT, timeout_s=WAIT_S) as client:
        return int(client.infer_tensors("marked", TEXT)["marks"][0, 0])


def until(condition: Callable[[], Any], what: Callable[[], Any]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, what()
        time.sleep(0.05)


def wait_for(callers: Callers, mark: int) -> None:
    until(lambda: callers.answers[mark, mark, mark], lambda: f"no answer of {mark}: {callers.answers}")


def health(server: Server) -> dict[str, Any]:
    return read_health(server.ports["health"], 10)


def tritonserver(server: Server) -> int:
    (pid,) = (line.partition(":")[0] for line in processes(server.shm_prefix) if "bin/tritonserver --" in line)
    return int(pid)


def stubs(server: Server) -> list[Stub]:
    """The processes of models that run."""
    return find_stubs(tritonserver(server), server.model_repository.resolve())


def regions(server: Server) -> int:
    return len(list(SHARED_MEMORY.glob(f"{server.shm_prefix}*")))


def restart(server: Server) -> None:
    """Kill tritonserver, and wait until the supervisor has started it again."""
    restarts = health(server)["restarts"].get("tritonserver", 0)
    os.kill(tritonserver(server), signal.SIGKILL)
    until(lambda: health(server)["restarts"].get("tritonserver", 0) > restarts, lambda: "nobody noticed")
    until(lambda: health(server)["ready"], lambda: "it does not come back")


def release_in_the_end(server: Server, trident: RunTrident, *where: object) -> None:
    """Release the newest version; while a process died with requests in it, tritonserver 24.10 may die of a load."""
    refused: list[str] = []
    while len(refused) < RELEASES:
        until(lambda: health(server)["ready"], lambda: "it is not mended")
        before, result = released(server), trident("release", "marked", *where)
        if result.returncode == 0:
            return
        refused.append(result.stderr)
        assert ("serves on" in result.stderr, released(server)) == (True, before), refused
    pytest.fail(f"refused {RELEASES} times: {refused}")


def test_under_load_a_release_and_a_rollback_fail_no_request_and_mix_no_versions(
    marked: Marked, server: Server, callers: Callers, trident: RunTrident
) -> None:
    before, running = released(server), stubs(server)
    wait_for(callers, before)
    built, mark = marked.build()
    assert (built.pending, released(server)) == (True, before), "a build changes nothing that is served"
    where = ("--model-repository", marked.repository, "--json")
    result = trident("release", "marked", *where)
    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout)
    assert (said["version"], said["before"], said["servers"]) == (built.version, built.released, [server.grpc_url])
    wait_for(callers, mark)
    assert released(server) == mark
    serving = {stub for stub in running if stub.version == str(built.released)}  # the one before that is dropped
    assert {stub.model for stub in serving} == {"marked_preprocess", "marked_model", "marked_postprocess"}
    assert serving <= {*stubs(server)}, "the version before was not loaded anew"
    result = trident("rollback", "marked", *where)
    assert result.returncode == 0, result.stderr
    assert released(server) == before
    callers.end()
    assert callers.errors == []
    assert set(callers.answers) == {(before,) * 3, (mark,) * 3}
    with Client(server.grpc_url) as client:
        assert not client.is_model_ready("marked_model", str(built.version)), "its memory is free"


@pytest.mark.parametrize("callers", [PATIENT], indirect=True, ids=["patient"])
def test_versions_no_longer_kept_leave_memory_and_disk_and_a_process_that_dies_meanwhile_comes_back(
    marked: Marked, server: Server, callers: Callers, trident: RunTrident
) -> None:
    where = ("--model-repository", str(marked.repository))
    before, former, regions_before = released(server), stubs(server), regions(server)
    built, mark = marked.build()
    with subprocess.Popen([TRIDENT, "release", "marked", *where], stderr=subprocess.PIPE, text=True) as releasing:
        until(lambda: len(stubs(server)) > len(former), lambda: "nothing is loaded")
        os.kill(next(stub.pid for stub in former if stub.model == "marked_postprocess"), signal.SIGKILL)
        _, errors = releasing.communicate()
    if releasing.returncode:  # it missed the process
        assert (f"version {built.released} serves on" in errors, released(server)) == (True, before), errors
        release_in_the_end(server, trident, *where)
    assert released(server) == mark
    built_next, mark_next = marked.build()
    release_in_the_end(server, trident, *where)
    assert released(server) == mark_next
    callers.end()
    assert callers.errors == []
    assert set(callers.answers) == {(before,) * 3, (mark,) * 3, (mark_next,) * 3}
    kept = {str(built.version), str(built_next.version)}
    with Client(server.grpc_url) as client:
        index = client.get_model_repository_index()
    loaded = {entry["version"] for entry in index if entry["name"] == "marked_model" and entry["state"] == "READY"}
    assert loaded == kept
    until(lambda: {stub.version for stub in stubs(server)} == kept, lambda: stubs(server))
    most = 2 * regions_before + 1  # Triton keeps that of the process that was killed
    until(lambda: regions(server) <= most, lambda: f"{regions_before} regions became {regions(server)}")
    for model in ("marked", "marked_preprocess", "marked_model", "marked_postprocess"):
        assert {path.name for path in (marked.repository / model).iterdir()} == {*kept, "config.pbtxt"}
    rows = json.loads(trident("models", "--json", "--url", server.http_url).stdout)
    assert {row["state"] for row in rows} == {"READY"}, "versions that are gone are not listed"
    restart(server)  # other tests had better have one that holds no lost request
    assert (released(server), {stub.version for stub in stubs(server)}) == (mark_next, kept)


def test_a_version_that_does_not_load_warm_up_or_answer_is_refused_and_the_old_one_serves_on(
    marked: Marked, server: Server, callers: Callers, trident: RunTrident
) -> None:
    before = released(server)
    reasons = [
        ({}, "saved_model.pb is no SavedModel, or a truncated one"),
        ({"model": "fussy"}, "the warm-up 'first call' fails: TensorFlow refuses the values"),
        ({"line": "raise RuntimeError('broken')"}, "it does not answer a made-up request"),
    ]
    for options, reason in reasons:
        built, _ = marked.build(**options)
        if not options:  # damaged after it was built, which looks at it
            (marked.repository / f"marked_model/{built.version}/model.savedmodel/saved_model.pb").write_bytes(b"broken")
        configs = [path.read_bytes() for path in sorted(marked.repository.glob("*/config.pbtxt"))]
        result = trident("release", "marked", built.version, "--model-repository", marked.repository)
        assert (result.returncode, reason in result.stderr) == (1, True), result.stderr
        assert f"; version {built.released} serves on" in result.stderr
        assert [path.read_bytes() for path in sorted(marked.repository.glob("*/config.pbtxt"))] == configs
        assert released(server) == before
    callers.end()
    assert callers.errors == []
    assert set(callers.answers) == {(before,) * 3}
    (state,) = json.loads(trident("status", "--url", server.grpc_url, "--json").stdout)
    assert (state["not_ready"], state["trouble"]) == ([], ""), "a refused version is no model that should serve"
    with Client(server.grpc_url) as client:
        assert client.is_model_ready("marked")


def test_a_server_elsewhere_is_told_if_it_sees_the_folder(
    marked: Marked, server: Server, trident: RunTrident, tmp_path: Path
) -> None:
    """Of another user, who has the key; a copy of the folder has the same services and is another one."""
    stranger = os.environ | {"TRIDENT_STATE_DIR": str(tmp_path / "state"), "TRIDENT_ADMIN_KEY": server.admin_key}
    by_the_way = stranger | {"TRIDENT_URL": server.grpc_url}
    line = ("release", "marked", str(released_version(marked)), "--json", "--model-repository")
    for options, environment in ((("--url", server.grpc_url), stranger), ((), by_the_way)):
        result = trident(*line, marked.repository, *options, env=environment)
        assert json.loads(result.stdout or "{}").get("servers") == [server.grpc_url], result.stderr
    copy = shutil.copytree(marked.repository, tmp_path / "copy")
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*.pbtxt")}
    for command in (("release", "marked"), ("rollback", "marked"), ("models", "remove", "marked", "--yes")):
        for url in (server.grpc_url, server.http_url):
            result = trident(*command, "--model-repository", copy, "--url", url, env=stranger)
            assert result.returncode == 1
            assert f"{url} is no server of {copy}: it serves another folder; nothing is changed" in result.stderr
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*.pbtxt")} == before
    result = trident(*line, copy, env=by_the_way)
    assert json.loads(result.stdout)["servers"] == []
    assert result.stderr == (
        f"TRIDENT_URL={server.grpc_url} is no server of {copy} and left out: it serves another folder\n"
    )


def released_version(marked: Marked) -> int:
    return read_pin((marked.repository / "marked" / "config.pbtxt").read_text()).version
