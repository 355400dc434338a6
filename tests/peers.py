"""Servers that behave badly, or stand between a client and a good one: real sockets on loopback, optionally TLS."""

import contextlib
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

Behave = Callable[[socket.socket], None]


class Peer:
    """Gives each connection to `behave`, on a thread; closes it afterwards, and all of them at the end."""

    def __init__(self, behave: Behave, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        """Listen on 127.0.0.1; on a free port if it is 0."""
        self.connections = 0
        self._behave = behave
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", port), backlog=64)
        self._open: list[socket.socket] = []
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def close(self) -> None:
        """Close the port and all connections."""
        close(self._listener)
        self._accepting.join()
        for connection in self._open:
            close(connection)

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()[0]
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with (
            contextlib.suppress(OSError, ValueError),
            connection,
            self._tls.wrap_socket(connection, server_side=True) if self._tls else connection as spoken,
        ):
            self._behave(spoken)
            close(spoken)


def close(connection: socket.socket) -> None:
    """Close a socket, and wake whoever waits for it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def read_request(connection: socket.socket) -> bytes:
    """The head of an HTTP request, and at least as much of its body as came with it."""
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = connection.recv(65536)
        if not chunk:
            break
        received += chunk
    return received


def answering(content: bytes, then: Callable[[], object] = lambda: None) -> Behave:
    """Read a request, send these bytes, and do something before the connection is closed."""

    def behave(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(content)
        then()

    return behave


def relay(
    port: int, connection: socket.socket, until: threading.Event | None = None, answer_bytes: int = sys.maxsize
) -> None:
    """Carry bytes between a connection and a port of this machine.

    It ends with one of them, with the time, or when so many bytes of answers have been carried.
    """
    with socket.create_connection(("127.0.0.1", port)) as target:
        ended = until or threading.Event()
        for source, sink, most in ((connection, target, sys.maxsize), (target, connection, answer_bytes)):
            threading.Thread(target=_pump, args=(source, sink, most, ended), daemon=True).start()
        ended.wait()
        close(target)


def _pump(source: socket.socket, sink: socket.socket, most: int, ended: threading.Event) -> None:
    with contextlib.suppress(OSError, ValueError):
        while most > 0 and (chunk := source.recv(min(65536, most))):
            sink.sendall(chunk)
            most -= len(chunk)
    ended.set()


# -- certificates ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Certificate:
    """PEM files of a certificate and its key."""

    certificate: Path
    key: Path


def make_authority(folder: Path) -> Certificate:
    """An authority of one's own."""
    made = Certificate(folder / "ca.pem", folder / "ca.key")
    _openssl("req", "-x509", *_new_key(made.key), "-out", made.certificate, "-days", "2", "-subj", "/CN=test authority")
    return made


def make_certificate(folder: Path, name: str, authority: Certificate, days: int = 2) -> Certificate:
    """A certificate for 127.0.0.1 and localhost; one of negative days has expired."""
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    request = folder / f"{name}.csr"
    names = ("-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost")
    _openssl("req", *_new_key(made.key), "-out", request, "-subj", f"/CN={name}", *names)
    signer = ("-CA", authority.certificate, "-CAkey", authority.key, "-CAcreateserial")
    copy = ("-copy_extensions", "copy", "-days", days, "-out", made.certificate)
    _openssl("x509", "-req", "-in", request, *signer, *copy)
    return made


def server_context(own: Certificate, clients: Certificate | None = None) -> ssl.SSLContext:
    """TLS of a server, which asks for a certificate that `clients` signed if that is given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.certificate, own.key)
    context.set_alpn_protocols(["h2", "http/1.1"])
    if clients is not None:
        context.load_verify_locations(clients.certificate)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _new_key(file: Path) -> tuple[object, ...]:
    return ("-newkey", "rsa:2048", "-nodes", "-keyout", file)


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)


@contextmanager
def dropping() -> Iterator[str]:
    """An address, HOST:PORT, that answers nobody who connects: Linux drops what comes to a queue that is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def refusing() -> Iterator[str]:
    """An address that refuses connections, HOST:PORT: it is bound and nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"
