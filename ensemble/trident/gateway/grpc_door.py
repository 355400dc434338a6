"""The gRPC side: the calls of Triton's service that ask and infer, as bytes; only inference is looked into.

All are served as streams, whatever their kind: the wire is the same, and only so a time limit can be set to a message
that comes, and to an answer that is to be taken.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from trident_client.grpc_protocol import PUSHBACK
from trident_client.http_protocol import NOT_OFFERED, is_transient

from trident.gateway.checks import Malformed, check_grpc
from trident.gateway.grpc_stream import Stream
from trident.gateway.room import NotNow, Room, Share, patience_s

SERVICE = "/inference.GRPCInferenceService/"
INFER, STREAM = f"{SERVICE}ModelInfer", f"{SERVICE}ModelStreamInfer"
QUESTIONS = frozenset(
    {
        *(f"{SERVICE}Server{what}" for what in ("Live", "Ready", "Metadata")),
        *(f"{SERVICE}Model{what}" for what in ("Ready", "Metadata", "Config", "Statistics")),
        "/grpc.health.v1.Health/Check",
    }
)
PASSING = (grpc.StatusCode.INTERNAL, grpc.StatusCode.NOT_FOUND)  # of which some are for a moment
AWAY = ("failed to connect to all addresses", "errors resolving ", "DNS resolution failed")  # gRPC's own words
UNREADABLE = "Unable to parse request"  # what gRPC itself says for a server, with INTERNAL
LONGEST = 4000  # characters of a reason, which may hold a name that the caller sent; callers take some 8 KB
RETRY_MS = "1000"
COME_AGAIN = ((PUSHBACK, RETRY_MS),)  # trailing metadata

Answer = Callable[[Any, Any], Awaitable[None]]
Serve = Callable[[Any, Share], Awaitable[None]]


class GrpcDoor(grpc.GenericRpcHandler):  # type: ignore[misc] # grpc has no types
    """Passes calls on to one tritonserver."""

    def __init__(self, channel: "grpc.aio.Channel", most_bytes: int, room: Room) -> None:
        """Open nothing.

        Args:
            channel: to tritonserver; it stays the caller's.
            most_bytes: of a request.
            room: for all requests.
        """
        self._channel = channel
        self._patience_s = patience_s(most_bytes)
        self._room = room

    def service(self, details: "grpc.HandlerCallDetails") -> "grpc.RpcMethodHandler[bytes, bytes]":
        """What answers a call."""
        method = details.method
        if method == STREAM:
            return grpc.stream_stream_rpc_method_handler(self._explained(self._stream()))
        if method == INFER or method in QUESTIONS:
            return grpc.stream_stream_rpc_method_handler(self._explained(self._unary(method)))
        return grpc.stream_stream_rpc_method_handler(_not_offered(method))

    def _explained(self, serve: Serve) -> Answer:
        async def answer(_: Any, context: Any) -> None:
            try:
                with self._room.share() as share:
                    await serve(context, share)
            except Malformed as error:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            except NotNow as error:
                await context.abort(grpc.StatusCode.UNAVAILABLE, str(error), COME_AGAIN)
            except grpc.aio.AioRpcError as error:
                await _fail(error, context)

        return answer

    def _unary(self, method: str) -> Serve:
        call = self._channel.unary_unary(method)

        async def serve(context: Any, share: Share) -> None:
            message = await self._read(context)
            share.take(len(message))
            if method == INFER:
                check_grpc(message)
            answer = await call(message, timeout=context.time_remaining())
            share.add(len(answer))
            await write(context, answer)

        return serve

    async def _read(self, context: Any) -> bytes:
        try:
            message = await asyncio.wait_for(context.read(), self._patience_s)
        except asyncio.TimeoutError:
            raise NotNow("the message takes too long to come") from None
        if not isinstance(message, bytes):
            raise Malformed("the call has no message")
        return message

    def _stream(self) -> Serve:
        call = self._channel.stream_stream(STREAM)

        async def serve(context: Any, share: Share) -> None:
            stream = Stream(context, share, self._patience_s)
            answers = call(stream.requests(), timeout=context.time_remaining())
            try:
                async for answer in answers:
                    with stream.taking(len(answer)):
                        await write(context, answer)
            finally:
                answers.cancel()
                stream.close()
            stream.check()

        return serve


async def write(context: Any, answer: bytes) -> None:
    """Have an answer taken; a call whose caller does not take it is over.

    grpc.aio cannot tell him so while it waits for him: he learns it when his connection ends (`grpc_server.AGE_MS`).
    """
    try:
        await asyncio.wait_for(context.write(answer), patience_s(len(answer)))
    except asyncio.TimeoutError:
        raise asyncio.CancelledError from None


async def _fail(error: "grpc.aio.AioRpcError", context: Any) -> None:
    """End a call as tritonserver did, but say so where it is the caller's fault, or passes."""
    code, details = error.code(), (error.details() or "")[:LONGEST]
    if code is grpc.StatusCode.INTERNAL and details == UNREADABLE:
        code = grpc.StatusCode.INVALID_ARGUMENT
    if code in PASSING and is_transient(details):
        code = grpc.StatusCode.UNAVAILABLE
    if code is grpc.StatusCode.UNAVAILABLE and details.startswith(AWAY):
        details = "tritonserver does not answer; it may be starting"  # and where it is, is no business of callers
    await context.abort(code, details, COME_AGAIN if code is grpc.StatusCode.UNAVAILABLE else ())


def _not_offered(method: str) -> Answer:
    async def refuse(_: Any, context: Any) -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{method} {NOT_OFFERED}")

    return refuse
