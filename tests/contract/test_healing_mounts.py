"""A server whose mounts are read-only, full, or small: it is healed all the same."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import TRIDENT
from patience import MODELS, PATIENT, WITHIN_S, ask, stub_of, until
from trident.server.health import read_health
from trident.server.state import running_servers
from trident_client import AnswerLost, Client, Unavailable


@contextmanager
def serving_behind(mount: str, folder: Path, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    """`trident serve` of folder/models, with a mount that only it sees."""
    shutil.copytree(MODELS / "identity", folder / "models" / "identity")
    serve = '"$0" serve --model-repository models --http-port 0 --grpc-port 0 --metrics-port 0 --exit-timeout 1'
    with subprocess.Popen(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", f"{mount} && exec {serve}", TRIDENT],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    ) as serving:
        try:
            yield serving
        finally:
            serving.terminate()
            _, errors = serving.communicate()
    assert serving.returncode == 0, errors


def url_of(serving: "subprocess.Popen[str]") -> str:
    """The address that it prints when it serves."""
    assert serving.stdout is not None
    while not (line := serving.stdout.readline()).startswith("HTTP "):
        assert line, "it ended"
    return line.split()[1]


def test_a_repository_that_is_mounted_read_only_is_healed_too(tmp_path: Path) -> None:
    with serving_behind("mount --bind models models && mount -o remount,ro,bind models models", tmp_path) as serving:
        url = url_of(serving)
        (state,) = [s for s in running_servers() if s.model_repository == str(tmp_path / "models")]
        os.kill(stub_of(state, "identity"), signal.SIGKILL)
        until(lambda: read_health(state.health_port, 10)["restarts"].get("identity") == 1, "it is not mended")
        with Client(url, timeout_s=WITHIN_S, retry=PATIENT) as client:
            assert ask(client, "identity") == [[b"a"]]


def test_tritonserver_is_restarted_before_dead_processes_leave_no_shared_memory(tmp_path: Path) -> None:
    """Each death that a request meets costs 1 MiB of the 4 until tritonserver ends."""
    with serving_behind("mount -t tmpfs -o size=4m none /dev/shm", tmp_path) as serving:
        url = url_of(serving)
        (state,) = [s for s in running_servers() if s.model_repository == str(tmp_path / "models")]
        with Client(url, timeout_s=WITHIN_S, retry=None) as impatient, Client(url, retry=PATIENT) as client:
            deaths = 0
            while "tritonserver" not in read_health(state.health_port, 10)["restarts"]:
                deaths += 1
                assert deaths < 4, "it is not restarted"
                os.kill(stub_of(state, "identity"), signal.SIGKILL)
                with pytest.raises((Unavailable, AnswerLost)):  # the latter if tritonserver ends before it says so
                    ask(impatient, "identity")
                assert ask(client, "identity") == [[b"a"]]
                until(lambda: read_health(state.health_port, 10)["ready"], "it is not mended")
            assert deaths == 2
            assert ask(client, "identity") == [[b"a"]]


def test_a_full_disk_under_the_log_hinders_nothing(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    full = "mount -t tmpfs -o size=64k none state && head -c 50000 /dev/zero > state/full"
    with (
        serving_behind(full, tmp_path, TRIDENT_STATE_DIR=str(state)) as serving,
        Client(url_of(serving), timeout_s=WITHIN_S) as client,
    ):
        assert ask(client, "identity") == [[b"a"]]
