"""gRPC for threads: one channel, which all of them share."""

from typing import Any

import grpc
from tritonclient.grpc import service_pb2_grpc

from trident_client.blocking import current_abort
from trident_client.deadline import Deadline
from trident_client.failures import closed
from trident_client.grpc_protocol import GrpcFailures, GrpcRequest, channel_options
from trident_client.settings import Settings


class BlockingGrpcTransport:
    """See `protocol.Transport`."""

    def __init__(self, settings: Settings) -> None:
        """Connect when the first call is made."""
        options = channel_options(settings.compression)
        if settings.is_secure:
            credentials = grpc.ssl_channel_credentials(**settings.tls_contents())
            self._channel = grpc.secure_channel(settings.address, credentials, **options)
        else:
            self._channel = grpc.insecure_channel(settings.address, **options)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._failures = GrpcFailures(settings.server)
        self._closed = False

    async def send(self, request: GrpcRequest, deadline: Deadline) -> Any:
        """See `Transport`."""
        if self._closed:
            raise closed()
        try:
            return self._ask(getattr(self._stub, request.rpc), request, deadline.left_s())
        except TimeoutError as error:
            raise self._failures.timed_out(deadline) from error
        except grpc.FutureCancelledError as error:
            raise closed() from error
        except grpc.RpcError as error:
            if self._closed and error.code() is grpc.StatusCode.CANCELLED:
                raise closed() from error
            raise self._failures.of(error, deadline) from error
        except ValueError as error:  # closed by another thread between the two lines above
            if self._closed:
                raise closed() from error
            raise

    async def close(self) -> None:
        """See `Transport`."""
        self._closed = True
        self._channel.close()

    def _ask(self, rpc: Any, request: GrpcRequest, timeout_s: float) -> Any:
        """Call it so that it can be cancelled only where it may have to be: that costs a thread's attention."""
        abort = current_abort()
        if abort is None:
            return rpc(request.message, timeout=timeout_s, metadata=request.metadata)
        future = rpc.future(request.message, timeout=timeout_s, metadata=request.metadata)
        with abort.ends(future.cancel):
            return future.result()
