"""Finds NVIDIA's perf_analyzer, or fetches it once; becomes it, or runs it and reads what it wrote."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from trident.errors import BenchError, DownloadError
from trident.paths import cache_dir
from trident.wheels import Wheel, unpack

# The last tritonclient release that carries the program.
WHEEL = Wheel(
    requirement="tritonclient==2.40.0",
    sha256="f270fdb61560894c20b6e7fcd4fc1bf837e51022092692b63a38692042fa18b8",
    folder="tritonclient-2.40.0.data/data/bin",
)
# What it says if nothing was answered in a window. Source: perf_analyzer 2.40.0, tried.
UNANSWERED = ("Failed to obtain stable measurement", "No valid requests recorded")
# It links these under names that the nvidia-pytriton wheel has hashed. Source: nvidia_pytriton.libs of 0.7.0.
LIBRARIES = {"libb64.so.0d": "libb64-*.so.0d", "libcudart.so.12": "libcudart-*.so.12*"}


class NoAnswer(BenchError):
    """Nothing was answered within a window."""


def run(arguments: Sequence[str]) -> NoReturn:
    """Replace this process by perf_analyzer.

    Args:
        arguments: perf_analyzer's own.

    Raises:
        DownloadError: it is not on PATH and cannot be fetched.
    """
    program, environment = find()
    os.execve(program, [program, *arguments], environment)


def measure(arguments: Sequence[str], timeout_s: float) -> tuple[dict[str, Any], str]:
    """Run perf_analyzer to its end.

    Args:
        arguments: perf_analyzer's own, without `--profile-export-file`.
        timeout_s: when to give it up: it waits for a server that answers nothing.

    Returns:
        Its profile export, and what it printed.

    Raises:
        DownloadError: it is not on PATH and cannot be fetched.
        NoAnswer: nothing was answered in one of its windows.
        BenchError: it failed; the message is its own.
    """
    program, environment = find()
    with tempfile.TemporaryDirectory(prefix="trident-bench-") as folder:
        export = Path(folder) / "profile.json"
        command = [program, *arguments, "--profile-export-file", str(export)]
        try:
            ended = subprocess.run(
                command, env=environment, capture_output=True, text=True, errors="replace", timeout=timeout_s
            )
        except subprocess.TimeoutExpired:
            raise BenchError(
                f"perf_analyzer did not end within {timeout_s:.0f} s; does the server answer? `trident status` tells"
            ) from None
        said = ended.stderr + ended.stdout
        if ended.returncode and any(words in said for words in UNANSWERED):
            raise NoAnswer("perf_analyzer got no answer in one of its windows; allow more with --seconds")
        if ended.returncode or not export.is_file():
            raise BenchError(f"perf_analyzer: {_complaint(said)}")
        return json.loads(export.read_bytes()), ended.stdout


def version() -> str:
    """Of the program, as it says it; empty if it does not.

    Raises:
        DownloadError: it is not on PATH and cannot be fetched.
    """
    program, environment = find()
    said = subprocess.run([program, "--version"], env=environment, capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+\.\d+", said.stdout)
    return found[0] if found else ""


def find() -> tuple[str, dict[str, str]]:
    """The program and the environment that it wants.

    Raises:
        DownloadError: it is not on PATH and cannot be fetched.
    """
    installed = shutil.which("perf_analyzer")
    if installed:
        return installed, dict(os.environ)
    folder = unpack(WHEEL, cache_dir() / "perf_analyzer-2.40.0")
    program = folder / "perf_analyzer"
    program.chmod(0o755)
    libraries = _link_libraries(folder / "lib")
    path = os.pathsep.join(filter(None, [str(libraries), os.environ.get("LD_LIBRARY_PATH")]))
    return str(program), os.environ | {"LD_LIBRARY_PATH": path}


def _complaint(output: str) -> str:
    """The line of its output that says what went wrong; the usage that it prints on top of that is long."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    marked = [line for line in lines if "error:" in line.lower() or line.startswith("Failed")]
    return next(iter(marked), lines[-1] if lines else "it failed and said nothing")


def _link_libraries(folder: Path) -> Path:
    spec = importlib.util.find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise DownloadError(
            "perf_analyzer needs libraries of nvidia-pytriton: pip install '.[server]' in Trident's folder"
        )
    source = Path(spec.origin).parent.parent / "nvidia_pytriton.libs"
    folder.mkdir(exist_ok=True)
    for name, pattern in LIBRARIES.items():
        found = next(source.glob(pattern))
        link = folder / name
        if not link.exists():
            link.unlink(missing_ok=True)  # it pointed into an environment that is gone
            link.symlink_to(found)
    return folder
