"""How `benchmarks/soak.py` goes on and ends, before a server that is a fake."""

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from trident_client import Client, Prediction
from trident_client.testing import FakeServer

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import processes  # noqa: E402
import soak  # noqa: E402
from processes import Held  # noqa: E402

HELD = Held(memory_mb=1.0, tritonserver_mb=1.0, shared_memory_mb=1.0, descriptors=1, threads=1)
Begin = Callable[[], soak.Soak]


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Begin]:
    """Begins one that looks at the server every 10 ms, and kills nothing."""
    monkeypatch.setattr(soak, "SAMPLE_S", 0.01)
    monkeypatch.setattr(soak, "PAUSE_S", 0.01)
    for name in ("KILL_S", "BAD_S", "RELEASE_S"):
        monkeypatch.setattr(soak, name, 1e9)
    with FakeServer() as fake:
        fake.add("spam", lambda text: Prediction(("ham",), (1.0,)))
        server: Any = SimpleNamespace(
            http_url=fake.url, grpc_url=fake.url, models=["spam_model"], model_repository=Path("model_repository")
        )
        yield lambda: soak.Soak(server, Path("spam"), ["hello"] * 48, seed=1)


def test_it_goes_on_while_tritonserver_is_between_two_lives(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter(range(10**6))

    def held(_: object) -> Held:
        if next(looks) < 3:
            raise ProcessLookupError("no tritonserver runs")
        return HELD

    monkeypatch.setattr(soak, "held", held)
    begun = begin()
    begun.run(0.5, 0, lambda line: None)
    assert begun.samples


def test_nothing_goes_on_when_looking_at_the_server_fails(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> NoReturn:
        raise RuntimeError("cannot look")

    monkeypatch.setattr(soak, "held", fail)
    begun = begin()
    with pytest.raises(RuntimeError, match="cannot look"):
        begun.run(60, 2, lambda line: None)
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("soak")]


def test_callers_close_their_connections(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "held", lambda _: HELD)
    opened, closed = [], []

    class Watched(Client):
        def __enter__(self) -> "Watched":
            opened.append(self)
            return self

        def close(self) -> None:
            closed.append(self)
            super().close()

    begun = begin()
    monkeypatch.setattr(soak, "Client", Watched)
    begun.run(0.2, 3, lambda line: None)
    assert len(opened) == 3
    assert set(closed) == set(opened)


def test_a_region_that_is_removed_meanwhile_counts_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Regions:
        def glob(self, _: str) -> list[Path]:
            return [tmp_path / "removed"]

    monkeypatch.setattr(processes, "SHARED_MEMORY", Regions())
    monkeypatch.setattr(processes, "tritonserver_of", lambda _: 1)
    monkeypatch.setattr(processes, "_pids", lambda _: [1])
    server: Any = SimpleNamespace(shm_prefix="x")
    assert processes.held(server).shared_memory_mb == 0
