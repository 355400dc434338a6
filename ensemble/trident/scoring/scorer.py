"""Items through a service: many requests at once, answers in the order asked."""

import random
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import Protocol

import numpy as np
from trident_client import (
    Client,
    ConnectError,
    InferenceError,
    InvalidRequest,
    Prediction,
    Unavailable,
)
from trident_client.prediction import from_tensors

from trident.errors import ScoringError

Item = str | bytes
Outcome = Prediction | InferenceError

REQUEST_BYTES = 2**22  # at most, or one item: Triton's HTTP server and gRPC take more, memory may not
AHEAD = 2  # requests that are sent or answered, for each that may be under way
RETRY_DELAYS_S = (0.2, 0.5, 1.0, 2.0, 4.0)  # where a request met no server, or a busy one


class Scorer(Protocol):
    """Scores items in order, reading ahead by a bounded number."""

    def score(self, items: Iterable[Item]) -> Generator[Outcome, None, None]:
        """Score texts, or images as the bytes of their files.

        Yields:
            For each item its prediction, or why the service refuses it.

        Raises:
            ClientError: the server fails or is gone; all items before have been answered.
        """


class ClientScorer:
    """Scores with a running service."""

    def __init__(
        self,
        client: Client,
        service: str,
        input_name: str,
        *,
        top_k: int | None = None,
        threshold: float | None = None,
        concurrency: int = 8,
    ) -> None:
        """Ask the server what the service is.

        Args:
            client: that threads may share.
            service: its name.
            input_name: what the service must take, `text` or `image`.
            top_k: labels of an item; None: the service's default.
            threshold: leave out lower scores; None: the service's default.
            concurrency: requests under way at once, ≥ 1.

        Raises:
            ScoringError: the service takes or answers something else.
            ClientError: the server cannot be asked.
        """
        self._client = client
        self._service = service
        self._concurrency = concurrency
        self._top_k = top_k
        self._threshold = threshold
        metadata = client.get_model_metadata(service)
        self.versions = ", ".join(sorted(metadata.get("versions", [])))
        _check(service, input_name, metadata)
        self._size = max(1, int(client.get_model_config(service).get("max_batch_size", 0)))

    def score(self, items: Iterable[Item]) -> Generator[Outcome, None, None]:
        """See `Scorer.score`."""
        waiting: deque[Future[list[Outcome]]] = deque()
        stop = Event()
        with ThreadPoolExecutor(self._concurrency, "infer") as pool:
            try:
                for batch in _batches(items, self._size):
                    waiting.append(pool.submit(self._ask, batch, stop))
                    while waiting and (waiting[0].done() or len(waiting) > AHEAD * self._concurrency):
                        yield from waiting.popleft().result()
                while waiting:
                    yield from waiting.popleft().result()
            finally:
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, batch: Sequence[Item], stop: Event) -> list[Outcome]:
        """Answers to a batch; one that is refused is halved until the bad item stands alone."""
        try:
            return list(self._patiently(batch, stop))
        except InvalidRequest as error:
            if len(batch) == 1:
                return [error]
        middle = len(batch) // 2
        return self._ask(batch[:middle], stop) + self._ask(batch[middle:], stop)

    def _patiently(self, batch: Sequence[Item], stop: Event) -> list[Prediction]:
        for delay_s in RETRY_DELAYS_S:
            try:
                return self._infer(batch)
            except (ConnectError, Unavailable):
                if stop.wait(delay_s * random.uniform(0.5, 1.5)):  # noqa: S311 - jitter
                    raise
        return self._infer(batch)

    def _infer(self, batch: Sequence[Item]) -> list[Prediction]:
        texts = [item for item in batch if isinstance(item, str)]
        if texts:
            return self._client.infer(self._service, texts, top_k=self._top_k, threshold=self._threshold)
        images = np.array(batch, dtype=np.object_).reshape(-1, 1)
        given = {"top_k": self._top_k, "threshold": self._threshold}
        parameters = {name: value for name, value in given.items() if value is not None}
        answer = self._client.infer_tensors(self._service, {"image": images}, parameters=parameters)
        return from_tensors(answer["label"], answer["score"])


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    batch: list[Item] = []
    length = 0
    for item in items:
        batch.append(item)
        length += len(item)
        if len(batch) == size or length >= REQUEST_BYTES:
            yield batch
            batch, length = [], 0
    if batch:
        yield batch


def _check(service: str, input_name: str, metadata: dict[str, list[dict[str, str]]]) -> None:
    inputs, outputs = ({entry["name"] for entry in metadata.get(key, [])} for key in ("inputs", "outputs"))
    if inputs != {input_name} or not {"label", "score"} <= outputs:
        raise ScoringError(
            f"service '{service}' takes {', '.join(sorted(inputs))} and answers {', '.join(sorted(outputs))}; "
            f"a file of {input_name}s needs one that takes {input_name} and answers label and score"
        )
