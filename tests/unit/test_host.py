"""What the machine lacks is told before anything is installed, each with its remedy."""

import platform
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from trident.server import host

VERSION = "{}.{}".format(*sys.version_info[:2])


def test_this_machine_can_run_the_server() -> None:
    assert host.problems() == []


def test_the_folder_of_libpython_holds_it() -> None:
    folder = host.libpython()
    assert folder is not None
    assert (folder / f"libpython{VERSION}.so.1.0").exists()


def test_another_processor_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert host.problems() == ["this is linux on aarch64; Triton's wheel runs on Linux x86_64 only"]


@pytest.mark.parametrize(("version", "shown"), [((3, 9, 0), "3.9"), ((3, 13, 1), "3.13")])
def test_another_python_is_told(monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...], shown: str) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    assert f"this is Python {shown}; use 3.10, 3.11 or 3.12, for instance: make PYTHON=python3.11" in host.problems()


@pytest.mark.parametrize("version", [(3, 10, 0), (3, 12, 9)])
def test_supported_pythons_are_not_told(monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...]) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    assert not [line for line in host.problems() if line.startswith("this is Python")]


def test_a_python_without_a_shared_library_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: None)
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    lacking = f"Python {VERSION} has no shared library libpython{VERSION}.so.1.0, which Triton's Python backend links"
    remedy = f"on Debian: apt-get install libpython{VERSION}; with pyenv: build it with --enable-shared"
    assert host.problems() == [f"{lacking}; {remedy}"]


def test_a_python_without_venv_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    assert host.problems() == [f"Python {VERSION} has no venv module; on Debian: apt-get install python3-venv"]


def test_it_runs_as_a_file_without_trident() -> None:
    command = [sys.executable, "-S", "-E", host.__file__]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
