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
    """Base of all errors; the message says what happened, what was expected and how to fix it."""


class ClientError(TridentError):
    """A call to a server failed."""


class ConnectError(ClientError):
    """Nobody answers at the address; no request was accepted."""


class AnswerLost(ConnectError):
    """The request was sent, and the connection, or an attempt, ended before the answer; it may have been served."""


class RequestTimeout(ClientError):
    """No answer came in time."""


class Forbidden(ClientError):
    """The API is restricted and the admin key is missing or wrong."""


class InferenceError(ClientError):
    """The server answered with an error."""


class InvalidRequest(InferenceError):
    """The request is wrong: datatype, shape, text or parameter."""


class NotFound(InferenceError):
    """No such model or version is loaded."""


class Unavailable(InferenceError):
    """The server cannot take the request now; trying again later may work.

    Attributes:
        retry_after_s: seconds that the server asks to wait, ≥ 0; None if it asks nothing.
    """

    retry_after_s: float | None = None


class ServerError(InferenceError):
    """The server failed; its log has the cause."""
