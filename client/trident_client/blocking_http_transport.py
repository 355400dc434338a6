"""HTTP for threads: a pool of connections of `http.client`, with one deadline for everything a call waits for."""

import contextlib
import http.client
import io
import select
import socket
import ssl
import threading
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future
from typing import Any, TypeVar

from trident_client.blocking import current_abort
from trident_client.deadline import Deadline
from trident_client.errors import ClientError
from trident_client.failures import Failures, closed
from trident_client.http_protocol import HttpAnswer, HttpRequest, check_size
from trident_client.settings import Settings

T = TypeVar("T")
SocketT = TypeVar("SocketT", bound=socket.socket)

MOST_IDLE = 64
ONE_PIECE_BYTES = 65_536  # at most, for a request to be sent in one
PIECE_BYTES = 1_048_576  # of an answer whose length is not known


class BlockingHttpTransport:
    """See `protocol.Transport`; for any number of threads, each call on a connection of its own."""

    def __init__(self, settings: Settings) -> None:
        """Connect when the first call is made."""
        self._settings = settings
        self._tls = settings.tls_context()
        self._failures = Failures(settings.server)
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []
        self._in_use: set[_Connection] = set()
        self._closed = False

    async def send(self, request: HttpRequest, deadline: Deadline) -> HttpAnswer:
        """See `Transport`."""
        connection = self._take()
        connection.deadline = deadline
        try:
            answer = self._exchange(connection, request)
        except BaseException as error:  # an interrupt, too, leaves half an answer behind
            self._drop(connection)
            if self._closed and isinstance(error, ClientError):
                raise closed() from error
            raise
        self._give_back(connection)
        return answer

    async def close(self) -> None:
        """See `Transport`; connections in use are shut down, and close when their calls end, which is at once."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            for connection in self._in_use:
                connection.shut_down()
        for connection in idle:
            connection.close()

    def _exchange(self, connection: "_Connection", request: HttpRequest) -> HttpAnswer:
        abort = current_abort()
        if abort is None:
            return self._ask(connection, request)
        with abort.ends(connection.shut_down):
            return self._ask(connection, request)

    def _ask(self, connection: "_Connection", request: HttpRequest) -> HttpAnswer:
        self._raise_ours(connection.connect_if_needed, self._failures.unreachable, connection.deadline)

        def put_and_get() -> HttpAnswer:
            # Who refuses a large request may answer and go before all of it was sent.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.put(request)
            return connection.get()

        return self._raise_ours(put_and_get, self._failures.lost, connection.deadline)

    def _raise_ours(self, work: Callable[[], T], failed: Callable[[object], ClientError], deadline: Deadline) -> T:
        """Do it, and raise our error for whatever the libraries raise.

        Args:
            work: a step of a call.
            failed: makes the error of a connection that ends in this step.
            deadline: of the call.
        """
        try:
            return work()
        except TimeoutError as error:
            raise self._failures.timed_out(deadline) from error
        except ssl.SSLEOFError as error:
            raise failed("the connection ended") from error
        except ssl.SSLError as error:
            raise self._failures.untrusted(
                getattr(error, "verify_message", None) or getattr(error, "reason", None) or error
            ) from error
        except (http.client.RemoteDisconnected, http.client.IncompleteRead) as error:
            raise failed("the answer is cut off" if isinstance(error, http.client.IncompleteRead) else error) from error
        except OSError as error:
            raise failed(error.strerror or error) from error
        except (http.client.HTTPException, ValueError, UnicodeError, MemoryError, OverflowError) as error:
            raise self._failures.foreign(error) from error

    def _take(self) -> "_Connection":
        """The connection that was used last, if the server has not closed it; else a new one."""
        while True:
            with self._lock:
                if self._closed:
                    raise closed()
                connection = self._idle.pop() if self._idle else _Connection(self._settings, self._tls)
                self._in_use.add(connection)
            if connection.is_fresh():
                return connection
            self._drop(connection)

    def _drop(self, connection: "_Connection") -> None:
        with self._lock:
            self._in_use.discard(connection)
        connection.close()

    def _give_back(self, connection: "_Connection") -> None:
        with self._lock:
            self._in_use.discard(connection)
            if connection.sock is not None and not self._closed and len(self._idle) < MOST_IDLE:
                self._idle.append(connection)
                return
        connection.close()


class _Connection:
    """One connection; `deadline` is that of the call that uses it.

    `http.client` reads the answers. Requests are put together here: in one piece they take one system call and one
    packet, which is a tenth of a small request's time.
    """

    deadline: Deadline

    def __init__(self, settings: Settings, tls: ssl.SSLContext | None) -> None:
        self._address = settings.address
        self._host, self._port = settings.host, settings.port
        self._tls = tls
        self.sock: _TimedSocket | None = None
        self._is_shut_down = False

    def connect_if_needed(self) -> None:
        """Try each address of the host, for as long as the deadline allows all of them together."""
        if self.sock is not None:
            return
        failure: OSError = OSError("the name has no address")
        for family, kind, proto, _, address in _look_up(self._host, self._port, self.deadline):
            try:
                self._connect(socket.socket(family, kind, proto), address)
                return
            except (ssl.SSLError, TimeoutError):
                raise
            except OSError as error:
                self.close()
                failure = error
        raise failure

    def put(self, request: HttpRequest) -> None:
        """Send a request."""
        lines = [f"{request.method} {request.path} HTTP/1.1", f"Host: {self._address}"]
        lines += [f"{name}: {value}" for name, value in request.headers.items()]
        head = "\r\n".join([*lines, f"Content-Length: {len(request.body)}", "", ""]).encode("ascii")
        if len(request.body) <= ONE_PIECE_BYTES:
            self._connected.send(head + request.body)
        else:
            self._connected.send(head)
            self._connected.send(request.body)

    def get(self) -> HttpAnswer:
        """Read its answer."""
        response = http.client.HTTPResponse(self._connected)  # type: ignore[arg-type]
        with contextlib.closing(response):
            response.begin()
            answer = HttpAnswer(response.status, response.headers, _read_all(response))
        if response.will_close:
            self.close()
        return answer

    def close(self) -> None:
        if self.sock is not None:
            self.sock.raw.close()
            self.sock = None

    @property
    def _connected(self) -> "_TimedSocket":
        if self.sock is None:
            raise ConnectionError("the connection is closed")
        return self.sock

    def is_fresh(self) -> bool:
        """Whether nothing came since the last answer, neither the connection's end nor bytes that nobody asked for."""
        if self.sock is None:
            return True
        poll = select.poll()
        poll.register(self.sock.raw, select.POLLIN)
        return not poll.poll(0)

    def shut_down(self) -> None:
        """Wake the thread that waits for this connection, or for its beginning."""
        self._is_shut_down = True
        sock = self.sock
        if sock is not None:
            with contextlib.suppress(OSError):  # it has ended already
                # TLS has a shutdown of its own, after which the thread would send the rest in the clear.
                socket.socket.shutdown(sock.raw, socket.SHUT_RDWR)

    def _connect(self, raw: socket.socket, address: Any) -> None:
        self._use(raw).connect(address)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None:
            self._shake_hands(self._tls.wrap_socket(raw, do_handshake_on_connect=False, server_hostname=self._host))

    def _use(self, raw: SocketT) -> SocketT:
        """Let `shut_down` end what is waited for from now on."""
        self.sock = _TimedSocket(raw, self)
        if self._is_shut_down:
            raise ConnectionAbortedError("nobody waits for the connection any more")
        self.sock.wait_until_deadline()
        return raw

    def _shake_hands(self, raw: ssl.SSLSocket) -> None:
        try:
            self._use(raw).do_handshake()
        except (ssl.SSLEOFError, ConnectionResetError) as error:
            raise ssl.SSLError("it closed the connection at once") from error


