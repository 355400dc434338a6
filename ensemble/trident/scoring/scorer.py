"""Items through a service: many requests at once, answers in the order asked."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from trident_client import (
    Client,
    InferenceError,
    InvalidRequest,
    Prediction,
)

from trident.errors import ScoringError

Item = str | bytes
Outcome = Prediction | InferenceError

REQUEST_BYTES = 2**22  # at most, or one item: Triton's HTTP server and gRPC take more, memory may not
AHEAD = 2  # requests that are sent or answered, for each that may be under way


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
            client: that threads may share; its retries are taken.
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
        pool = ThreadPoolExecutor(self._concurrency, "infer")
        try:
            for batch in _batches(items, self._size):
                waiting.append(pool.submit(self._ask, batch))
                while waiting and (waiting[0].done() or len(waiting) > AHEAD * self._concurrency):
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:  # whoever interrupts it closes the client, which ends the requests under way
            pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, batch: Sequence[Item]) -> list[Outcome]:
        """Answers to a batch; one that is refused is halved until the bad item stands alone."""
        try:
            return list(self._infer(batch))
        except InvalidRequest as error:
            if len(batch) == 1:
                return [error]
        middle = len(batch) // 2
        return self._ask(batch[:middle]) + self._ask(batch[middle:])

    def _infer(self, batch: Sequence[Item]) -> list[Prediction]:
        texts = [item for item in batch if isinstance(item, str)]
        images = [item for item in batch if isinstance(item, bytes)]
        if images:
            return self._client.infer_images(self._service, images, top_k=self._top_k, threshold=self._threshold)
        return self._client.infer(self._service, texts, top_k=self._top_k, threshold=self._threshold)


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
