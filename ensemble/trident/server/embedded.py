"""Finds a tritonserver and assembles the backend directory that it is started with.

Source: nvidia-pytriton 0.7.0 (tritonserver 2.51.0, release 24.10), the layout of its wheel.
"""

import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from trident.errors import ServerStartError
from trident.paths import cache_dir
from trident.server.host import libpython

TENSORFLOW_BACKEND = Path(__file__).resolve().parent.parent / "backends" / "tensorflow"


@dataclass(frozen=True)
class Tritonserver:
    """A tritonserver and what belongs to it.

    Attributes:
        binary: the program.
        backends: its own backend directory.
        libraries: folders for LD_LIBRARY_PATH.
        stub: the Python backend's stub to add to `backends/python`; None if it is already there.
        caches: its cache directory, if it has one.
    """

    binary: Path
    backends: Path
    libraries: tuple[Path, ...]
    stub: Path | None
    caches: Path | None

    def environment(self) -> dict[str, str]:
        """The environment to start it in: our Python first, so that the stubs find our packages."""
        values = dict(os.environ)
        folders = [str(folder) for folder in self.libraries]
        values["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, [*folders, values.get("LD_LIBRARY_PATH")]))
        values["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), values.get("PATH", "")])
        values.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        return values


def find_tritonserver(option: Path | None = None) -> Tritonserver:
    """Find tritonserver: the option, TRIDENT_TRITONSERVER, PATH, the nvidia-pytriton wheel, in that order.

    Raises:
        ServerStartError: a path was named and is no program, or there is none anywhere.
    """
    named = option or os.environ.get("TRIDENT_TRITONSERVER") or shutil.which("tritonserver")
    if named:
        binary = Path(named).resolve()
        if not os.access(binary, os.X_OK) or not binary.is_file():
            raise ServerStartError(f"{named} is no program; name a tritonserver, or none to use the embedded one")
        base = binary.parent.parent
        return Tritonserver(binary, base / "backends", (base / "lib",), None, base / "caches")
    spec = importlib.util.find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise ServerStartError("no tritonserver found; install one with: pip install '.[server]' in Trident's folder")
    return _from_wheel(Path(spec.origin).parent / "tritonserver")


def _from_wheel(base: Path) -> Tritonserver:
    version = "{}.{}".format(*sys.version_info[:2])
    stub = base / "python_backend_stubs" / version / "triton_python_backend_stub"
    folder = libpython()
    if not stub.is_file() or folder is None:
        missing = f"no Python backend stub for Python {version}" if folder else f"no shared library of Python {version}"
        raise ServerStartError(f"{missing}; use Python 3.10 to 3.12 (on Debian with libpython{version} installed)")
    libraries = (base.parent.parent / "nvidia_pytriton.libs", folder)
    return Tritonserver(base / "bin" / "tritonserver", base / "backends", libraries, stub, base / "caches")


def assemble_backends(triton: Tritonserver) -> Path:
    """A backend directory with Triton's own backends and our `tensorflow`, made once and kept in the cache.

    Raises:
        ServerStartError: the server has no Python backend.
    """
    if not (triton.backends / "python").is_dir():
        raise ServerStartError(f"{triton.backends} has no python/; Trident needs Triton's Python backend")
    target = cache_dir() / f"backends-{_fingerprint(triton)}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".backends-", dir=target.parent))
    try:
        for backend in triton.backends.iterdir():
            if backend.name not in ("python", "tensorflow"):
                (staging / backend.name).symlink_to(backend)
        ignore = shutil.ignore_patterns("__pycache__")
        # Copied: Triton refuses a backend library that a link leads out of its folder.
        shutil.copytree(triton.backends / "python", staging / "python", ignore=ignore)
        shutil.copytree(TENSORFLOW_BACKEND, staging / "tensorflow", ignore=ignore)
        if triton.stub is not None:
            shutil.copy2(triton.stub, staging / "python")
        staging.chmod(0o755)
        staging.rename(target)
    except OSError:
        if not target.is_dir():  # else another process was faster, and its result is the same
            raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def _fingerprint(triton: Tritonserver) -> str:
    """Changes with whatever `assemble_backends` copies."""
    total = hashlib.sha256()
    for root in filter(None, (triton.backends / "python", TENSORFLOW_BACKEND, triton.stub)):
        for path in sorted([root, *root.rglob("*")]):
            if path.is_file() and "__pycache__" not in path.parts:
                status = path.stat()
                total.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return total.hexdigest()[:16]
