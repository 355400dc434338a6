"""A tritonserver that can limit the size of a request is told to, and a server may hold many connections."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from trident.server.embedded import Tritonserver
from trident.server.limits import FILES, REQUEST_BYTES, allow_connections, request_size_options

NEWER = "echo '  --http-max-input-size <integer>'"


def tritonserver(path: Path, script: str) -> Tritonserver:
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return Tritonserver(path, path.parent, (), None, None)


@pytest.mark.parametrize(
    ("script", "options"),
    [
        (NEWER, [f"--http-max-input-size={REQUEST_BYTES}"]),
        (f"{NEWER} >&2; exit 1", [f"--http-max-input-size={REQUEST_BYTES}"]),
        ("echo '  --http-thread-count <integer>'", []),
        ("exit 1", []),
    ],
    ids=["newer", "on stderr", "24.10", "broken"],
)
def test_the_size_of_a_request_is_limited_where_the_program_can(
    tmp_path: Path, script: str, options: list[str]
) -> None:
    assert request_size_options(tritonserver(tmp_path / "tritonserver", script)) == options


def test_a_program_that_cannot_be_run_is_told_nothing(tmp_path: Path) -> None:
    missing = Tritonserver(tmp_path / "nothing", tmp_path, (), None, None)
    assert request_size_options(missing) == []


@pytest.mark.parametrize(("soft", "then"), [(256, FILES), (FILES, FILES)])
def test_a_process_may_hold_many_files_open(soft: int, then: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        before = min(soft, hard)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (before, hard))
        allow_connections(process.pid)
        assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == (min(then, hard), hard)
        process.communicate(b"\n")
