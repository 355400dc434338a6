"""What tritonserver was told with `--backend-config=tensorflow,NAME=VALUE`, or for all backends.

Triton hands a Python-based backend only the settings of the Python backend, so they are read from the command line
of the process that started this one. A server that is embedded in another program has none.
Source: triton-inference-server/core, src/backend_manager.cc, ResolveBackendConfigs (r24.10 to 26.x).
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

PREFIX = "tensorflow,"
OF_ALL_BACKENDS = "default-max-batch-size="  # the one setting that may stand without a backend's name
ANCESTORS = 8  # the stub may be started through a shell


def read_server_options(process: str = "self") -> dict[str, str]:
    """The settings for `tensorflow`, name → value; empty if there is no command line to read."""
    proc = Path("/proc") / process
    for _ in range(ANCESTORS):
        try:
            arguments = (proc / "cmdline").read_bytes().decode(errors="replace").split("\0")
            parent = (proc / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1]
        except OSError:
            return {}
        found = parse(arguments)
        if found or parent == "0":
            return found
        proc = Path("/proc") / parent
    return {}


def parse(arguments: Sequence[str]) -> dict[str, str]:
    """The settings for `tensorflow` among a command line's arguments; its own go before those of all backends."""
    values = [value.partition("=")[2] for value in arguments if value.startswith("--backend-config=")]
    values += [value for key, value in pairwise(arguments) if key == "--backend-config"]
    found = [value for value in values if value.startswith(OF_ALL_BACKENDS)]
    found += [value.removeprefix(PREFIX) for value in values if value.startswith(PREFIX)]
    return {name: value for name, _, value in (entry.partition("=") for entry in found)}
