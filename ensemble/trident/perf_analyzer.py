"""Finds NVIDIA's perf_analyzer, or fetches it once, and becomes it."""

import importlib.util
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from trident.errors import DownloadError
from trident.paths import cache_dir
from trident.wheels import Wheel, unpack

# The last tritonclient release that carries the program.
WHEEL = Wheel(
    requirement="tritonclient==2.40.0",
    sha256="f270fdb61560894c20b6e7fcd4fc1bf837e51022092692b63a38692042fa18b8",
    folder="tritonclient-2.40.0.data/data/bin",
)
# It links these under names that the nvidia-pytriton wheel has hashed. Source: nvidia_pytriton.libs of 0.7.0.
LIBRARIES = {"libb64.so.0d": "libb64-*.so.0d", "libcudart.so.12": "libcudart-*.so.12*"}


def run(arguments: Sequence[str]) -> NoReturn:
    """Replace this process by perf_analyzer.

    Args:
        arguments: perf_analyzer's own.

    Raises:
        DownloadError: it is not on PATH and cannot be fetched.
    """
    installed = shutil.which("perf_analyzer")
    if installed:
        os.execv(installed, [installed, *arguments])
    folder = unpack(WHEEL, cache_dir() / "perf_analyzer-2.40.0")
    program = folder / "perf_analyzer"
    program.chmod(0o755)
    libraries = _link_libraries(folder / "lib")
    path = os.pathsep.join(filter(None, [str(libraries), os.environ.get("LD_LIBRARY_PATH")]))
    os.execve(program, [str(program), *arguments], os.environ | {"LD_LIBRARY_PATH": path})


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
