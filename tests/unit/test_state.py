"""State files say what runs; only their owner reads them, and what dead servers left is removed."""

import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from server_states import server
from trident.errors import TridentError
from trident.server import state
from trident.server.state import process_start, remove_old_logs, running_servers, server_dir
from trident.server.stopping import stop_server

DEAD = 2**22 + 1  # Linux has no such pid
WEEK_S = 7 * 24 * 3600


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIDENT_STATE_DIR", str(tmp_path / "state"))
    (tmp_path / "shm").mkdir()
    monkeypatch.setattr(state, "SHARED_MEMORY", tmp_path / "shm")


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    """A process in the place of a supervisor."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_a_state_is_read_back_as_it_was_written() -> None:
    server().write()
    assert running_servers() == [server()]


def test_a_state_lies_in_the_folder_of_its_port(tmp_path: Path) -> None:
    assert server(18000).path == server_dir(18000) / "state.json"
    assert server_dir(18000) == tmp_path / "state" / "servers" / "18000"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_the_owner_can_read_the_key(umask: int) -> None:
    before = os.umask(umask)
    try:
        server().write()
    finally:
        os.umask(before)
    assert stat.S_IMODE(server().path.stat().st_mode) == 0o600
    assert stat.S_IMODE(server().path.parent.stat().st_mode) == 0o700
    assert [path.name for path in server().path.parent.iterdir()] == ["state.json"]


def test_a_running_process_has_a_start() -> None:
    assert process_start(os.getpid()) == process_start(os.getpid())
    assert (process_start(os.getpid()) or 0) > 0


def test_no_process_has_no_start() -> None:
    assert process_start(DEAD) is None


def test_a_name_with_brackets_and_blanks_does_not_confuse_it(tmp_path: Path) -> None:
    program = tmp_path / "a) Z (b"
    program.symlink_to(sys.executable)
    with subprocess.Popen([program, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert (process_start(process.pid) or 0) >= (process_start(os.getpid()) or 0)
        process.kill()


def test_a_zombie_does_not_run(sleeper: "subprocess.Popen[bytes]") -> None:
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has collected it
    assert process_start(sleeper.pid) is None


def test_a_reused_pid_is_another_process() -> None:
    assert server().is_alive
    assert not replace(server(), supervisor_started=server().supervisor_started + 1).is_alive


def test_what_a_dead_server_left_is_removed(tmp_path: Path) -> None:
    server(18000).write()
    server(18010, pid=DEAD).write()
    for name in ("trident_18010_a", "trident_18010_b", "trident_18000_a", "other"):
        (tmp_path / "shm" / name).touch()
    assert running_servers() == [server(18000)]
    assert not server(18010, pid=DEAD).path.exists()
    assert sorted(path.name for path in (tmp_path / "shm").iterdir()) == ["other", "trident_18000_a"]


def test_logs_are_kept_for_a_week_and_while_their_server_runs() -> None:
    server(18000).write()
    for port, age_s in ((18000, WEEK_S + 60), (18010, WEEK_S + 60), (18020, WEEK_S - 60)):
        server_dir(port).mkdir(parents=True, exist_ok=True)
        os.utime(server_dir(port), (0, time.time() - age_s))
    remove_old_logs()
    assert sorted(path.name for path in server_dir(18000).parent.iterdir()) == ["18000", "18020"]


def test_two_starts_at_once_may_remove_the_same_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    for port in (18000, 18010):
        server_dir(port).mkdir(parents=True)
        os.utime(server_dir(port), (0, 0))
    remove = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", lambda folder, **options: remove(folder.parent))  # the other start is faster
    remove_old_logs()
    assert not server_dir(18000).parent.exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"supervisor_pid": 1}'])
def test_a_state_file_of_another_version_is_passed_over(content: bytes) -> None:
    server(18000).write()
    path = server_dir(18010) / "state.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert running_servers() == [server(18000)]
    assert path.read_bytes() == content


def test_without_servers_there_is_nothing_to_stop() -> None:
    with pytest.raises(TridentError, match=r"^no server; none is running$"):
        stop_server()


def test_a_port_that_nobody_serves_on_is_told_with_those_served() -> None:
    server(18000).write()
    with pytest.raises(TridentError, match=r"^no server on HTTP port 1; running are \[18000\]$"):
        stop_server(1)


def test_of_several_servers_one_must_be_named() -> None:
    server(18000).write()
    server(18010).write()
    with pytest.raises(TridentError) as caught:
        stop_server()
    ports = "several servers run, on HTTP ports [18000, 18010]"
    assert str(caught.value) == f"{ports}; say which: trident stop --http-port N"


@pytest.mark.parametrize("http_port", [None, 18010])
def test_stopping_signals_the_supervisor_and_waits_for_its_end(
    sleeper: "subprocess.Popen[bytes]", http_port: int | None
) -> None:
    server(18010, pid=sleeper.pid).write()
    assert stop_server(http_port).http_port == 18010
    assert sleeper.wait() == -15


def test_waiting_for_the_end_has_an_end_itself() -> None:
    script = "trap '' TERM; echo; exec sleep 60"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE) as stubborn:
        assert stubborn.stdout is not None
        stubborn.stdout.readline()  # it heeds no SIGTERM from now on
        server(18010, pid=stubborn.pid).write()
        with pytest.raises(TridentError, match=r"HTTP port 18010 was told to stop and is still there after 0\.2 s"):
            stop_server(timeout_s=0.2)
        stubborn.kill()
