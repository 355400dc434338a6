"""What the client needs of a protocol; `http_transport` and `grpc_transport` are the two."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
Parameters = Mapping[str, str | int | float | bool]


class Transport(Protocol):
    """Calls of one protocol; every error they raise is a `ClientError`."""

    def call(self, method: str, *arguments: Any, timeout_s: float) -> Any:
        """Call a tritonclient method by name; answers are plain values, dicts as JSON has them."""

    def infer(
        self,
        model: str,
        inputs: Arrays,
        *,
        outputs: Sequence[str] | None,
        parameters: Parameters,
        version: str,
        timeout_s: float,
    ) -> dict[str, NDArray[Any]]:
        """Send one request; BYTES outputs are object arrays of bytes."""

    def close(self) -> None:
        """Close all connections."""
