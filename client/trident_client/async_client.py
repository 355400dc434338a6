"""The client for programs with an event loop."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from trident_client.async_waiting import AsyncWaiting
from trident_client.protocol import Transport
from trident_client.retries import Retry
from trident_client.services import Services
from trident_client.settings import DEFAULT_URL, Settings


class AsyncClient(Services):
    """Talks to one Triton server from one event loop; its methods are those of `Client`, to be awaited.

    Cancelling a call ends its waiting at once, and over gRPC the server drops the request, too.

    Example:
        >>> import asyncio
        >>> from trident_client import AsyncClient
        >>> async def main() -> None:
        ...     async with AsyncClient("http://127.0.0.1:8000") as client:
        ...         print((await client.infer("spam", ["You won a free prize, call now"]))[0].label)
        ...         async for prediction in client.infer_stream("spam", ["See you at eight"]):
        ...             print(prediction.label)
        >>> asyncio.run(main())
        spam
        ham
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout_s: float = 30.0,
        retry: Retry | None = Retry(),  # noqa: B008 - it cannot be changed
        concurrency: int = 8,
        headers: Mapping[str, str] | None = None,
        admin_key: str | None = None,
        compression: str | None = None,
        ca_file: str | Path | None = None,
        certificate_file: str | Path | None = None,
        key_file: str | Path | None = None,
    ) -> None:
        """Prepare a client, as `Client` does; nothing is sent before the first call."""
        settings = Settings(
            *(url, timeout_s, retry, concurrency, headers, admin_key),
            *(compression, ca_file, certificate_file, key_file),
        )
        super().__init__(settings, settings.protocol(), _transport(settings), AsyncWaiting())

    async def __aenter__(self) -> "AsyncClient":
        """Return the client itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        await self.close()


def _transport(settings: Settings) -> Transport:
    if settings.scheme.startswith("http"):
        from trident_client.async_http_transport import AsyncHttpTransport

        return AsyncHttpTransport(settings)
    from trident_client.async_grpc_transport import AsyncGrpcTransport

    return AsyncGrpcTransport(settings)
