"""Trying again: after what, how often, and how long to wait in between."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from trident_client.deadline import Deadline
from trident_client.errors import AnswerLost, ClientError, ConnectError, InvalidRequest, Unavailable

T = TypeVar("T")


@dataclass(frozen=True)
class Retry:
    """When a request is sent again: the server was unavailable, or could not be reached, so it did nothing yet.

    The pause before attempt n + 1 is random, between half of `base_s` · 2ⁿ⁻¹ and all of it, and never goes beyond
    the call's deadline; a server that names a time itself (HTTP's Retry-After, gRPC's pushback) gets that.

    Attributes:
        attempts: at most so many in all, ≥ 1.
        base_s: longest pause after the first, in seconds, > 0.
        max_s: longest pause at all, in seconds, ≥ base_s.
        lost_answers: try again, too, where the request was sent and the connection ended before the answer. The
            server may then serve it twice, which does no harm to models that keep no state.
        attempt_timeout_s: an attempt that takes longer counts as a lost answer, in seconds, > 0; None waits until the
            call's deadline. With `lost_answers`, a call need not wait where a process died that many others wait for:
            Triton 24.10 tells them one by one, one a second.

    Example:
        >>> from trident_client import Client, Retry
        >>> with Client("http://127.0.0.1:8000", retry=Retry(attempts=5, lost_answers=True)) as client:
        ...     client.infer("spam", ["See you at eight"])[0].label
        'ham'
    """

    attempts: int = 3
    base_s: float = 0.1
    max_s: float = 2.0
    lost_answers: bool = False
    attempt_timeout_s: float | None = None

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InvalidRequest: a value is out of its range.
        """
        if type(self.attempts) is not int or self.attempts < 1:
            raise InvalidRequest(f"attempts is {self.attempts!r}; expected a whole number ≥ 1, or retry=None")
        if not 0 < self.base_s <= self.max_s:
            raise InvalidRequest(f"base_s is {self.base_s} and max_s {self.max_s}; expected 0 < base_s ≤ max_s")
        if self.attempt_timeout_s is not None:
            Deadline(self.attempt_timeout_s)

    def pause_s(self, error: ClientError, attempt: int) -> float | None:
        """Seconds to wait after an attempt that failed; None if there shall be no other.

        Args:
            error: why it failed.
            attempt: its number, ≥ 1.
        """
        worth_it = isinstance(error, Unavailable | ConnectError)
        if attempt >= self.attempts or not worth_it or (isinstance(error, AnswerLost) and not self.lost_answers):
            return None
        if isinstance(error, Unavailable) and error.retry_after_s is not None:
            return error.retry_after_s
        longest_s = min(self.max_s, self.base_s * 2.0 ** min(attempt - 1, 64))
        return random.uniform(longest_s / 2, longest_s)  # noqa: S311 - no secret


async def attempts(
    ask: Callable[[], Awaitable[T]],
    retry: Retry | None,
    deadline: Deadline,
    sleep: Callable[[float], Awaitable[Any]],
) -> T:
    """Ask until there is an answer, or an error that is not worth another attempt.

    Raises:
        ClientError: of the last attempt.
    """
    attempt = 1
    while True:
        try:
            return await ask()
        except ClientError as error:
            pause_s = None if retry is None else retry.pause_s(error, attempt)
            if pause_s is None or not deadline.allows_attempt(pause_s):
                raise
            await sleep(pause_s)
            if not deadline.allows_attempt(0):  # it was a longer sleep than asked for
                raise
        attempt += 1
