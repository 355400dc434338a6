"""What a server's supervisor knows of its health, and the endpoint that tells it.

Triton 24.10 calls a model ready whose process is dead; the supervisor knows better. `GET /health` on the health port
answers 200 if all models can serve and 503 if not, with the same JSON object in both cases.
"""

import http.client
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOST = "127.0.0.1"
TRITONSERVER = "tritonserver"
PATH = "/health"
SLOW_CALLER_S = 5.0


class Health:
    """Shared by the threads of a supervisor."""

    def __init__(self) -> None:
        """Nothing is known to be wrong."""
        self._lock = threading.Lock()
        self._faults: dict[str, str] = {}
        self._restarts: dict[str, int] = {}

    def fault(self, name: str, reason: str) -> None:
        """Note that a model, or tritonserver, cannot serve."""
        with self._lock:
            self._faults[name] = reason

    def mend(self, name: str) -> None:
        """Note that it can."""
        with self._lock:
            self._faults.pop(name, None)

    def lose_all(self, name: str, reason: str) -> None:
        """Note that nothing serves for one reason; whatever was wrong before does not matter any more."""
        with self._lock:
            self._faults = {name: reason}

    def count_restart(self, name: str) -> None:
        """Note that a process of a model, or tritonserver, was replaced."""
        with self._lock:
            self._restarts[name] = self._restarts.get(name, 0) + 1

    def told(self) -> dict[str, Any]:
        """`ready`; `not_ready`: name → why; `restarts`: name → how often a process was replaced."""
        with self._lock:
            return {"ready": not self._faults, "not_ready": dict(self._faults), "restarts": dict(self._restarts)}

    def serve(self, port: int) -> None:
        """Answer on a port of loopback until the process ends.

        Raises:
            OSError: the port is taken.
        """
        handler = type("Handler", (_Handler,), {"health": self})
        endpoint = _Endpoint((HOST, port), handler)
        threading.Thread(target=endpoint.serve_forever, daemon=True).start()


class _Endpoint(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A load balancer may connect to see that it can, and reset the connection; nobody reads of that."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    health: Health
    timeout = SLOW_CALLER_S

    def do_GET(self) -> None:
        """Answer a caller."""
        told = self.health.told()
        known = self.path == PATH
        body = json.dumps(told if known else {"error": f"no {self.path[:100]}; ask for {PATH}"}).encode() + b"\n"
        self.send_response(404 if not known else 200 if told["ready"] else 503)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Probes come every few seconds; nobody reads of them."""


def read_health(port: int, timeout_s: float) -> dict[str, Any]:
    """What `Health.told` says on a port of this machine.

    Raises:
        OSError: nobody answers there.
        ValueError: it is no supervisor that answers.
    """
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout_s)
    try:
        connection.request("GET", PATH)
        told = json.loads(connection.getresponse().read())
    except http.client.HTTPException as error:
        raise ValueError(repr(error)) from error
    finally:
        connection.close()
    if not isinstance(told, dict) or not {"ready", "not_ready", "restarts"} <= set(told):
        raise ValueError(f"port {port} answers {told!r}")
    return told
