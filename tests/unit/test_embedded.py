"""A tritonserver is found where the user says, and gets a backend directory with ours in it."""

import os
import sys
from pathlib import Path

import pytest
from trident.errors import ServerStartError
from trident.server.embedded import TENSORFLOW_BACKEND, Tritonserver, assemble_backends, find_tritonserver


@pytest.fixture
def triton(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tritonserver:
    """An installation as NVIDIA's containers have it, and nothing else to be found."""
    base = tmp_path / "opt" / "tritonserver"
    for folder in ("bin", "lib", "caches", "backends/python", "backends/onnxruntime", "backends/tensorflow"):
        (base / folder).mkdir(parents=True)
    (base / "bin" / "tritonserver").write_text("#!/bin/sh\n")
    (base / "bin" / "tritonserver").chmod(0o755)
    (base / "backends" / "python" / "libtriton_python.so").write_text("library")
    (base / "backends" / "tensorflow" / "libtriton_tensorflow.so").write_text("theirs")
    monkeypatch.setenv("TRIDENT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.delenv("TRIDENT_TRITONSERVER", raising=False)
    return Tritonserver(base / "bin" / "tritonserver", base / "backends", (base / "lib",), None, base / "caches")


def test_a_named_program_is_taken(triton: Tritonserver) -> None:
    assert find_tritonserver(triton.binary) == triton


def test_the_environment_names_one(triton: Tritonserver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIDENT_TRITONSERVER", str(triton.binary))
    assert find_tritonserver() == triton


def test_one_on_the_path_is_found(triton: Tritonserver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(triton.binary.parent))
    assert find_tritonserver() == triton


def test_the_option_goes_before_the_environment(triton: Tritonserver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIDENT_TRITONSERVER", "/no/such/program")
    assert find_tritonserver(triton.binary) == triton


@pytest.mark.parametrize("kind", ["missing", "folder", "not executable"])
def test_what_is_no_program_is_refused(triton: Tritonserver, kind: str) -> None:
    triton.binary.chmod(0o644)
    path = {"missing": Path("/no/such"), "folder": triton.backends, "not executable": triton.binary}[kind]
    with pytest.raises(ServerStartError) as caught:
        find_tritonserver(path)
    assert str(caught.value) == f"{path} is no program; name a tritonserver, or none to use the embedded one"


def test_our_python_and_its_libraries_come_first(triton: Tritonserver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/theirs")
    environment = triton.environment()
    assert environment["PATH"] == f"{Path(sys.executable).parent}:/usr/bin"
    assert environment["LD_LIBRARY_PATH"] == f"{triton.libraries[0]}:/theirs"


def test_no_empty_folder_enters_the_library_path(triton: Tritonserver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    assert triton.environment()["LD_LIBRARY_PATH"] == str(triton.libraries[0])


def test_our_backend_stands_in_for_theirs_and_the_others_are_linked(triton: Tritonserver) -> None:
    folder = assemble_backends(triton)
    assert sorted(path.name for path in folder.iterdir()) == ["onnxruntime", "python", "tensorflow"]
    assert (folder / "onnxruntime").resolve() == triton.backends / "onnxruntime"
    assert not (folder / "python").is_symlink()
    assert (folder / "python" / "libtriton_python.so").read_text() == "library"
    assert (folder / "tensorflow" / "model.py").read_bytes() == (TENSORFLOW_BACKEND / "model.py").read_bytes()
    assert not (folder / "tensorflow" / "libtriton_tensorflow.so").exists()
    assert list(folder.rglob("__pycache__")) == []


def test_the_stub_of_our_python_is_added(triton: Tritonserver, tmp_path: Path) -> None:
    stub = tmp_path / "triton_python_backend_stub"
    stub.write_text("stub")
    with_stub = Tritonserver(triton.binary, triton.backends, (), stub, None)
    assert (assemble_backends(with_stub) / "python" / stub.name).read_text() == "stub"


def test_it_is_assembled_once_and_again_when_a_part_changes(triton: Tritonserver) -> None:
    first = assemble_backends(triton)
    assert assemble_backends(triton) == first
    library = triton.backends / "python" / "libtriton_python.so"
    os.utime(library, ns=(1, 1))
    assert assemble_backends(triton) != first
    assert not list(first.parent.glob(".backends-*"))


def test_a_server_without_a_python_backend_is_refused(triton: Tritonserver) -> None:
    (triton.backends / "python").rename(triton.backends / "other")
    with pytest.raises(ServerStartError) as caught:
        assemble_backends(triton)
    assert str(caught.value) == f"{triton.backends} has no python/; Trident needs Triton's Python backend"
