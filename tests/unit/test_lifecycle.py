"""What `serve` finds out before and after tritonserver runs."""

import re
import socket
from pathlib import Path

import pytest
from trident.errors import ServerStartError
from trident.ownership import HEADER
from trident.server.embedded import Tritonserver
from trident.server.lifecycle import HOST, Server, _cause, _choose_ports, _find_models, _needs_completing


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


def test_tritonserver_is_reached_from_this_machine_and_administered_with_the_key(tmp_path: Path) -> None:
    server = Server(tmp_path, models=["spam"], http_port=18000, grpc_port=18001, metrics_port=18002)
    arguments = arguments_of(server, tmp_path)
    addresses = [argument for argument in arguments if re.match(r"--\w+-(address|port)=", argument)]
    assert sorted(addresses) == [
        *("--grpc-address=127.0.0.1", "--grpc-port=18001"),
        *("--http-address=127.0.0.1", "--http-port=18000"),
        *("--metrics-address=127.0.0.1", "--metrics-port=18002"),
    ]
    restricted = f"shared-memory,model-repository,trace,logging:admin-key={server.admin_key}"
    assert [argument for argument in arguments if "restricted" in argument] == [
        f"--http-restricted-api={restricted}",
        f"--grpc-restricted-protocol={restricted}",
    ]


def test_tritonserver_is_told_of_caches_that_are_there_and_of_configurations_that_are_whole(tmp_path: Path) -> None:
    server, caches = Server(tmp_path, models=["spam"]), tmp_path / "caches"
    told = [arguments_of(server, caches, completes_configs=completes) for completes in (True, False)]
    assert [arguments[len(told[0]) :] for arguments in told] == [[], ["--disable-auto-complete-config"]]
    caches.mkdir()
    assert arguments_of(server, caches) == [*told[0], f"--cache-directory={caches}"]


def arguments_of(server: Server, caches: Path, *, completes_configs: bool = True) -> list[str]:
    triton = Tritonserver(Path("bin/tritonserver"), Path("backends"), (), None, caches)
    return server._arguments(triton, Path("repository"), Path("backends"), completes_configs=completes_configs)


def test_one_model_that_no_build_wrote_may_need_completing(tmp_path: Path) -> None:
    for name in ("spam", "spam_model"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.pbtxt").write_text(HEADER)
    assert not _needs_completing(tmp_path)
    (tmp_path / "bare" / "1").mkdir(parents=True)
    assert _needs_completing(tmp_path)


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
