"""The load: callers in a closed loop, each on a connection of its own, in one process and one event loop.

Every request is laid out before the first is sent, and an answer is only counted, so that the generator is no server's
bottleneck: `peers.py` says how many requests a second it makes of a server that does nothing.
"""

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

HOST = "127.0.0.1"
END_S = 60.0  # what is under way at the end of a load may take so long


@dataclass(frozen=True)
class Event:
    """One answer.

    Attributes:
        at: when it was there, in seconds of `time.perf_counter`.
        seconds: since the request was sent.
        number: of the request among those that are sent in turn.
        ok: whether its status was 200.
    """

    at: float
    seconds: float
    number: int
    ok: bool


@dataclass(frozen=True)
class Sample:
    """What a server did in one round of a load; times in milliseconds.

    Attributes:
        rate: answers a second.
        p50_ms: of all requests.
        p95_ms: likewise.
        short_p95_ms: of those with a short text; NaN if all are short.
        failed: requests that failed.
        failure: what the first of these was answered.
    """

    rate: float
    p50_ms: float
    p95_ms: float
    short_p95_ms: float
    failed: int
    failure: str = ""


@dataclass
class Run:
    """What the callers of one load share.

    Attributes:
        requests: sent in turn.
        until: when nobody sends any more, in seconds of `time.perf_counter`.
        events: the answers.
        failure: the first answer that was none.
        sent: how many requests were sent.
        cpu_s: seconds of processor time that the generator took.
    """

    requests: Sequence[bytes]
    until: float
    events: list[Event] = field(default_factory=list)
    failure: str = ""
    sent: int = 0
    cpu_s: float = 0.0


class _Caller(asyncio.Protocol):
    """One connection: sends a request, and the next one when that is answered."""

    def __init__(self, run: Run, done: asyncio.Future[None]) -> None:
        self.run, self.done = run, done
        self.buffer = b""
        self.waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.send()

    def send(self) -> None:
        if time.perf_counter() >= self.run.until:
            self.transport.close()
            return
        self.number = self.run.sent % len(self.run.requests)
        self.run.sent += 1
        self.waiting = True
        self.started = time.perf_counter()
        self.transport.write(self.run.requests[self.number])

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        try:
            complete = is_complete(self.buffer)
        except ValueError as error:
            self.run.failure = self.run.failure or str(error)
            self.transport.abort()
            return
        if complete:
            self.answered()

    def answered(self) -> None:
        now = time.perf_counter()
        ok = self.buffer[9:12] == b"200"
        if not ok and not self.run.failure:
            self.run.failure = self.buffer[:300].decode(errors="replace")
        self.run.events.append(Event(now, now - self.started, self.number, ok))
        closing = b"\r\nconnection: close\r\n" in self.buffer.lower()
        self.buffer, self.waiting = b"", False
        if closing:
            self.transport.close()
        else:
            self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.waiting:
            self.run.failure = self.run.failure or f"the connection was closed before the answer ({exc})"
            now = time.perf_counter()
            self.run.events.append(Event(now, now - self.started, self.number, False))
        if not self.done.done():
            self.done.set_result(None)


def is_complete(message: bytes) -> bool:
    """Whether a request or an answer is all there.

    Raises:
        ValueError: its head does not tell how long it is.
    """
    head, end, body = message.partition(b"\r\n\r\n")
    if not end:
        return False
    for line in head.lower().split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return len(body) >= int(value)
        if name == b"transfer-encoding" and value.strip() == b"chunked":
            return body.endswith(b"\r\n0\r\n\r\n")  # JSON has no such line in it
    raise ValueError(f"an answer without its length: {head[:200]!r}")


def post(path: str, body: bytes, port: int) -> bytes:
    """A request as it is sent."""
    head = f"POST {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Accept: */*\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def _call(port: int, run: Run) -> None:
    """Be one caller until the time is over; a server that closes the connection gets a new one."""
    loop = asyncio.get_running_loop()
    while time.perf_counter() < run.until:
        done: asyncio.Future[None] = loop.create_future()
        await loop.create_connection(lambda done=done: _Caller(run, done), HOST, port)  # type: ignore[misc]
        await done


def closed_loop(port: int, requests: Sequence[bytes], callers: int, warm_s: float, seconds: float) -> Run:
    """Ask with so many callers, first to warm up, then to measure; see `summarize`."""

    async def all_callers() -> None:
        # Time starts within the loop, and what it takes to start callers belongs to the warm-up.
        run.until = time.perf_counter() + warm_s + seconds
        calls = (_call(port, run) for _ in range(callers))
        await asyncio.wait_for(asyncio.gather(*calls), warm_s + seconds + END_S)

    run = Run(requests, 0.0)
    started = time.process_time()
    asyncio.run(all_callers())
    run.cpu_s = time.process_time() - started
    return run


def measure(
    port: int, requests: Sequence[bytes], short: Sequence[bool], callers: int, warm_s: float, seconds: float
) -> Sample:
    """One round of a load.

    Args:
        port: of the server.
        requests: sent in turn.
        short: which of them have a short text.
        callers: at once.
        warm_s: how long to ask before anything counts.
        seconds: how long to measure.

    Raises:
        OSError: the server does not take connections, or does not answer in time.
        ValueError: it answers what is not understood.
    """
    run = closed_loop(port, requests, callers, warm_s, seconds)
    return summarize(run.events, run.until - seconds, run.until, short, run.failure)


def summarize(events: Sequence[Event], start: float, end: float, short: Sequence[bool], failure: str = "") -> Sample:
    """What happened between two times.

    Answers come in batches, so the rate is that between the last answers before both times: with the times themselves
    it would depend on how many batches they happen to enclose.
    """
    ordered = sorted(events, key=lambda event: event.at)
    failed = sum(not event.ok for event in ordered)
    before = [event.at for event in ordered if event.at <= start]
    inside = [event for event in ordered if start < event.at <= end and event.ok]
    if not inside:
        return Sample(0.0, math.nan, math.nan, math.nan, failed, failure or "no answer in time")
    span = inside[-1].at - (before[-1] if before else start)
    times = [1e3 * event.seconds for event in inside]
    of_short = [1e3 * event.seconds for event in inside if short[event.number]]
    mixes = not all(short)
    return Sample(
        rate=len(inside) / span,
        p50_ms=percentile(times, 50),
        p95_ms=percentile(times, 95),
        short_p95_ms=percentile(of_short, 95) if mixes else math.nan,
        failed=failed,
        failure=failure,
    )


def percentile(values: Sequence[float], percent: int) -> float:
    """A percentile; NaN of nothing."""
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)] if values else math.nan