def _look_up(host: str, port: int, deadline: Deadline) -> list[Any]:
    """The addresses of a host, as `socket.getaddrinfo` has them.

    The system's search for a name knows no time limit; where it takes longer, its thread is left behind.

    Raises:
        OSError: there are none.
        TimeoutError: there are none in time.
    """
    with contextlib.suppress(socket.gaierror):
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    found: Future[list[Any]] = Future()

    def search() -> None:
        try:
            found.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:
            found.set_exception(error)

    threading.Thread(target=search, name="trident-client-look-up", daemon=True).start()
    try:
        return found.result(deadline.left_s())
    except futures.TimeoutError:  # from Python 3.11 on the same as the other
        raise TimeoutError from None


def _read_all(response: http.client.HTTPResponse) -> bytes:
    if response.length is not None:
        check_size(response.length)
        return response.read()
    pieces, size = [], 0
    while piece := response.read(PIECE_BYTES):
        size += len(piece)
        check_size(size)
        pieces.append(piece)
    return b"".join(pieces)


class _TimedSocket:
    """What `http.client` needs of a socket, where each wait gets only what is left of the call's time."""

    def __init__(self, raw: socket.socket, connection: _Connection) -> None:
        self.raw = raw
        self._connection = connection

    def wait_until_deadline(self) -> socket.socket:
        self.raw.settimeout(self._connection.deadline.left_s())
        return self.raw

    def send(self, content: bytes) -> None:
        left = memoryview(content)
        while left:
            left = left[self.wait_until_deadline().send(left) :]

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self))


class _Reader(io.RawIOBase):
    """Reads an answer; the connection stays open for the next call."""

    def __init__(self, timed: _TimedSocket) -> None:
        self._timed = timed
        self._raw: Any = timed.raw.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Any:
        self._timed.wait_until_deadline()
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
