"""What a gateway says on stderr: its own errors, and no tracebacks for what callers do."""

import logging
import time

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

CALLERS_FAULTS = (HttpProcessingError, web.RequestPayloadError, ConnectionError, TimeoutError)
NO_DESCRIPTORS = "socket.accept() out of system resource"
BAD_METADATA = "Invalid encoding on"  # which grpc says with the value, that may be a password
SAY_EVERY_S = 60.0


def open_log() -> logging.Logger:
    """For aiohttp, which would add a traceback for each caller who vanishes or sends no HTTP; quiets others, too."""
    log = logging.getLogger("trident.gateway")
    log.addFilter(lambda record: not (record.exc_info and isinstance(record.exc_info[1], CALLERS_FAULTS)))
    logging.getLogger("asyncio").addFilter(_Rarely())
    logging.getLogger("grpc._cython.cygrpc").addFilter(lambda record: not str(record.msg).startswith(BAD_METADATA))
    return log


class _Rarely(logging.Filter):
    """Lets asyncio say once a minute that there are no descriptors left, and nothing of calls that are no text."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], UnicodeDecodeError):  # see `grpc_server`
            return False
        if not record.getMessage().startswith(NO_DESCRIPTORS):
            return True
        record.exc_info = None
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + SAY_EVERY_S
        return True
