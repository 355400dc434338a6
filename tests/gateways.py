"""A gateway in a process of its own, as an operator starts it."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from conftest import TRIDENT

END_S = 40


@dataclass(frozen=True)
class Gateway:
    """Where it listens.

    Attributes:
        http_url: over HTTP.
        grpc_url: over gRPC.
    """

    http_url: str
    grpc_url: str

    @property
    def http_port(self) -> int:
        """The port alone."""
        return int(self.http_url.rpartition(":")[2])


@contextlib.contextmanager
def gateway_before(http_url: str, *options: str) -> Iterator[Gateway]:
    """`trident gateway` before a server, on free ports; it must end well when it is told to."""
    command = [TRIDENT, "gateway", "--url", http_url, "--http-port", "0", "--grpc-port", "0", "--json", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            assert line, process.stderr and process.stderr.read()
            told = json.loads(line)
            yield Gateway(told["http_url"], told["grpc_url"])
            process.terminate()
            errors = process.communicate(timeout=END_S)[1]
            assert process.returncode == 0, errors[-3000:]
            assert errors == "Ctrl-C ends it.\nstopped\n", errors[-3000:]
        finally:
            process.kill()
