"""Services by name: any number of items, split into requests that the service takes, answered in order."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from trident_client import tasks
from trident_client.deadline import Deadline
from trident_client.errors import InvalidRequest, ServerError
from trident_client.prediction import Prediction, Span
from trident_client.protocol import ServerProtocol, Transport, Waiting
from trident_client.server_calls import ServerCalls
from trident_client.settings import Settings
from trident_client.tasks import Image, Record, Task
from trident_client.tensors import Parameters

T = TypeVar("T")


@dataclass(frozen=True)
class _Question(Generic[T]):
    """What one call asks, in as many requests as it takes; `deadline` gives each of them its end."""

    service: str
    task: Task[T]
    parameters: Parameters
    deadline: Callable[[], Deadline]


class Services(ServerCalls):
    """The calls of services; `Client` documents them."""

    def __init__(self, settings: Settings, protocol: ServerProtocol, transport: Transport, waiting: Waiting) -> None:
        """See `ServerCalls`."""
        super().__init__(settings, protocol, transport, waiting)
        self._configs: dict[str, dict[str, Any]] = {}

    async def infer(
        self,
        service: str,
        texts: Sequence[str],
        *,
        top_k: int | None = None,
        threshold: float | None = None,
        timeout_s: float | None = None,
    ) -> list[Prediction]:
        """See `Client.infer`."""
        parameters = _given(top_k=top_k, threshold=threshold)
        return await self._all(service, tasks.TEXTS, texts, parameters, self._deadlines(timeout_s))

    def infer_stream(
        self,
        service: str,
        texts: Iterable[str] | AsyncIterable[str],
        *,
        top_k: int | None = None,
        threshold: float | None = None,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[Prediction, None]:
        """See `Client.infer_stream`."""
        return self._stream(service, tasks.TEXTS, texts, _given(top_k=top_k, threshold=threshold), timeout_s)

    async def infer_images(
        self,
        service: str,
        images: Sequence[Image],
        *,
        top_k: int | None = None,
        threshold: float | None = None,
        timeout_s: float | None = None,
    ) -> list[Prediction]:
        """See `Client.infer_images`."""
        parameters = _given(top_k=top_k, threshold=threshold)
        return await self._all(service, tasks.IMAGES, images, parameters, self._deadlines(timeout_s))

    async def infer_records(
        self,
        service: str,
        records: Sequence[Record],
        *,
        top_k: int | None = None,
        threshold: float | None = None,
        timeout_s: float | None = None,
    ) -> list[Prediction]:
        """See `Client.infer_records`."""
        deadline = self._deadlines(timeout_s)
        task = tasks.labels_of_records(await self._columns(service, deadline()))
        return await self._all(service, task, records, _given(top_k=top_k, threshold=threshold), deadline)

    async def infer_values(
        self, service: str, records: Sequence[Record], *, timeout_s: float | None = None
    ) -> NDArray[np.float32]:
        """See `Client.infer_values`."""
        deadline = self._deadlines(timeout_s)
        task = tasks.values_of_records(await self._columns(service, deadline()))
        rows = await self._all(service, task, records, {}, deadline)
        return np.concatenate(rows) if rows else np.empty(0, np.float32)

    async def infer_spans(
        self,
        service: str,
        texts: Sequence[str],
        *,
        threshold: float | None = None,
        aggregation: str | None = None,
        timeout_s: float | None = None,
    ) -> list[list[Span]]:
        """See `Client.infer_spans`."""
        parameters = _given(threshold=threshold, aggregation=aggregation)
        return await self._all(service, tasks.SPANS, texts, parameters, self._deadlines(timeout_s))

    async def embed(self, service: str, texts: Sequence[str], *, timeout_s: float | None = None) -> NDArray[np.float32]:
        """See `Client.embed`."""
        deadline = self._deadlines(timeout_s)
        rows = await self._all(service, tasks.EMBEDDINGS, texts, {}, deadline)
        if rows:
            return np.stack(rows)
        dims = (await self._config(service, deadline()))["output"][0]["dims"]
        return np.empty((0, max(0, dims[-1])), np.float32)

    def embed_stream(
        self, service: str, texts: Iterable[str] | AsyncIterable[str], *, timeout_s: float | None = None
    ) -> AsyncGenerator[NDArray[np.float32], None]:
        """See `Client.embed_stream`."""
        return self._stream(service, tasks.EMBEDDINGS, texts, {}, timeout_s)

    async def _all(
        self,
        service: str,
        task: Task[T],
        items: Sequence[Any],
        parameters: Parameters,
        deadline: Callable[[], Deadline],
    ) -> list[T]:
        """The answers of items that are all there; what is wrong with one shows before any is sent."""
        values = task.check_all(items)
        question = _Question(service, task, parameters, deadline)
        size = await self._max_batch_size(service, deadline()) if len(values) > 1 else 1
        if len(values) <= size:
            return list(await self._ask(question, values)) if values else []
        answers: list[T] = []
        ask = partial(self._ask, question)
        async with aclosing(self._waiting.in_order(ask, _slices(values, size), self.settings.concurrency)) as batches:
            async for batch in batches:
                answers += batch
        return answers

    async def _stream(
        self,
        service: str,
        task: Task[T],
        items: Iterable[Any] | AsyncIterable[Any],
        parameters: Parameters,
        timeout_s: float | None,
    ) -> AsyncGenerator[T, None]:
        """The answers of items that come one by one; what is wrong with one shows when its turn comes."""
        if isinstance(items, str | bytes) or not isinstance(items, Iterable | AsyncIterable):
            raise InvalidRequest(f"{task.what}s is {type(items).__name__}; expected an iterable of {task.what}s")
        size = await self._max_batch_size(service, self._deadline(timeout_s))
        question = _Question(service, task, parameters, lambda: self._deadline(timeout_s))

        async def ask(batch: tuple[int, list[Any]]) -> Sequence[T]:
            start, unchecked = batch
            return await self._ask(question, [task.check(item, start + i) for i, item in enumerate(unchecked)])

        batches = self._waiting.in_order(ask, _gathered(items, size), self.settings.concurrency)
        async with aclosing(batches):
            async for batch in batches:
                for answer in batch:
                    yield answer

    async def _ask(self, question: _Question[T], values: Sequence[Any]) -> Sequence[T]:
        """Send one request, or several if the service has become one that takes less at once."""
        service, task = question.service, question.task
        call = self._protocol.infer(
            service, task.stack(values), outputs=None, parameters=question.parameters, version=""
        )
        try:
            tensors = await self._call(call, question.deadline())
        except InvalidRequest:
            self._configs.pop(service, None)
            await self._check_task(question, None)
            size = await self._max_batch_size(service, question.deadline()) if len(values) > 1 else 1
            if size >= len(values):
                raise
            parts = [values[start : start + size] for start in range(0, len(values), size)]
            return [answer for part in parts for answer in await self._ask(question, part)]
        if not task.outputs <= tensors.keys():
            await self._check_task(question, tensors)
        return _read(service, task, tensors, len(values))

    async def _check_task(self, question: _Question[Any], tensors: tasks.Tensors | None) -> None:
        """Tell a request that was wrong from one that was right and went to a service of another task."""
        config = await self._config(question.service, question.deadline())
        reason = tasks.misfit(question.service, question.task, config, tensors)
        if reason is not None:
            raise InvalidRequest(reason)

    async def _config(self, service: str, deadline: Deadline) -> dict[str, Any]:
        """The service's configuration; asked for once, until a request is refused."""
        if service not in self._configs:
            self._configs[service] = await self._call(self._protocol.get_model_config(service, ""), deadline)
        return self._configs[service]

    async def _max_batch_size(self, service: str, deadline: Deadline) -> int:
        return max(1, int((await self._config(service, deadline)).get("max_batch_size", 0)))

    async def _columns(self, service: str, deadline: Deadline) -> dict[str, str]:
        config = await self._config(service, deadline)
        return {entry["name"]: entry["data_type"] for entry in config["input"]}

    def _deadlines(self, timeout_s: float | None) -> Callable[[], Deadline]:
        """What gives each request of a call its end: the same to all if there is a time for all together."""
        if timeout_s is None:
            return lambda: self._deadline(None)
        whole = self._deadline(timeout_s)
        return lambda: whole


def _given(**parameters: float | str | None) -> Parameters:
    """The parameters that are not None; the service has its own values for the others."""
    return {name: value for name, value in parameters.items() if value is not None}


def _read(service: str, task: Task[T], tensors: tasks.Tensors, asked: int) -> Sequence[T]:
    try:
        answers = task.read(tensors)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ServerError(f"'{service}' answers what cannot be read ({error}); {task.answers}") from error
    if len(answers) != asked:
        raise ServerError(f"'{service}' answered {len(answers)} {task.what}s; {asked} were asked")
    return answers


async def _slices(values: Sequence[T], size: int) -> AsyncIterator[Sequence[T]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


async def _gathered(items: Iterable[T] | AsyncIterable[T], size: int) -> AsyncIterator[tuple[int, list[T]]]:
    """Batches of items that come one by one, each with the position of its first."""
    start, batch = 0, list[T]()
    async for item in _each_of(items):
        batch.append(item)
        if len(batch) == size:
            yield start, batch
            start, batch = start + size, []
    if batch:
        yield start, batch


async def _each_of(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
