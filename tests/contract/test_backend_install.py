"""What `trident backend install` leaves behind serves in a Triton that knows nothing of Trident."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from leftovers import leftovers
from trident.backend_install import install
from trident.server import lifecycle
from trident.server.embedded import Tritonserver, assemble_backends
from trident.server.lifecycle import Server
from trident_client import Client


def test_an_installed_backend_serves(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backends, repository = tmp_path / "backends", tmp_path / "repository"

    def assemble(triton: Tritonserver) -> Path:
        shutil.copytree(assemble_backends(triton) / "python", backends / "python")
        (backends / "tensorflow").mkdir()
        (backends / "tensorflow" / "libtriton_tensorflow.so").touch()  # Triton would try it before model.py
        install(backends, force=False)
        return backends

    monkeypatch.setattr(lifecycle, "assemble_backends", assemble)
    shutil.copytree(models / "doubled", repository / "doubled" / "1" / "model.savedmodel")
    with Server(repository, http_port=0, grpc_port=0, metrics_port=0) as running, Client(running.grpc_url) as client:
        answer = client.infer_tensors("doubled", {"x": np.ones((1, 3), np.float32)})
        assert answer["y"].tolist() == [[2, 2, 2]]
    assert leftovers(running) == []
