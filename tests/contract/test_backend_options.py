"""The backend on a tritonserver that was told things on its command line."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from backend_server import BackendServer
from leftovers import leftovers
from trident.server.embedded import find_tritonserver
from trident.server.lifecycle import Server
from trident_client import Client

MODELS = Path(__file__).parent.parent / "models"
OPTIONS = (
    "--allow-metrics=false",
    "--backend-config=tensorflow,default-max-batch-size=16",
    "--backend-config=tensorflow,gpu-memory-fraction=0.5",
)


def test_the_command_lines_settings_count_and_a_server_without_metrics_serves(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_tritonserver()
    program = tmp_path / "tritonserver"
    program.write_text(f'#!/bin/sh\nexec {found.binary} "$@" {" ".join(OPTIONS)}\n', encoding="utf-8")
    program.chmod(0o755)
    told = dataclasses.replace(found, binary=program)
    monkeypatch.setattr("trident.server.lifecycle.find_tritonserver", lambda option: told)
    repository = tmp_path / "repository"
    shutil.copytree(MODELS / "identity", repository / "identity")
    server = Server(repository, http_port=0, grpc_port=0, metrics_port=0)
    with server, Client(server.http_url, timeout_s=60) as client:
        backend = BackendServer(server, client)
        with backend.model("bare", models / "doubled", 'backend: "tensorflow"\n') as name:
            assert client.get_model_config(name)["max_batch_size"] == 16
            assert client.infer_tensors(name, {"x": np.ones((1, 3), np.float32)})["y"].tolist() == [[2, 2, 2]]
            assert "gpu-memory-fraction=0.5 has no effect" in backend.log(name)
    assert leftovers(server) == []
