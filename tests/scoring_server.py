"""A small HTTP server that answers as Triton does, with labels that follow from the items alone."""

import json
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MAX_BATCH_SIZE = 16
LABELS = ("ham", "spam")


def expected(item: bytes | str, top_k: int = 1) -> list[tuple[str, float]]:
    """Labels and scores that the server gives an item, best first."""
    value = zlib.crc32(item.encode() if isinstance(item, str) else item)
    best = 0.5 + (value % 500) / 1000
    return [(LABELS[value % 2], best), (LABELS[1 - value % 2], 1 - best)][:top_k]


class ScoringServer(ThreadingHTTPServer):
    """Serves `spam` (texts), `shapes` (images) and `meanings` (no labels).

    Attributes:
        delay_s: that a request takes.
        answers: requests it answers before `status` instead; None: all.
        status: of what it answers then.
        version: of all models.
        sizes: items of each request.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.delay_s = 0.0
        self.answers: int | None = None
        self.status = 503
        self.version = "1"
        self.sizes: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def running() -> Iterator[ScoringServer]:
    """A server that listens until the block ends."""
    with ScoringServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    server: ScoringServer

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        _, _, _, name, *rest = self.path.split("/")
        if name not in ("spam", "shapes", "meanings"):
            self._answer(404, {"error": f"Request for unknown model: '{name}' is not found"})
        elif rest:
            self._answer(200, {"name": name, "max_batch_size": MAX_BATCH_SIZE})
        else:
            outputs = ["embedding"] if name == "meanings" else ["label", "score"]
            self._answer(
                200,
                {
                    "name": name,
                    "versions": [self.server.version],
                    "inputs": [_tensor("image" if name == "shapes" else "text")],
                    "outputs": [_tensor(output) for output in outputs],
                },
            )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        length = int(self.headers["Inference-Header-Content-Length"])
        request, items = json.loads(body[:length]), _items(body[length:])
        server = self.server
        server.sizes.append(len(items))
        time.sleep(server.delay_s)
        if server.answers is not None:
            server.answers -= 1
            if server.answers < 0:
                self._answer(server.status, {"error": "the queue is full"})
                return
        refused = [item for item in items if item.startswith(b"refuse")]
        if refused:
            self._answer(400, {"error": f"one of {len(items)} texts cannot be read"})
            return
        rows = [expected(item, request.get("parameters", {}).get("top_k", 1)) for item in items]
        names = b"".join(struct.pack("<I", len(name)) + name.encode() for row in rows for name, _ in row)
        scores = b"".join(struct.pack("<f", value) for row in rows for _, value in row)
        outputs = [
            {
                "name": name,
                "datatype": kind,
                "shape": [len(rows), len(rows[0])],
                "parameters": {"binary_data_size": size},
            }
            for name, kind, size in (("label", "BYTES", len(names)), ("score", "FP32", len(scores)))
        ]
        self._answer(200, {"model_name": "spam", "model_version": "1", "outputs": outputs}, names + scores)

    def _answer(self, status: int, content: dict[str, Any], tensors: bytes = b"") -> None:
        head = json.dumps(content).encode()
        self.send_response(status)
        if self.command == "GET":  # so that the next request finds out whether the server still listens
            self.send_header("Connection", "close")
        self.send_header("Content-Type", "application/octet-stream" if tensors else "application/json")
        if tensors:
            self.send_header("Inference-Header-Content-Length", str(len(head)))
        self.send_header("Content-Length", str(len(head) + len(tensors)))
        self.end_headers()
        self.wfile.write(head + tensors)


def _tensor(name: str) -> dict[str, Any]:
    return {"name": name, "datatype": "BYTES", "shape": [-1, 1]}


def _items(raw: bytes) -> list[bytes]:
    """BYTES as the protocol has them: lengths of four bytes, each before its item."""
    items, at = [], 0
    while at < len(raw):
        (size,) = struct.unpack_from("<I", raw, at)
        items.append(raw[at + 4 : at + 4 + size])
        at += 4 + size
    return items
