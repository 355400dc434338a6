"""An environment for each peer: made once by uv, from its requirements.txt, and made anew when that changes."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

PEERS = Path(__file__).parent.parent / "peers"
ENVIRONMENTS = PEERS / ".environments"
UV = "uv==0.13.9"
STAMP = "made-of"


class EnvironmentFailed(Exception):
    """A peer's environment cannot be made; the message says why."""


def environment(name: str, say: Callable[[str], None]) -> Path:
    """The environment of a peer; all share one cache and its files (hard links), so TensorFlow is there once.

    Args:
        name: of the peer's folder.
        say: is told what is being made.

    Raises:
        EnvironmentFailed: it cannot be made.
    """
    requirements = PEERS / name / "requirements.txt"
    folder = ENVIRONMENTS / name
    stamp = hashlib.sha256(f"{sys.version}\n{requirements.read_text(encoding='utf-8')}".encode()).hexdigest()
    if (folder / STAMP).is_file() and (folder / STAMP).read_text() == stamp:
        return folder
    say(f"making the environment of {name} ...")
    shutil.rmtree(folder, ignore_errors=True)
    uv = _uv()
    _run([str(uv), "venv", "--quiet", "--python", sys.executable, str(folder)])
    python = str(folder / "bin" / "python")
    _run([str(uv), "pip", "install", "--quiet", "--python", python, "--requirement", str(requirements)])
    (folder / STAMP).write_text(stamp)
    return folder


def versions(name: str) -> dict[str, str]:
    """The packages of a peer's environment, by name."""
    lines = (PEERS / name / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split(";")[0].strip().split("==") for line in lines if "==" in line and not line.startswith("#")]
    return {pin[0]: pin[1] for pin in pins}


def _uv() -> Path:
    folder = ENVIRONMENTS / ".uv"
    program = folder / "bin" / "uv"
    if not program.is_file():
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        _run([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", UV])
    return program


def _run(command: list[str]) -> None:
    settings = {"UV_CACHE_DIR": str(ENVIRONMENTS / ".cache"), "UV_LINK_MODE": "hardlink"}
    result = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        lines = [line.strip() for line in (result.stderr + result.stdout).splitlines() if line.strip()]
        raise EnvironmentFailed(f"{Path(command[0]).name} failed: {' '.join(lines[-4:]) or 'it said nothing'}")
