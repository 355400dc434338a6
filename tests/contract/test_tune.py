"""`trident tune` with real servers and the real perf_analyzer; how it decides is tested on made-up figures."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import DATA, TRIDENT, RunTrident

pytestmark = pytest.mark.timeout(600)


def command(service: Path, repository: Path, *options: str) -> list[str]:
    folders = ["--services", str(service.parent), "--model-repository", str(repository)]
    return ["tune", service.name, "--texts", str(DATA), "--seconds", "1.5", "--concurrency", "4", *folders, *options]


def test_candidates_are_served_compared_and_measured(trident: RunTrident, tiny_service: Path, tmp_path: Path) -> None:
    """In no time: the service as it is, and one candidate; that is too little to decide."""
    before = (tiny_service / "service.toml").read_bytes()
    own = os.environ | {"TRIDENT_STATE_DIR": str(tmp_path / "state")}
    picture = tmp_path / "tuned.svg"
    line = command(tiny_service, tmp_path / "repository", "--minutes", "0.001", "--picture", str(picture), "--json")
    result = trident(*line, env=own, timeout=500)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    untuned, accelerated = found["trials"]
    assert (untuned["candidate"]["accelerator"], accelerated["candidate"]["accelerator"]) == ("", "openvino")
    for trial in (untuned, accelerated):
        assert (trial["refused"], trial["differing"]) == ("", 0.0)
        assert all(value > 0 for value in trial["figures"].values())
    assert (found["sure"], found["changes"]) == (False, {})
    assert "queue delay" in found["skipped"]
    assert len([line for line in result.stderr.splitlines() if "requests/s" in line]) == 2
    assert picture.read_bytes().startswith(b"<?xml")
    assert (tiny_service / "service.toml").read_bytes() == before
    assert not (tmp_path / "repository").exists()
    assert "no server of yours runs" in trident("status", env=own).stdout


def test_an_interrupt_leaves_all_as_it_was(trident: RunTrident, tiny_service: Path, tmp_path: Path) -> None:
    before = (tiny_service / "service.toml").read_bytes()
    own = os.environ | {"TRIDENT_STATE_DIR": str(tmp_path / "state"), "TMPDIR": str(tmp_path / "scratch")}
    (tmp_path / "scratch").mkdir()
    tuning = subprocess.Popen(
        [TRIDENT, *command(tiny_service, tmp_path / "repository")],
        stderr=subprocess.PIPE,
        text=True,
        env=own,
    )
    assert tuning.stderr is not None
    assert "untuned" in tuning.stderr.readline()  # the next candidate is being served
    tuning.send_signal(signal.SIGINT)
    _, said = tuning.communicate(timeout=120)
    assert (tuning.returncode, said.splitlines()[-1]) == (130, "interrupted")
    assert (tiny_service / "service.toml").read_bytes() == before
    assert list((tmp_path / "scratch").glob("*trident*")) == []
    assert not (tmp_path / "repository").exists()
    assert "no server of yours runs" in trident("status", env=own).stdout
