"""What can go wrong, as a tree of exceptions.

    TridentError                 everything that Trident raises on purpose
    └── ClientError              a call to a server failed
        ├── ConnectError         nobody answers at the address, so no request was accepted
        │   └── AnswerLost       the request was sent, and the connection, or an attempt, ended before the answer
        ├── RequestTimeout       no answer in time
        ├── Forbidden            the API is restricted and the admin key is missing or wrong
        └── InferenceError       the server answered with an error
            ├── InvalidRequest   the request is wrong: datatype, shape, text, parameter
            ├── NotFound         no such model or version
            ├── Unavailable      the server cannot take the request now: queue full, not ready, draining
            └── ServerError      the server failed; its log has the cause

HTTP and gRPC, `Client` and `AsyncClient` raise the same class for the same cause.

Example:
    >>> from trident_client import Client, NotFound
    >>> with Client("http://127.0.0.1:8000") as client:
    ...     try:
    ...         client.infer("nobody", ["hello"])
    ...     except NotFound as error:
    ...         print(error)
    Request for unknown model: 'nobody' is not found
"""


class TridentError(Exception):
    """Base of all errors; the message says what happened, what was expected and how to fix it.

    Example:
        >>> from trident_client import Client, TridentError
        >>> try:
        ...     Client("127.0.0.1:8000")
        ... except TridentError as error:
        ...     print(type(error).__name__)
        ConnectError
    """


class ClientError(TridentError):
    """A call to a server failed.

    Example:
        >>> from trident_client import Client, ClientError
        >>> with Client("http://127.0.0.1:8000") as client:
        ...     try:
        ...         client.load_model("nobody")
        ...     except ClientError as error:
        ...         print(type(error).__name__)
        NotFound
    """


class ConnectError(ClientError):
    """Nobody answers at the address; no request was accepted.

    Example:
        >>> from trident_client import Client, ConnectError
        >>> with Client("http://127.0.0.1:1", retry=None) as client:
        ...     try:
        ...         client.is_server_live()
        ...     except ConnectError as error:
        ...         print(error)
        cannot reach http://127.0.0.1:1: Connection refused; is the server running? (`trident serve`)
    """


class AnswerLost(ConnectError):
    """The request was sent, or a part of it, and the connection, or an attempt, ended before the answer.

    A proxy's 502 and 504 are that, too. The server may have served it; `Retry(lost_answers=True)` sends it again.

    Example:
        >>> from trident_client import AnswerLost, Client
        >>> from trident_client.testing import FakeServer
        >>> with FakeServer() as server, Client(server.url) as client:
        ...     server.add("spam", lambda text: server.close())
        ...     try:
        ...         client.infer("spam", ["See you at eight"])
        ...     except AnswerLost:
        ...         print("served or not, nobody knows")
        served or not, nobody knows
    """


class RequestTimeout(ClientError):
    """No answer came in time.

    Example:
        >>> from trident_client import Client, RequestTimeout
        >>> from trident_client.testing import FakeServer
        >>> with FakeServer() as server, Client(server.url) as client:
        ...     server.add("price", 1.5)
        ...     server.delay_s = 0.5
        ...     try:
        ...         client.infer("price", ["hello"], timeout_s=0.1)
        ...     except RequestTimeout as error:
        ...         print(str(error).partition(" gave ")[2])
        no answer within 0.1 s; raise timeout_s
    """


class Forbidden(ClientError):
    """The API is restricted and the admin key is missing or wrong.

    Example:
        >>> from trident_client import Client, Forbidden
        >>> from trident_client.testing import FakeServer
        >>> def refuse(text: str) -> None:
        ...     raise Forbidden("This API is restricted")
        >>> with FakeServer() as server, Client(server.url) as client:
        ...     server.add("secret", refuse)
        ...     try:
        ...         client.infer("secret", ["hello"])
        ...     except Forbidden as error:
        ...         print(error)
        This API is restricted; give the client its admin_key, or set TRIDENT_ADMIN_KEY
    """


class InferenceError(ClientError):
    """The server answered with an error.

    Example:
        >>> from trident_client import Client, InferenceError
        >>> with Client("http://127.0.0.1:8000") as client:
        ...     try:
        ...         client.infer("nobody", ["hello"])
        ...     except InferenceError as error:
        ...         print(type(error).__name__)
        NotFound
    """


class InvalidRequest(InferenceError):
    """The request is wrong: datatype, shape, text or parameter.

    Example:
        >>> from trident_client import Client, InvalidRequest
        >>> with Client("http://127.0.0.1:8000") as client:
        ...     try:
        ...         client.infer("spam", "See you at eight")
        ...     except InvalidRequest as error:
        ...         print(error)
        texts is one string; expected a list of them: [text]
    """


class NotFound(InferenceError):
    """No such model or version is loaded.

    Example:
        >>> from trident_client import Client, NotFound
        >>> with Client("http://127.0.0.1:8000") as client:
        ...     try:
        ...         client.get_model_metadata("nobody")
        ...     except NotFound as error:
        ...         print(error)
        Request for unknown model: 'nobody' is not found
    """


class Unavailable(InferenceError):
    """The server cannot take the request now; trying again later may work.

    Attributes:
        retry_after_s: seconds that the server asks to wait, ≥ 0; None if it asks nothing, infinity if it asks not to
            be tried again.

    Example:
        >>> from trident_client import Client, Unavailable
        >>> from trident_client.testing import FakeServer
        >>> with FakeServer() as server, Client(server.url, retry=None) as client:
        ...     server.add("price", 1.5)
        ...     server.be_unavailable(retry_after_s=7)
        ...     try:
        ...         client.infer("price", ["hello"])
        ...     except Unavailable as error:
        ...         print(error.retry_after_s)
        7.0
    """

    retry_after_s: float | None = None


class ServerError(InferenceError):
    """The server failed; its log has the cause.

    Example:
        >>> from trident_client import Client, ServerError
        >>> from trident_client.testing import FakeServer
        >>> with FakeServer() as server, Client(server.url) as client:
        ...     server.add("spam", lambda text: 1 / 0)
        ...     try:
        ...         client.infer("spam", ["hello"])
        ...     except ServerError as error:
        ...         print(error)
        ZeroDivisionError: division by zero
    """
