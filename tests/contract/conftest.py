"""One real tritonserver for all contract tests, with a service and models that behave in known ways."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import parity_models
import pytest
import real_models
import savedmodels
from backend_server import BackendServer
from conftest import RunTrident
from leftovers import leftovers
from trident.server.lifecycle import Server
from trident_client import Client

MODELS = Path(__file__).parent.parent / "models"
BATCHING_DELAY_MS = 100  # long enough for requests sent at once to meet in one batch


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory, tiny_service: Path, trident: RunTrident) -> Path:
    """A model repository with the service `tiny`, a slow-batching twin, and the fixture models."""
    folder = tmp_path_factory.mktemp("model_repository")
    shutil.copytree(MODELS, folder, dirs_exist_ok=True)
    savedmodels.write_all(folder)
    twin = tmp_path_factory.mktemp("twin") / "batching"
    shutil.copytree(tiny_service, twin)
    text = (twin / "service.toml").read_text(encoding="utf-8")
    text = text.replace('name = "tiny"', 'name = "batching"').replace(
        "queue_delay_ms = 0.0", f"queue_delay_ms = {BATCHING_DELAY_MS}.0"
    )
    (twin / "service.toml").write_text(text, encoding="utf-8")
    for service in (tiny_service, twin):
        result = trident("build", service, "--model-repository", folder)
        assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="session")
def server(repository: Path) -> Iterator[Server]:
    """The server; when it has stopped, nothing of it may be left."""
    with Server(repository, http_port=0, grpc_port=0, metrics_port=0, exit_timeout_s=2) as running:
        yield running
    assert leftovers(running) == []


@pytest.fixture(params=["http", "grpc"])
def client(request: pytest.FixtureRequest, server: Server) -> Iterator[Client]:
    """A client of each protocol."""
    url = server.http_url if request.param == "http" else server.grpc_url
    with Client(url, timeout_s=20) as connected:
        yield connected


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the backend's parity models."""
    folder = tmp_path_factory.mktemp("parity_models")
    parity_models.write_all(folder)
    return folder


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `real_models.MADE`, NAME/1/model.savedmodel."""
    folder = tmp_path_factory.mktemp("made")
    real_models.write_made(folder)
    return folder


@pytest.fixture(scope="session")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendServer]:
    """A server of its own, into which a test loads its model; it says what TensorFlow and XLA say."""
    repository = tmp_path_factory.mktemp("backend_repository")
    shutil.copytree(MODELS / "identity", repository / "identity")
    running = Server(repository, http_port=0, grpc_port=0, metrics_port=0, exit_timeout_s=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
        running.start()
    try:
        with Client(running.grpc_url, timeout_s=60) as client:
            yield BackendServer(running, client)
    finally:
        running.stop()
    assert leftovers(running) == []
