"""A server's own calls and requests with tensors, whatever the protocol and the way of waiting."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from numpy.typing import NDArray

from trident_client.deadline import Deadline
from trident_client.errors import AnswerLost, ClientError, InvalidRequest, RequestTimeout
from trident_client.protocol import Call, ServerProtocol, Transport, Waiting
from trident_client.retries import attempts
from trident_client.settings import Settings
from trident_client.tensors import Arrays, Parameters

T = TypeVar("T")


class ServerCalls:
    """What `Client` and `AsyncClient` have in common; `Client` documents the calls."""

    def __init__(self, settings: Settings, protocol: ServerProtocol, transport: Transport, waiting: Waiting) -> None:
        """Nothing is sent before the first call."""
        self.settings = settings
        self._protocol = protocol
        self._transport = transport
        self._waiting = waiting
        self._pid = os.getpid()

    @property
    def url(self) -> str:
        """The server's address."""
        return self.settings.url

    @property
    def timeout_s(self) -> float:
        """Seconds that a call may take if it is not told otherwise."""
        return self.settings.timeout_s

    async def is_server_live(self, timeout_s: float | None = None) -> bool:
        """See `Client.is_server_live`."""
        return await self._call(self._protocol.is_server_live(), self._deadline(timeout_s))

    async def is_server_ready(self, timeout_s: float | None = None) -> bool:
        """See `Client.is_server_ready`."""
        return await self._call(self._protocol.is_server_ready(), self._deadline(timeout_s))

    async def is_model_ready(self, model: str, version: str = "", timeout_s: float | None = None) -> bool:
        """See `Client.is_model_ready`."""
        return await self._call(self._protocol.is_model_ready(model, version), self._deadline(timeout_s))

    async def get_server_metadata(self, timeout_s: float | None = None) -> dict[str, Any]:
        """See `Client.get_server_metadata`."""
        return await self._call(self._protocol.get_server_metadata(), self._deadline(timeout_s))

    async def get_model_metadata(self, model: str, version: str = "", timeout_s: float | None = None) -> dict[str, Any]:
        """See `Client.get_model_metadata`."""
        return await self._call(self._protocol.get_model_metadata(model, version), self._deadline(timeout_s))

    async def get_model_config(self, model: str, version: str = "", timeout_s: float | None = None) -> dict[str, Any]:
        """See `Client.get_model_config`."""
        return await self._call(self._protocol.get_model_config(model, version), self._deadline(timeout_s))

    async def get_inference_statistics(
        self, model: str = "", version: str = "", timeout_s: float | None = None
    ) -> dict[str, Any]:
        """See `Client.get_inference_statistics`."""
        return await self._call(self._protocol.get_inference_statistics(model, version), self._deadline(timeout_s))

    async def get_model_repository_index(self, timeout_s: float | None = None) -> list[dict[str, Any]]:
        """See `Client.get_model_repository_index`."""
        call = self._protocol.get_model_repository_index(self.settings.find_admin_key())
        return await self._call(call, self._deadline(timeout_s))

    async def load_model(
        self, model: str, config: Mapping[str, Any] | str | None = None, timeout_s: float | None = None
    ) -> None:
        """See `Client.load_model`."""
        text = config if config is None or isinstance(config, str) else json.dumps(config)
        call = self._protocol.load_model(model, text, self.settings.find_admin_key())
        await self._call(call, self._deadline(timeout_s))

    async def unload_model(self, model: str, unload_dependents: bool = False, timeout_s: float | None = None) -> None:
        """See `Client.unload_model`."""
        call = self._protocol.unload_model(model, unload_dependents, self.settings.find_admin_key())
        await self._call(call, self._deadline(timeout_s))

    async def infer_tensors(
        self,
        model: str,
        inputs: Arrays,
        *,
        outputs: Sequence[str] | None = None,
        parameters: Parameters | None = None,
        version: str = "",
        timeout_s: float | None = None,
    ) -> dict[str, NDArray[Any]]:
        """See `Client.infer_tensors`."""
        if not isinstance(inputs, Mapping):
            raise InvalidRequest(f"inputs is {type(inputs).__name__}; expected {{name: array}}")
        if isinstance(outputs, str) or not isinstance(outputs, Sequence | None) or not _all_texts(outputs or ()):
            raise InvalidRequest(f"outputs is {outputs!r}; expected a list of names, or None for all")
        if not _all_texts(inputs):
            raise InvalidRequest(f"inputs has the names {list(inputs)!r}; expected strings")
        call = self._protocol.infer(model, inputs, outputs=outputs, parameters=parameters or {}, version=version)
        return await self._call(call, self._deadline(timeout_s))

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    def __repr__(self) -> str:
        """The address alone; keys and headers are nobody's business."""
        return f"{type(self).__name__}({self.url!r})"

    def _deadline(self, timeout_s: float | None) -> Deadline:
        return Deadline(self.settings.timeout_s if timeout_s is None else timeout_s)

    async def _call(self, call: Call[T], deadline: Deadline) -> T:
        if self._pid != os.getpid():  # connections are shared with the parent, and answers would be mixed up
            raise ClientError("this client was made before a fork; make one in each process")

        retry = self.settings.retry

        async def ask() -> T:
            attempt = deadline.part(retry.attempt_timeout_s if retry else None)
            try:
                return call.answer(await self._transport.send(call.request, attempt))
            except RequestTimeout as error:
                if attempt is deadline:
                    raise
                raise AnswerLost(
                    f"{self.url} gave no answer within {attempt.timeout_s:g} s; raise attempt_timeout_s"
                ) from error

        return await attempts(ask, retry, deadline, self._waiting.sleep)


def _all_texts(names: Iterable[object]) -> bool:
    return all(isinstance(name, str) for name in names)
