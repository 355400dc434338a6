"""The HTTP side of `trident_client.testing.FakeServer`."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import unquote

from trident_client.errors import ClientError
from trident_client.http_protocol import ERRORS, HEADER_LENGTH, decompress

Answer = Callable[[Sequence[str], bytes, Mapping[str, str]], Any]


class Refused(Exception):
    """An answer with another status than 200."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str]) -> None:
        """Answer with this status, this reason in JSON, and these headers beside."""
        super().__init__(reason)
        self.status = status
        self.headers = headers


class NoSuchModel(Refused):
    """There is no such model."""

    def __init__(self, reason: str) -> None:
        """Answer with 404."""
        super().__init__(404, reason, {})


class Listener:
    """Listens on a free port of 127.0.0.1 until it is closed, a thread a connection."""

    def __init__(self, answer: Answer) -> None:
        """Answer what comes.

        Args:
            answer: the parts of a path behind /v2, a body and headers with lower-case names → None, what becomes
                JSON, or JSON and bytes behind it. Raises `Refused` or a `ClientError`; anything else becomes a 500.
        """
        handler = type("Handler", (_Handler,), {"answer": staticmethod(answer), "open": set()})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._open: set[socket.socket] = handler.open  # type: ignore[attr-defined]
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close the port and all connections."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for connection in list(self._open):
            with contextlib.suppress(OSError):  # it has just ended
                connection.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients may go before they have their answer."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    answer: ClassVar[Answer]
    open: ClassVar[set[socket.socket]]

    def setup(self) -> None:
        super().setup()
        self.open.add(self.connection)

    def finish(self) -> None:
        self.open.discard(self.connection)
        super().finish()

    def do_GET(self) -> None:
        self._reply()

    def do_POST(self) -> None:
        self._reply()

    def _reply(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", "0")))
        body = decompress(body, headers.get("content-encoding"))
        parts = [unquote(part) for part in self.path.strip("/").split("/")]
        try:
            found = type(self).answer(parts[1:] if parts[0] == "v2" else parts, body, headers)
        except Refused as error:
            self._send(error.status, {"error": str(error)}, b"", error.headers)
        except Exception as error:
            status = next((status for status, kind in ERRORS.items() if type(error) is kind), 500)
            reason = str(error) if isinstance(error, ClientError) else f"{type(error).__name__}: {error}"
            self._send(status, {"error": reason}, b"", {})
        else:
            content, tensors = found if isinstance(found, tuple) else (found, b"")
            self._send(200, content, tensors, {})

    def _send(self, status: int, content: Any, tensors: bytes, headers: Mapping[str, str]) -> None:
        text = b"" if content is None else json.dumps(content).encode("utf-8")
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text) + len(tensors)))
        if tensors:
            self.send_header(HEADER_LENGTH, str(len(text)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text + tensors)

    def log_message(self, format: str, *args: Any) -> None:
        """A test's output is not the place for it."""
