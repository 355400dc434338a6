"""Items through a service: many requests at once, answers in the order asked."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from trident_client import Client, InferenceError, InvalidRequest, ServerError

from trident.errors import ScoringError
from trident.scoring.rows import Answered, Item

Outcome = Answered | InferenceError
LABELS = {"label", "score"}
NUMBER_BYTES = 4

REQUEST_BYTES = 2**22  # at most, or one item: Triton's HTTP server and gRPC take more, memory may not
TOGETHER = 2  # items of a batch, at least: where the service takes one, it is asked for them one by one
AHEAD = 2  # requests that are sent or answered, for each that may be under way


class VersionChanged(ScoringError):
    """The service has another version than when the run began, and its answers may be of either."""


class Scorer(Protocol):
    """Scores items in order, reading ahead by a bounded number."""

    def check_version(self, timeout_s: float | None = None) -> None:
        """See that all answers so far are of one version.

        Args:
            timeout_s: to ask the server; None: as long as a request may take.

        Raises:
            VersionChanged: another one is released meanwhile.
            ClientError: the server cannot be asked.
        """

    def score(self, items: Iterable[Item]) -> Generator[Outcome, None, None]:
        """Score texts, images as the bytes of their files, or records.

        Yields:
            For each item the answer, or why the service refuses it or fails at it.

        Raises:
            ClientError: the server fails or is gone; all items before have been answered.
        """


class ClientScorer:
    """Scores with a running service.

    Attributes:
        columns: the inputs of a tabular service, name → FP32, FP64 or BYTES; None of another.
        answers_value: whether it answers a number instead of labels.
        versions: of the service, that the server serves when the run begins.
    """

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
            input_name: what the service must take, `text` or `image`; where that is text, it may be tabular, too.
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
        self.versions = _versions(metadata)
        self.columns = _columns(metadata) if input_name == "text" else None
        self.answers_value = self.columns is not None and _names(metadata, "outputs") == {"value"}
        if self.columns is None:
            _check(service, input_name, metadata)
        elif self.answers_value and (top_k is not None or threshold is not None):
            raise ScoringError(f"service '{service}' answers a value; --top-k and --threshold are for labels")
        self._size = max(1, int(client.get_model_config(service).get("max_batch_size", 0)))
        self._answered: Item | None = None  # one that was, of late

    def check_version(self, timeout_s: float | None = None) -> None:
        """See `Scorer.check_version`."""
        versions = _versions(self._client.get_model_metadata(self._service, timeout_s=timeout_s))
        if versions != self.versions:
            raise VersionChanged(
                f"the version of service '{self._service}' was {self.versions} when the run began and is {versions} now"
            )

    def score(self, items: Iterable[Item]) -> Generator[Outcome, None, None]:
        """See `Scorer.score`."""
        waiting: deque[tuple[list[Item], Future[list[Outcome]]]] = deque()
        pool = ThreadPoolExecutor(self._concurrency, "infer")
        try:
            for batch in _batches(items, max(self._size, TOGETHER)):
                waiting.append((batch, pool.submit(self._ask, batch)))
                while waiting and (waiting[0][1].done() or len(waiting) > AHEAD * self._concurrency):
                    yield from self._judged(*waiting.popleft())
            while waiting:
                yield from self._judged(*waiting.popleft())
        finally:  # whoever interrupts it closes the client, which ends the requests under way
            pool.shutdown(wait=False, cancel_futures=True)

    def _judged(self, batch: Sequence[Item], asked: Future[list[Outcome]]) -> list[Outcome]:
        """What became of a batch, in the order of the batches.

        An item that the server fails at, as when a stage raises, is a bad one if the server then still answers another:
        the last of this batch that it answered, or else, as where the item is all of the batch, the last of the run.
        If there is none yet, nothing tells a bad item from a server that fails, and the run ends; so it does at a
        file's only row.

        Raises:
            ClientError: the server fails or is gone.
        """
        outcomes = asked.result()
        for item, outcome in zip(batch, outcomes, strict=True):
            if not isinstance(outcome, InferenceError):
                self._answered = item
        failure = next((outcome for outcome in outcomes if isinstance(outcome, ServerError)), None)
        if failure is not None:
            if self._answered is None:
                raise failure
            self._infer([self._answered])
        return outcomes

    def _ask(self, batch: Sequence[Item]) -> list[Outcome]:
        """Answers to a batch; one that is refused, or fails, is halved until the bad item stands alone."""
        if len(batch) <= self._size:
            try:
                return list(self._infer(batch))
            except (InvalidRequest, ServerError) as error:
                if len(batch) == 1:
                    return [error]
        middle = len(batch) // 2
        return self._ask(batch[:middle]) + self._ask(batch[middle:])

    def _infer(self, batch: Sequence[Item]) -> Sequence[Answered]:
        records = [item for item in batch if isinstance(item, Mapping)]
        if records and self.answers_value:
            return [float(value) for value in self._client.infer_values(self._service, records)]
        if records:
            return self._client.infer_records(self._service, records, top_k=self._top_k, threshold=self._threshold)
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
        length += _bytes_of(item)
        if len(batch) == size or length >= REQUEST_BYTES:
            yield batch
            batch, length = [], 0
    if batch:
        yield batch


def _bytes_of(item: Item) -> int:
    """About what it takes in a request."""
    if isinstance(item, Mapping):
        return sum(len(value) if isinstance(value, str) else NUMBER_BYTES for value in item.values())
    return len(item)


def _columns(metadata: dict[str, list[dict[str, Any]]]) -> dict[str, str] | None:
    """The inputs of a tabular service with an input for each column; None of another service."""
    inputs = {entry["name"]: entry.get("datatype", "") for entry in metadata.get("inputs", [])}
    if (inputs.keys() & {"text", "image"} and len(inputs) == 1) or inputs.keys() == {"record"}:
        return None
    outputs = _names(metadata, "outputs")
    one_each = all(list(entry.get("shape", [])[1:]) == [1] for entry in metadata.get("inputs", []))
    is_tabular = (
        {*inputs.values()} <= {"FP32", "FP64", "BYTES"} and one_each and (outputs >= LABELS or outputs == {"value"})
    )
    return inputs if inputs and is_tabular else None


def _versions(metadata: dict[str, Any]) -> str:
    return ", ".join(sorted(metadata.get("versions", [])))


def _names(metadata: dict[str, list[dict[str, Any]]], side: str) -> set[str]:
    return {entry["name"] for entry in metadata.get(side, [])}


def _check(service: str, input_name: str, metadata: dict[str, list[dict[str, Any]]]) -> None:
    inputs, outputs = _names(metadata, "inputs"), _names(metadata, "outputs")
    if inputs != {input_name} or not outputs >= LABELS:
        raise ScoringError(
            f"service '{service}' takes {', '.join(sorted(inputs))} and answers {', '.join(sorted(outputs))}; "
            f"a file of {input_name}s needs one that takes {input_name} and answers label and score{_instead(inputs)}"
        )


def _instead(inputs: set[str]) -> str:
    if inputs != {"record"}:
        return ""
    return (
        ", or one that takes an input a column (trident import --request columns). Ask this one from Python: "
        "Client.infer_records, Client.infer_values"
    )
