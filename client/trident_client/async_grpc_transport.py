"""gRPC for an event loop."""

import asyncio
from typing import Any

import grpc
import grpc.aio
from tritonclient.grpc import service_pb2_grpc

from trident_client.async_waiting import OneLoop
from trident_client.deadline import Deadline
from trident_client.failures import closed
from trident_client.grpc_protocol import GrpcFailures, GrpcRequest, channel_options
from trident_client.settings import Settings


class AsyncGrpcTransport:
    """See `protocol.Transport`; cancelling a call cancels the server's request."""

    def __init__(self, settings: Settings) -> None:
        """Connect when the first call is made; only then is there a loop."""
        self._settings = settings
        self._failures = GrpcFailures(settings.server)
        self._channel: Any = None
        self._stub: Any = None
        self._loop = OneLoop()
        self._closed = False

    async def send(self, request: GrpcRequest, deadline: Deadline) -> Any:
        """See `Transport`."""
        if self._closed:
            raise closed()
        self._loop.check()
        if self._stub is None:
            self._open()
        try:
            rpc = getattr(self._stub, request.rpc)
            return await rpc(request.message, timeout=deadline.left_s(), metadata=request.metadata)
        except TimeoutError as error:
            raise self._failures.timed_out(deadline) from error
        except grpc.RpcError as error:
            if self._closed and error.code() is grpc.StatusCode.CANCELLED:
                raise closed() from error
            raise self._failures.of(error, deadline) from error
        except (asyncio.CancelledError, grpc.aio.UsageError) as error:
            if self._closed:  # the channel's end cancels its calls, which is not the caller's doing
                raise closed() from error
            raise

    async def close(self) -> None:
        """See `Transport`."""
        self._closed = True
        if self._channel is not None:
            await self._channel.close()

    def _open(self) -> None:
        options = channel_options(self._settings.compression)
        if self._settings.is_secure:
            credentials = grpc.ssl_channel_credentials(**self._settings.tls_contents())
            self._channel = grpc.aio.secure_channel(self._settings.address, credentials, **options)
        else:
            self._channel = grpc.aio.insecure_channel(self._settings.address, **options)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
