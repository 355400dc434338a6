"""The rules of dependency: who may import, start or call what. They are read from the source, not from a run."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRIDENT = ROOT / "ensemble" / "trident"
CLIENT = ROOT / "client" / "trident_client"
BACKENDS, STAGES = TRIDENT / "backends", TRIDENT / "stages"
SOURCES = sorted([*TRIDENT.rglob("*.py"), *CLIENT.rglob("*.py")])
TENSORFLOW = {"tensorflow", "keras", "keras_hub", "tf_keras"}
# What starts a program or a process: modules, and functions of `os` by how they begin.
PROCESS_MODULES = {"subprocess", "multiprocessing", "pty"}
PROCESS_CALLS = tuple(f"os.{name}" for name in ("exec", "spawn", "posix_spawn", "fork", "system", "popen"))


def offenders(found: dict[Path, set[str]], allowed: tuple[Path, ...] = ()) -> dict[str, set[str]]:
    """What was found in files that are not among, or below, the allowed ones; a file without findings is left out."""
    return {
        str(path.relative_to(ROOT)): names
        for path, names in found.items()
        if names and not any(path.is_relative_to(place) for place in allowed)
    }


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path, module_level: bool = False) -> set[str]:
    """Full names of what a file imports, `a.b.c` for `from a.b import c`; relative ones begin with a dot."""
    found = set()
    for node in _at_module_level(parsed(path)) if module_level else ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found |= {f"{module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call):  # importlib.import_module("a.b"), __import__("a.b")
            called = ast.unparse(node.func)
            if called in ("importlib.import_module", "import_module", "__import__"):
                if path.name == "keras_models.py":  # what --custom-objects names
                    continue
                assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno} imports what cannot be read"
                found.add(str(node.args[0].value))
    return found


def _at_module_level(tree: ast.AST) -> Iterator[ast.AST]:
    """Everything that runs when the module is imported."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            yield from _at_module_level(node)


def packages(path: Path, module_level: bool = False) -> set[str]:
    """The top-level packages that a file imports, without the standard library and relative imports."""
    names = {name.split(".")[0] for name in imported(path, module_level) if not name.startswith(".")}
    return names - set(sys.stdlib_module_names)


def called(path: Path) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)}


def test_the_sources_are_found() -> None:
    assert {TRIDENT / "cli.py", BACKENDS / "tensorflow" / "model.py", CLIENT / "client.py"} <= set(SOURCES)


@pytest.mark.parametrize(
    ("folder", "allowed"),
    [
        (CLIENT, {"numpy", "tritonclient", "grpc", "aiohttp", "trident_client"}),  # tritonclient brings both
        (STAGES, {"numpy", "PIL", "tokenizers", "triton_python_backend_utils"}),
        (BACKENDS, {"numpy", "tensorflow", "google", "openvino", "triton_python_backend_utils", "triton_tensorflow"}),
    ],
    ids=["client", "stages", "backends"],
)
def test_what_is_copied_or_installed_alone_imports_only_what_it_declares(folder: Path, allowed: set[str]) -> None:
    assert offenders({path: packages(path) - allowed for path in folder.rglob("*.py")}) == {}


def test_of_google_a_backend_imports_only_protobuf() -> None:
    google = {path: {name for name in imported(path) if name.startswith("google")} for path in BACKENDS.rglob("*.py")}
    assert {name for names in google.values() for name in names if not name.startswith("google.protobuf.")} == set()


def test_stages_reach_only_their_siblings() -> None:
    """A version folder is flat: `.preprocess` lies beside model.py, and nothing lies above it."""
    strangers = {}
    for path in STAGES.rglob("*.py"):
        siblings = {f".{sibling.stem}" for sibling in path.parent.glob("*.py")} | {""}
        relative = {name for name in imported(path) if name.startswith(".")}
        strangers[path] = {name for name in relative if name.rpartition(".")[0] not in siblings}
    assert offenders(strangers) == {}


def test_tensorflow_is_imported_only_by_those_who_need_it() -> None:
    allowed = (BACKENDS, TRIDENT / "encoders.py", TRIDENT / "keras_models.py", TRIDENT / "savedmodel.py")
    assert offenders({path: packages(path) & TENSORFLOW for path in SOURCES}, allowed) == {}


