"""A small HTTP server that answers as Triton does, with labels that follow from the items alone."""

import json
import math
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
FAILURE = "in ensemble 'spam', Model 'spam_postprocess': failed; the server's log has the cause."
COLUMNS = {"rooms": "FP32", "city": "BYTES"}  # the inputs of `houses` and `flats`
# Service → its inputs and outputs, name → data type.
SERVICES = {
    "spam": ({"text": "BYTES"}, {"label": "BYTES", "score": "FP32"}),
    "shapes": ({"image": "BYTES"}, {"label": "BYTES", "score": "FP32"}),
    "meanings": ({"text": "BYTES"}, {"embedding": "FP32"}),
    "houses": (COLUMNS, {"value": "FP32"}),
    "flats": (COLUMNS, {"label": "BYTES", "score": "FP32"}),
    "records": ({"record": "BYTES"}, {"value": "FP32"}),
}


def expected(item: bytes | str, top_k: int = 1) -> list[tuple[str, float]]:
    """Labels and scores that the server gives an item, best first."""
    value = zlib.crc32(item.encode() if isinstance(item, str) else item)
    best = 0.5 + (value % 500) / 1000
    return [(LABELS[value % 2], best), (LABELS[1 - value % 2], 1 - best)][:top_k]


class ScoringServer(ThreadingHTTPServer):
    """Serves `SERVICES`: of records the label is that of the city, and the value a hundred for each room.

    Attributes:
        delay_s: that a request takes.
        answers: requests it answers before `status` instead; None: all.
        status: of what it answers then.
        version: of all models.
        max_batch_size: likewise.
        sizes: items of each request.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.delay_s = 0.0
        self.answers: int | None = None
        self.status = 503
        self.version = "1"
        self.max_batch_size = MAX_BATCH_SIZE
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
        if name not in SERVICES:
            self._answer(404, {"error": f"Request for unknown model: '{name}' is not found"})
            return
        inputs, outputs = SERVICES[name]
        if rest:
            config = [{"name": key, "data_type": f"TYPE_{_in_configs(kind)}"} for key, kind in inputs.items()]
            self._answer(200, {"name": name, "max_batch_size": self.server.max_batch_size, "input": config})
        else:
            tensors = {
                side: [_tensor(*entry) for entry in entries.items()]
                for side, entries in (("inputs", inputs), ("outputs", outputs))
            }
            self._answer(200, {"name": name, "versions": [self.server.version], **tensors})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        length = int(self.headers["Inference-Header-Content-Length"])
        request = json.loads(body[:length])
        tensors = _tensors(request["inputs"], body[length:])
        rooms = [value for (value,) in struct.iter_unpack("<f", tensors.pop("rooms", b""))]
        (items,) = map(_items, tensors.values())
        server = self.server
        server.sizes.append(len(items))
        time.sleep(server.delay_s)
        if server.answers is not None:
            server.answers -= 1
            if server.answers < 0:
                self._answer(server.status, {"error": "the queue is full"})
                return
        if any(item.startswith(b"fail") for item in items):
            self._answer(500, {"error": FAILURE})
            return
        refused = [item for item in items if item.startswith(b"refuse")]
        if refused:
            self._answer(400, {"error": f"one of {len(items)} texts cannot be read"})
            return
        if missing := sum(map(math.isnan, rooms)):
            self._answer(400, {"error": f"{missing} of {len(items)} records have no rooms"})
            return
        if self.path.split("/")[3] == "houses":
            values = b"".join(struct.pack("<f", 100 * value) for value in rooms)
            about = {"name": "value", "datatype": "FP32", "shape": [len(rooms), 1]}
            outputs = [about | {"parameters": {"binary_data_size": len(values)}}]
            self._answer(200, {"model_name": "houses", "model_version": "1", "outputs": outputs}, values)
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


def _tensor(name: str, kind: str) -> dict[str, Any]:
    return {"name": name, "datatype": kind, "shape": [-1, 1]}


def _in_configs(kind: str) -> str:
    return "STRING" if kind == "BYTES" else kind


def _tensors(entries: list[dict[str, Any]], raw: bytes) -> dict[str, bytes]:
    """The bytes of each input, which lie one behind the other."""
    tensors, at = {}, 0
    for entry in entries:
        size = entry["parameters"]["binary_data_size"]
        tensors[entry["name"]] = raw[at : at + size]
        at += size
    return tensors


def _items(raw: bytes) -> list[bytes]:
    """BYTES as the protocol has them: lengths of four bytes, each before its item."""
    items, at = [], 0
    while at < len(raw):
        (size,) = struct.unpack_from("<I", raw, at)
        items.append(raw[at + 4 : at + 4 + size])
        at += 4 + size
    return items
