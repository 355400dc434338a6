"""Client library of Trident: services and models on a Triton server, over HTTP or gRPC.

Example:
    >>> from trident_client import Client
    >>> with Client("http://127.0.0.1:8000") as client:
    ...     for prediction in client.infer("spam", ["You won a free prize, call now"]):
    ...         print(prediction.label, prediction.score)
    spam 0.75
"""

from typing import TYPE_CHECKING, Any

from trident_client.client import Client
from trident_client.errors import (
    AnswerLost,
    ClientError,
    ConnectError,
    Forbidden,
    InferenceError,
    InvalidRequest,
    NotFound,
    RequestTimeout,
    ServerError,
    TridentError,
    Unavailable,
)
from trident_client.prediction import Prediction, Span
from trident_client.retries import Retry

if TYPE_CHECKING:
    from trident_client.async_client import AsyncClient

__all__ = [
    "AnswerLost",
    "AsyncClient",
    "Client",
    "ClientError",
    "ConnectError",
    "Forbidden",
    "InferenceError",
    "InvalidRequest",
    "NotFound",
    "Prediction",
    "RequestTimeout",
    "Retry",
    "ServerError",
    "Span",
    "TridentError",
    "Unavailable",
]


def __getattr__(name: str) -> Any:
    """Import `AsyncClient` when it is asked for: half of the time of an import is asyncio's."""
    if name == "AsyncClient":
        from trident_client.async_client import AsyncClient

        return AsyncClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
