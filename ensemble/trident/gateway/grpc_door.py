"""The gRPC side: the calls of Triton's service that ask and infer, as bytes; only inference is looked into."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from trident.gateway.checks import Malformed, check_grpc

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

Unary = Callable[[bytes, "grpc.aio.ServicerContext[bytes, bytes]"], Awaitable[bytes]]


class GrpcDoor(grpc.GenericRpcHandler):  # type: ignore[misc] # grpc has no types
    """Passes calls on to one tritonserver."""

    def __init__(self, channel: "grpc.aio.Channel") -> None:
        """Take the channel to tritonserver; it stays the caller's."""
        self._channel = channel

    def service(self, details: "grpc.HandlerCallDetails") -> "grpc.RpcMethodHandler[bytes, bytes]":
        """What answers a call."""
        method = details.method
        if method == STREAM:
            return grpc.stream_stream_rpc_method_handler(self._stream())
        if method == INFER or method in QUESTIONS:
            return grpc.unary_unary_rpc_method_handler(self._unary(method))
        return grpc.unary_unary_rpc_method_handler(_not_offered(method))

    def _unary(self, method: str) -> Unary:
        call = self._channel.unary_unary(method)

        async def answer(message: bytes, context: Any) -> bytes:
            if method == INFER:
                await _check(message, context)
            try:
                found: bytes = await call(message, timeout=context.time_remaining())
            except grpc.aio.AioRpcError as error:
                await _fail(error, context)
            return found

        return answer

    def _stream(self) -> Callable[[AsyncIterator[bytes], Any], AsyncIterator[bytes]]:
        call = self._channel.stream_stream(STREAM)

        async def checked(
            messages: AsyncIterator[bytes], faults: list[Malformed], room: asyncio.Semaphore
        ) -> AsyncIterator[bytes]:
            async for message in messages:
                with contextlib.suppress(asyncio.TimeoutError):  # a decoupled model may answer nothing
                    await asyncio.wait_for(room.acquire(), ROOM_S)
                try:
                    check_grpc(message)
                except Malformed as error:
                    faults.append(error)
                    return
                yield message

        async def answers(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            faults: list[Malformed] = []
            room = asyncio.Semaphore(UNDER_WAY)
            try:
                async for message in call(checked(messages, faults, room), timeout=context.time_remaining()):
                    yield message  # waits for a caller who does not read
                    room.release()
            except grpc.aio.AioRpcError as error:
                await _fail(error, context)
            if faults:  # those before it have their answers
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(faults[0]))

        return answers


async def _check(message: bytes, context: Any) -> None:
    try:
        check_grpc(message)
    except Malformed as error:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))


async def _fail(error: "grpc.aio.AioRpcError", context: Any) -> None:
    """End a call as tritonserver did, but for a message that it could not read."""
    code, details = error.code(), (error.details() or "")[:LONGEST]
    if code is grpc.StatusCode.INTERNAL and details == UNREADABLE:
        code = grpc.StatusCode.INVALID_ARGUMENT
    await context.abort(code, details, PUSHBACK if code is grpc.StatusCode.UNAVAILABLE else ())


def _not_offered(method: str) -> Unary:
    async def refuse(_: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{method} is not offered here")
        return b""

    return refuse
