"""The HTTP side: Triton's inference protocol, and nothing of its administration."""

import asyncio
import contextlib
import io
import re
import zlib
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import aiohttp
from aiohttp import web
from trident_client.http_protocol import EITHER_COMPRESSION, HEADER_LENGTH, NOT_OFFERED, is_transient

from trident.gateway import room
from trident.gateway.checks import Malformed, check_http
from trident.gateway.room import NotNow, Room, Share

RETRY_S = 1  # what a caller that is refused is told to wait
PASSED = ("Content-Type", HEADER_LENGTH, "traceparent", "tracestate")  # all else stays at the door
PLAIN = ("", "identity")
PACKED = ("gzip", "deflate")
QUESTIONS = (
    "/v2",
    "/v2/",
    "/v2/health/{what:live|ready}",
    "/v2/models/stats",
    *(
        f"/v2/models/{{model}}{version}{what}"
        for version in ("", "/versions/{version}")
        for what in ("", "/{what:ready|config|stats}")
    ),
)
INFERENCE = ("/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer")
PASSING = (HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.NOT_FOUND)  # of which some are for a moment
IDLE_S = 1.0  # of a connection to tritonserver, which waits for all to close when it stops
# How tritonserver's front says, with 500 or 501, that it cannot read a request: the caller's fault all the same.
UNREADABLE = re.compile(rb"failed to parse the request JSON|Unable to parse |not found in the JSON")

