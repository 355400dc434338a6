"""The supervisor's log stays bounded, however much tritonserver writes."""

import logging
from pathlib import Path

import pytest
from trident.server import supervisor


def test_the_log_rotates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "LOG_BYTES", 1000)
    path = tmp_path / "tritonserver.log"
    log = supervisor._open_log(path)
    try:
        for number in range(500):
            log.info("line %d of a server that writes much", number)
    finally:
        for handler in list(log.handlers):
            handler.close()
            log.removeHandler(handler)
    assert sorted(file.name for file in tmp_path.iterdir()) == [path.name, *(f"{path.name}.{n}" for n in (1, 2, 3))]
    assert all(file.stat().st_size <= 1000 for file in tmp_path.iterdir())
    assert "line 499" in path.read_text()
    assert not logging.getLogger("tritonserver").propagate