def test_tensorflow_is_imported_only_when_it_is_used() -> None:
    found = {path: packages(path, module_level=True) & TENSORFLOW for path in SOURCES}
    assert offenders(found, (BACKENDS,)) == {}


def test_pyarrow_is_imported_only_where_parquet_is_read_and_written() -> None:
    """It is an extra; everything else works without it."""
    allowed = (TRIDENT / "scoring" / "parquet.py",)
    assert offenders({path: packages(path) & {"pyarrow"} for path in SOURCES}, allowed) == {}
    found = {
        path: {name for name in imported(path, True) if name.startswith("trident.scoring.parquet")} for path in SOURCES
    }
    assert offenders(found) == {}


def test_nobody_imports_the_command_line() -> None:
    cli = ("trident.cli", ".cli", "..cli")
    found = {path: {name for name in imported(path) if name.startswith(cli)} for path in SOURCES}
    assert offenders(found, (TRIDENT / "__main__.py",)) == {}


def test_processes_are_started_only_where_they_are_watched() -> None:
    allowed = (TRIDENT / "server", TRIDENT / "wheels.py", TRIDENT / "perf_analyzer.py", TRIDENT / "hdf5_head.py")
    modules = {path: {name.split(".")[0] for name in imported(path)} & PROCESS_MODULES for path in SOURCES}
    calls = {path: {call for call in called(path) if call.startswith(PROCESS_CALLS)} for path in SOURCES}
    assert offenders(modules, allowed) == {}
    assert offenders(calls, allowed) == {}


def test_the_package_of_the_server_names_each_of_its_modules() -> None:
    said = ast.get_docstring(parsed(TRIDENT / "server" / "__init__.py")) or ""
    modules = {path.stem for path in (TRIDENT / "server").glob("*.py")} - {"__init__"}
    assert {name.partition(".")[0] for name in re.findall(r"`([\w.]+)`", said)} == modules


def test_nobody_runs_python_between_a_fork_and_the_program() -> None:
    """With `preexec_fn` subprocess forks, and gRPC's handlers of a fork were seen to wait for ever."""
    found = {
        path: {node.arg for node in ast.walk(parsed(path)) if isinstance(node, ast.keyword) and node.arg}
        & {"preexec_fn"}
        for path in (*SOURCES, *(ROOT / "tests").rglob("*.py"))
    }
    assert offenders(found) == {}


def test_only_the_transports_call_servers() -> None:
    """The others use tritonclient's messages and encodings, which call nobody."""
    calling = {"socket", "http.client", "aiohttp", "asyncio", "threading", "select"}
    used = {path: imported(path) & calling for path in CLIENT.glob("*.py")}
    waiting = (*CLIENT.glob("*_transport.py"), CLIENT / "async_waiting.py", CLIENT / "blocking.py")
    assert offenders(used, (*waiting, CLIENT / "testing.py", CLIENT / "fake_http.py")) == {}
    triton = {path: {name for name in imported(path) if name.split(".")[0] == "tritonclient"} for path in SOURCES}
    found = offenders(triton, tuple(CLIENT.glob("*_transport.py")))
    assert {name.rpartition(".")[0] for name in found.pop("client/trident_client/tensors.py")} == {"tritonclient.utils"}
    assert found == {
        "ensemble/trident/configs.py": {"tritonclient.grpc.model_config_pb2"},
        "ensemble/trident/pins.py": {"tritonclient.grpc.model_config_pb2"},
        "ensemble/trident/gateway/checks.py": {"tritonclient.grpc.service_pb2"},
        "client/trident_client/grpc_protocol.py": {"tritonclient.grpc.service_pb2"},
    }


def test_the_command_line_starts_without_what_only_training_and_building_need() -> None:
    script = "import json, sys, trident.cli; print(json.dumps(sorted(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    modules = set(json.loads(result.stdout))
    heavy = {*TENSORFLOW, "tokenizers", "pydantic", "tritonclient.http", "tritonclient.grpc", "matplotlib", "pyarrow"}
    heavy |= {"asyncio", "grpc", "aiohttp", "gevent", "ssl", "http.client", "http.server"}
    assert modules & heavy == set()
    assert "trident_client" in modules
