"""What `serve` finds out before and after tritonserver runs."""

import socket
from pathlib import Path

import pytest
from trident.errors import ServerStartError
from trident.server.lifecycle import HOST, _cause, _choose_ports, _find_models


def test_models_are_folders_with_a_config_or_a_version(tmp_path: Path) -> None:
    (tmp_path / "configured").mkdir()
    (tmp_path / "configured" / "config.pbtxt").touch()
    (tmp_path / "bare" / "1").mkdir(parents=True)
    (tmp_path / "notes" / "drafts").mkdir(parents=True)
    (tmp_path / ".build-x" / "1").mkdir(parents=True)
    (tmp_path / "README.md").touch()
    assert _find_models(tmp_path) == ["bare", "configured"]


def test_a_missing_repository_is_told_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "missing"
    with pytest.raises(ServerStartError) as caught:
        _find_models(path)
    assert str(caught.value) == f"no model repository {path}; `trident build services/NAME` writes one"


def test_an_empty_repository_is_told_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ServerStartError) as caught:
        _find_models(tmp_path)
    assert str(caught.value) == f"no models in {tmp_path}; `trident build services/NAME` puts a service there"


def test_port_0_takes_free_ports_each_another() -> None:
    chosen = _choose_ports({"http": 0, "grpc": 0, "metrics": 0})
    assert list(chosen) == ["http", "grpc", "metrics"]
    assert len(set(chosen.values())) == 3
    assert min(chosen.values()) > 1023


def test_a_taken_port_is_named_with_the_option_to_choose_another() -> None:
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ServerStartError) as caught:
            _choose_ports({"http": 0, "grpc": port})
    remedy = "stop the other server (`trident stop`) or choose --grpc-port N (0: any free one)"
    assert str(caught.value) == f"grpc port {port} is taken (Address already in use); {remedy}"


def test_one_port_cannot_serve_two_protocols() -> None:
    free = _choose_ports({"http": 0})["http"]
    with pytest.raises(ServerStartError, match=f"^grpc port {free} is taken"):
        _choose_ports({"http": free, "grpc": free})


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        ("", "it wrote nothing"),
        ("I0101 starting\n\n", "I0101 starting"),
        ("E0101 first\nE0102 last\nI0103 stopping\n", "E0102 last"),
        ("E0101 bad model\nW0102 Unable to initialize NVML\nE0103 CUDA driver missing\n", "E0101 bad model"),
        ("I0101 a\nerror: creating server: Internal\nI0102 b\n", "error: creating server: Internal"),
    ],
)
def test_the_cause_is_the_last_error_that_is_not_about_a_missing_gpu(log: str, cause: str) -> None:
    assert _cause(log) == cause
