"""What the client needs of a protocol; `http_transport` and `grpc_transport` are the two."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tritonclient.utils import np_to_triton_dtype

from trident_client.errors import InvalidRequest

Arrays = Mapping[str, NDArray[Any]]
Parameters = Mapping[str, str | int | float | bool]


def to_triton(protocol: Any, inputs: Arrays, outputs: Sequence[str] | None) -> tuple[list[Any], list[Any] | None]:
    """Inputs and requested outputs as the objects of `tritonclient.http` or `tritonclient.grpc`.

    Raises:
        InvalidRequest: Triton has no datatype for an array's dtype, or an object array holds no bytes.
    """
    tensors = []
    for name, array in inputs.items():
        datatype = np_to_triton_dtype(array.dtype)
        if datatype is None:
            expected = "expected numbers, bool, or BYTES as an object array of bytes"
            raise InvalidRequest(f"input '{name}' has dtype {array.dtype}; {expected}")
        if array.dtype == np.object_ and not all(isinstance(value, bytes) for value in array.flat):
            raise InvalidRequest(f"input '{name}' is an object array of other things than bytes; use text.encode()")
        tensors.append(protocol.InferInput(name, list(array.shape), datatype).set_data_from_numpy(array))
    return tensors, [protocol.InferRequestedOutput(name) for name in outputs] if outputs else None


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
