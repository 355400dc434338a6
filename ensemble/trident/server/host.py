"""Whether this machine and this Python can run the embedded tritonserver.

Runs on its own too, before anything is installed: `python host.py` prints one line for what is missing.
"""

import platform
import sys
import sysconfig
from pathlib import Path

OLDEST, NEWEST = (3, 10), (3, 12)


def libpython() -> "Path | None":
    """The folder of this Python's shared library, which Triton's Python stub links; None if there is none."""
    name = "libpython{}.{}.so.1.0".format(*sys.version_info[:2])
    folders = [sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("LIBPL"), sys.base_prefix + "/lib"]
    multiarch = sysconfig.get_config_var("MULTIARCH")
    if multiarch:
        folders += [f"/usr/lib/{multiarch}", f"/lib/{multiarch}"]
    return next((Path(folder) for folder in folders if folder and (Path(folder) / name).exists()), None)


def problems() -> "list[str]":
    """What is missing, a line each; empty if all is there."""
    found = "{}.{}".format(*sys.version_info[:2])
    lines = []
    if sys.platform != "linux" or platform.machine() != "x86_64":
        lines.append(f"this is {sys.platform} on {platform.machine()}; Triton's wheel runs on Linux x86_64 only")
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        lines.append(f"this is Python {found}; use 3.10, 3.11 or 3.12, for instance: make PYTHON=python3.11")
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        lines.append(f"Python {found} has no venv module; on Debian: apt-get install python3-venv")
    if libpython() is None:
        lines.append(
            f"Python {found} has no shared library libpython{found}.so.1.0, which Triton's Python backend links; "
            f"on Debian: apt-get install libpython{found}; with pyenv: build it with --enable-shared"
        )
    return lines


if __name__ == "__main__":
    faults = problems()
    if faults:
        sys.exit("Trident cannot be set up: " + "; ".join(faults))