SHARE = web.RequestKey("share", Share)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpDoor:
    """Passes requests on to one tritonserver."""

    def __init__(self, url: str, most_bytes: int, shared: Room) -> None:
        """Connect to nobody yet.

        Args:
            url: tritonserver's, http://HOST:PORT.
            most_bytes: of a request's body, also when it is unpacked.
            shared: by all requests.
        """
        self._url = url.rstrip("/")
        self._most_bytes = most_bytes
        self._room = shared

    def application(self) -> web.Application:
        """What `aiohttp.web` serves."""
        application = web.Application(middlewares=[self._bounded, _explained])
        application.cleanup_ctx.append(self._connected)
        for path in QUESTIONS:
            application.router.add_get(path, self._ask, allow_head=False)
        for path in INFERENCE:
            application.router.add_post(path, self._infer)
        return application

    @web.middleware
    async def _bounded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Counts what a request holds, and sends the answer: aiohttp would hold one for ever that is not taken."""
        with contextlib.ExitStack() as stack:
            try:
                share = request[SHARE] = stack.enter_context(self._room.share())
            except NotNow as error:
                answer: web.StreamResponse = _refusal(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
            else:
                answer = await handler(request)
                share.add(answer.content_length or 0)
            await _send(answer, request)
            return answer

    async def _connected(self, _: web.Application):  # type: ignore[no-untyped-def]  # noqa: ANN202 - aiohttp's to say
        # No limit and no timeout of ours: how many wait, and how long, is the services' and the callers' to say.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_S)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
            self._session = session
            yield

    async def _ask(self, request: web.Request) -> web.Response:
        return await self._pass(request, None)

    async def _infer(self, request: web.Request) -> web.Response:
        encoding = request.headers.get("Content-Encoding", "")
        if encoding.strip().lower() not in (*PLAIN, *PACKED):
            return _refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Content-Encoding is {encoding!a}; use gzip or deflate")
        body = await self._received(request)
        if encoding.strip().lower() not in PLAIN:
            body = self._unpacked(body, request[SHARE])
        check_http(body, request.headers.get(HEADER_LENGTH))
        return await self._pass(request, body)

    async def _received(self, request: web.Request) -> bytes:
        if (request.content_length or 0) > self._most_bytes:
            raise self._too_large()
        body, loop = bytearray(), asyncio.get_running_loop()
        began = loop.time()
        while True:
            patience = min(room.PATIENCE_S, began + room.patience_s(len(body)) - loop.time())
            piece = await asyncio.wait_for(request.content.readany(), patience)
            if not piece:
                break
            request[SHARE].take(len(piece))
            body += piece
            if len(body) > self._most_bytes:
                raise self._too_large()
        if request.transport is None:  # a cancellation that comes together with the body is lost in `wait_for`
            raise ConnectionResetError("the caller is gone")
        return bytes(body)

    def _unpacked(self, body: bytes, share: Share) -> bytes:
        """Not by aiohttp, which writes a traceback for each body that cannot be."""
        unpacking = zlib.decompressobj(EITHER_COMPRESSION)
        try:
            found = unpacking.decompress(body, self._most_bytes + 1)
        except zlib.error as error:
            raise Malformed(f"the body is not what its Content-Encoding says: {error}") from None
        if len(found) > self._most_bytes:
            raise self._too_large()
        if not unpacking.eof or unpacking.unused_data:
            raise Malformed("the body is not what its Content-Encoding says: it has another end")
        share.add(-len(body))
        share.take(len(found))
        return found

    def _too_large(self) -> web.HTTPRequestEntityTooLarge:
        text = f"the request has more than {self._most_bytes:,} bytes, unpacked; this gateway takes no larger ones"
        return web.HTTPRequestEntityTooLarge(self._most_bytes, 0, text=text)

    async def _pass(self, request: web.Request, body: bytes | None) -> web.Response:
        headers = {name: request.headers[name] for name in PASSED if name in request.headers}
        headers["Accept-Encoding"] = "identity"
        url = self._url + request.rel_url.raw_path_qs
        data = None if body is None else io.BytesIO(body)  # in pieces, since others wait while one is sent
        try:
            async with self._session.request(request.method, url, data=data, headers=headers) as answer:
                content = await answer.read()
        except aiohttp.ClientConnectorError:
            return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, "tritonserver does not answer; it may be starting")
        except (aiohttp.ClientError, OSError):
            return _refusal(HTTPStatus.BAD_GATEWAY, "tritonserver ended before it answered; the request may be done")
        return _answer(
            answer.status, content, {name: answer.headers[name] for name in PASSED if name in answer.headers}
        )


async def _send(answer: web.StreamResponse, request: web.Request) -> None:
    answer.headers["Server"] = "Trident"
    if not request.content.is_eof():
        answer.force_close()
    try:
        await asyncio.wait_for(_written(answer, request), room.patience_s(answer.content_length or 0))
    except asyncio.TimeoutError:
        if request.transport is not None:
            request.transport.abort()


async def _written(answer: web.StreamResponse, request: web.Request) -> None:
    await answer.prepare(request)
    await answer.write_eof()


def _answer(status: int, content: bytes, headers: dict[str, str]) -> web.Response:
    """Triton's answer, with the status that HTTP has for it."""
    if status in (HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.NOT_IMPLEMENTED) and UNREADABLE.search(content):
        status = HTTPStatus.BAD_REQUEST
    if status in PASSING and is_transient(content.decode(errors="replace")):
        status = HTTPStatus.SERVICE_UNAVAILABLE
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_S)
    return web.Response(status=status, body=content, headers=headers)


def _refusal(status: int, message: str) -> web.Response:
    answer = web.json_response({"error": message}, status=status)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        answer.headers["Retry-After"] = str(RETRY_S)
    return answer


@web.middleware
async def _explained(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What is refused, in Triton's form."""
    try:
        return await handler(request)
    except Malformed as error:
        return _refusal(HTTPStatus.BAD_REQUEST, str(error))
    except NotNow as error:
        return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
    except asyncio.TimeoutError:
        return _refusal(HTTPStatus.REQUEST_TIMEOUT, "the body takes too long to come")
    except web.HTTPRequestEntityTooLarge as error:
        return _refusal(error.status, str(error.text))
    except web.RequestPayloadError:
        return _refusal(HTTPStatus.BAD_REQUEST, "the body is not sent as HTTP says")
    except web.HTTPException as error:
        return _refusal(error.status, f"{request.method} {request.path!a} {NOT_OFFERED}")
