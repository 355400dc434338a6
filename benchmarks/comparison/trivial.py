"""A server that answers every request at once: how fast the load generator is. `python -m comparison.trivial PORT`."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import cast

from comparison.load import HOST, closed_loop, is_complete, post, summarize
from comparison.processes import free_port

GENERATOR_S = 2.0

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Trivial(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what answers go to."""
        self.transport, self.buffer = cast(asyncio.Transport, transport), b""

    def data_received(self, data: bytes) -> None:
        """Answer once a request is complete."""
        self.buffer += data
        if is_complete(self.buffer):
            self.buffer = b""
            self.transport.write(ANSWER)


async def main(port: int) -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Trivial, HOST, port)
    await server.serve_forever()


def measure_generator() -> dict[str, float]:
    """What the load generator makes of a server that does nothing, with 64 callers, and what a request costs it."""
    port = free_port()
    folder = str(Path(__file__).parent.parent)
    environment = os.environ | {"PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}"}
    with subprocess.Popen([sys.executable, "-m", "comparison.trivial", str(port)], env=environment) as process:
        try:
            deadline = time.monotonic() + 10
            while True:
                try:
                    run = closed_loop(port, [post("/", b"{}", port)], 64, 0.0, GENERATOR_S)
                    sample = summarize(run.events, run.until - GENERATOR_S, run.until, [True])
                    return {"requests/s": sample.rate, "µs/request": 1e6 * run.cpu_s / len(run.events)}
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)
        finally:
            process.kill()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
