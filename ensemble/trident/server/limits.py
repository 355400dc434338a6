"""What a server may take: bytes of a request, and connections at once.

Source: triton-inference-server/server 26.06, src/command_line_parser.cc, `--http-max-input-size`; release 24.10 has no
such option and takes requests over HTTP of any size.
"""

import resource
import subprocess

from trident.server.embedded import Tritonserver

REQUEST_BYTES = 2**28  # 64 images of 4 MB
FILES = 65_536  # each connection is an open file; 1,024, what a shell allows, lets a thousand idle callers shut all out
HELP_S = 30.0


def request_size_options(triton: Tritonserver) -> list[str]:
    """The arguments that limit a request over HTTP; none where the program knows no such option."""
    try:
        told = subprocess.run(
            [str(triton.binary), "--help"],
            env=triton.environment(),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=HELP_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []  # the start itself says better what is wrong
    known = "--http-max-input-size" in told.stdout + told.stderr
    return [f"--http-max-input-size={REQUEST_BYTES}"] if known else []


def allow_connections(pid: int) -> None:
    """Let a process, and those that it starts, hold `FILES` files open, or as many as this machine allows."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    most = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, hard))
