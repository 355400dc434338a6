"""The gRPC side: the calls of Triton's service that ask and infer, as bytes; only inference is looked into."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from trident_client.http_protocol import is_transient

from trident.gateway.checks import Malformed, check_grpc
from trident.gateway.room import NotNow, Room, patience_s

SERVICE = "/inference.GRPCInferenceService/"
INFER, STREAM = f"{SERVICE}ModelInfer", f"{SERVICE}ModelStreamInfer"
QUESTIONS = frozenset(
    {
        *(f"{SERVICE}Server{what}" for what in ("Live", "Ready", "Metadata")),
        *(f"{SERVICE}Model{what}" for what in ("Ready", "Metadata", "Config", "Statistics")),
        "/grpc.health.v1.Health/Check",
    }
)
UNREADABLE = "Unable to parse request"  # what gRPC itself says for a server, with INTERNAL
LONGEST = 4000  # characters of a reason, which may hold a name that the caller sent; callers take some 8 KB
UNDER_WAY = 16  # requests of a stream without an answer: tritonserver itself would take in all that are sent
ROOM_S = 1.0  # that the next one waits at most
RETRY_MS = "1000"
# What gRPC has in place of Retry-After. Source: gRPC proposal A6, "Pushback".
PUSHBACK = (("grpc-retry-pushback-ms", RETRY_MS),)

Unary = Callable[[AsyncIterator[bytes], Any], Awaitable[bytes]]


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
            return grpc.stream_stream_rpc_method_handler(self._stream())
        if method == INFER or method in QUESTIONS:
            return grpc.stream_unary_rpc_method_handler(self._unary(method))
        return grpc.stream_unary_rpc_method_handler(_not_offered(method))

    def _unary(self, method: str) -> Unary:
        """A call of one message. It is read as a stream, since grpc would wait for the message for ever."""
        call = self._channel.unary_unary(method)

        async def answer(_: AsyncIterator[bytes], context: Any) -> bytes:
            with self._room.share() as share:
                try:
                    message = await self._read(context)
                    share.take(len(message))
                    if method == INFER:
                        check_grpc(message)
                    found: bytes = await call(message, timeout=context.time_remaining())
                except (Malformed, NotNow) as error:
                    await _refuse(error, context)
                except grpc.aio.AioRpcError as error:
                    await _fail(error, context)
            return found

        return answer

    async def _read(self, context: Any) -> bytes:
        try:
            message = await asyncio.wait_for(context.read(), self._patience_s)
        except asyncio.TimeoutError:
            raise NotNow("the message takes too long to come") from None
        if not isinstance(message, bytes):
            raise Malformed("the call has no message")
        return message

    def _stream(self) -> Callable[[AsyncIterator[bytes], Any], AsyncIterator[bytes]]:
        call = self._channel.stream_stream(STREAM)

        async def checked(messages: AsyncIterator[bytes], stream: _Stream) -> AsyncIterator[bytes]:
            async for message in messages:
                with contextlib.suppress(asyncio.TimeoutError):  # a decoupled model may answer nothing
                    await asyncio.wait_for(stream.places.acquire(), ROOM_S)
                try:
                    with self._room.share() as share:
                        share.take(len(message))
                        check_grpc(message)
                        yield message  # until tritonserver has it
                except (Malformed, NotNow) as error:
                    stream.fault = error
                    return

        async def answers(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            stream = _Stream()
            try:
                async for message in call(checked(messages, stream), timeout=context.time_remaining()):
                    yield message  # waits for a caller who does not read
                    stream.places.release()
            except grpc.aio.AioRpcError as error:
                await _fail(error, context)
            if stream.fault:  # those before it have their answers
                await _refuse(stream.fault, context)

        return answers


class _Stream:
    """What is under way of one, and what ended it."""

    def __init__(self) -> None:
        self.places = asyncio.Semaphore(UNDER_WAY)
        self.fault: Malformed | NotNow | None = None


async def _refuse(error: Malformed | NotNow, context: Any) -> None:
    if isinstance(error, NotNow):
        await context.abort(grpc.StatusCode.UNAVAILABLE, str(error), PUSHBACK)
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))


async def _fail(error: "grpc.aio.AioRpcError", context: Any) -> None:
    """End a call as tritonserver did, but say so where it is the caller's fault, or passes."""
    code, details = error.code(), (error.details() or "")[:LONGEST]
    if code is grpc.StatusCode.INTERNAL and details == UNREADABLE:
        code = grpc.StatusCode.INVALID_ARGUMENT
    if code is grpc.StatusCode.INTERNAL and is_transient(details):
        code = grpc.StatusCode.UNAVAILABLE
    await context.abort(code, details, PUSHBACK if code is grpc.StatusCode.UNAVAILABLE else ())


def _not_offered(method: str) -> Unary:
    async def refuse(_: AsyncIterator[bytes], context: Any) -> bytes:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{method} is not offered here")
        return b""

    return refuse
