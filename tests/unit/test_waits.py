"""Which processes tritonserver waits for is read from its threads; /proc is a folder here."""

from pathlib import Path

import pytest
from trident.server.waits import WAIT4, Waits

SERVER = 7


@pytest.fixture
def threads(tmp_path: Path) -> Path:
    (tmp_path / str(SERVER) / "task").mkdir(parents=True)
    return tmp_path / str(SERVER) / "task"


def waits_for(threads: Path, thread: int, call: str) -> None:
    (threads / str(thread)).mkdir(exist_ok=True)
    (threads / str(thread) / "syscall").write_text(f"{call}\n")


def test_a_process_counts_once_it_was_waited_for_long_enough(tmp_path: Path, threads: Path) -> None:
    now = [0.0]
    waits = Waits(tmp_path, lambda: now[0])
    waits_for(threads, 1, f"{WAIT4} 0x2a 0x7ffd 0x0 0x0 0x0 0x0 0x7ffc 0x7f1b")
    waits_for(threads, 2, "running")
    waits_for(threads, 3, "202 0x2b 0x80 0x0 0x0 0x0 0x0 0x7ffc 0x7f1b")
    waits_for(threads, 4, f"{WAIT4} 0x2c 0x7ffd 0x0 0x0 0x0 0x0 0x7ffc 0x7f1b")
    assert waits.find(SERVER, {42, 43}, 5) == set()
    now[0] = 5
    assert waits.find(SERVER, {42, 43}, 5) == {42}
    assert waits.find(SERVER, {43}, 5) == set()


def test_a_wait_that_ended_is_forgotten(tmp_path: Path, threads: Path) -> None:
    now = [0.0]
    waits = Waits(tmp_path, lambda: now[0])
    for call in (f"{WAIT4} 0x2a 0x0 0x0 0x0 0x0 0x0 0x0 0x0", "running", f"{WAIT4} 0x2a 0x0 0x0 0x0 0x0 0x0 0x0 0x0"):
        waits_for(threads, 1, call)
        assert waits.find(SERVER, {42}, 5) == set()
        now[0] += 4
    waits_for(threads, 1, f"{WAIT4} 0x2a 0x0 0x0 0x0 0x0 0x0 0x0 0x0")
    assert waits.find(SERVER, {42}, 5) == set()


def test_a_server_that_is_gone_waits_for_nobody(tmp_path: Path) -> None:
    assert Waits(tmp_path).find(SERVER, {42}, 0) == set()
