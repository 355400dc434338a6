"""The client: services by name; `server_client` has its other calls."""

from collections.abc import AsyncIterable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from trident_client.blocking import iterate, run
from trident_client.errors import InvalidRequest
from trident_client.prediction import Prediction, Span
from trident_client.server_client import ServerClient
from trident_client.tasks import Image, Record


class Client(ServerClient):
    """Talks to one Triton server; may be shared between threads, and not with a forked process.

    Every call raises `ClientError` of one kind or another when it fails; `trident_client.errors` has the tree.
    `timeout_s` is the time for everything that a call does, further attempts included; the client's own is taken
    where a call has none.

    Attributes:
        url: the server's address.
        timeout_s: seconds that a call may take if it is not told otherwise.

    Example:
        >>> from trident_client import Client
        >>> with Client("http://127.0.0.1:8000", timeout_s=10) as client:
        ...     client.infer("spam", ["You won a free prize, call now"])[0].label
        'spam'
    """

    def infer(
        self,
        service: str,
        texts: Sequence[str],
        *,
        top_k: int | None = None,
        threshold: float | None = None,
        timeout_s: float | None = None,
    ) -> list[Prediction]:
        """Classify texts with a service.

        Args:
            service: its name.
            texts: any number; sent in requests of at most the service's max_batch_size, several at once.
            top_k: labels per text, ≥ 1; the service's own default if None.
            threshold: leave out labels with a lower score, in [0, 1]; the service's own default if None.
            timeout_s: for all texts together; if None, each request may take the client's.

        Returns:
            One prediction a text, in the same order.

        Raises:
            InvalidRequest: a text is no string or holds lone surrogates, or a parameter is out of range.
            NotFound: there is no such service.
            ClientError: see `trident_client.errors`. The first error, in the texts' order, ends the other requests.

        Example:
            >>> from trident_client import Client
            >>> with Client("http://127.0.0.1:8000") as client:
            ...     for prediction in client.infer("spam", ["You won a free prize", "See you at eight"]):
            ...         print(prediction.label)
            spam
            ham
        """
        return run(self._calls.infer(service, texts, top_k=top_k, threshold=threshold, timeout_s=timeout_s))

    def infer_stream(
        self,
        service: str,
        texts: Iterable[str],
        *,
        top_k: int | None = None,
        threshold: float | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[Prediction]:
        """Classify texts that come one by one, however many; only those under way are in memory.

        Args:
            service: its name.
            texts: taken in batches of the service's max_batch_size, a few batches ahead of the answers.
            top_k: see `infer`.
            threshold: see `infer`.
            timeout_s: for each request.

        Yields:
            One prediction a text, in the same order. Closing the iterator ends the requests under way.

        Raises:
            InvalidRequest: a text is no string or holds lone surrogates; those before it have been answered.
            ClientError: see `trident_client.errors`.

        Example:
            >>> from trident_client import Client
            >>> lines = (f"free prize number {number}" for number in range(1000))
            >>> with Client("http://127.0.0.1:8000") as client:
            ...     sum(prediction.label == "spam" for prediction in client.infer_stream("spam", lines))
            1000
        """
        texts = _iterable(texts)
        return iterate(self._calls.infer_stream(service, texts, top_k=top_k, threshold=threshold, timeout_s=timeout_s))

    def infer_images(
        self,
        service: str,
        images: Sequence[Image],
        *,
        top_k: int | None = None,
        threshold: float | None = None,
        timeout_s: float | None = None,
    ) -> list[Prediction]:
        """Classify images with a service.

        Args:
            service: its name.
            images: paths, the bytes of JPEG, PNG or WebP files, or uint8 arrays [H, W] or [H, W, C] with C = 1
                (grey), 3 (RGB) or 4 (with opacity). Files are read when they are sent.
            top_k: see `infer`.
            threshold: see `infer`.
            timeout_s: see `infer`.

        Returns:
            One prediction an image, in the same order.

        Raises:
            InvalidRequest: an image is nothing of that, or cannot be read.
            ClientError: see `trident_client.errors`.

        Example:
            >>> import numpy as np
            >>> from trident_client import Client
            >>> with Client("http://127.0.0.1:8000") as client:
            ...     client.infer_images("shapes", [np.zeros((32, 32, 3), np.uint8)])[0].label
            'circle'
        """
        return run(self._calls.infer_images(service, images, top_k=top_k, threshold=threshold, timeout_s=timeout_s))

    def infer_records(
        self,
        service: str,
        records: Sequence[Record],
        *,
        top_k: int | None = None,
        threshold: float | None = None,
        timeout_s: float | None = None,
    ) -> list[Prediction]:
        """Classify tabular records with a service.

        Args:
            service: its name.
            records: column → value, each with all columns; None where a value is missing.
            top_k: see `infer`.
            threshold: see `infer`.
            timeout_s: see `infer`.

        Returns:
            One prediction a record, in the same order.

        Raises:
            InvalidRequest: a record has other columns, or a value of another type.
            ClientError: see `trident_client.errors`.

        Example:
            >>> from trident_client import Client
            >>> with Client("http://127.0.0.1:8000") as client:
            ...     client.infer_records("customers", [{"age": 31, "city": "Oslo"}])[0].label
            'stays'
        """
        return run(self._calls.infer_records(service, records, top_k=top_k, threshold=threshold, timeout_s=timeout_s))

    def infer_values(
        self, service: str, records: Sequence[Record], *, timeout_s: float | None = None
    ) -> NDArray[np.float32]:
        """Estimate a number for each tabular record with a service of regression.

        Args:
            service: its name.
            records: see `infer_records`.
            timeout_s: see `infer`.

        Returns:
            float32 [N], a value a record, in the same order.

        Raises:
            InvalidRequest: a record has other columns, or a value of another type.
            ClientError: see `trident_client.errors`.

        Example:
            >>> from trident_client import Client
            >>> with Client("http://127.0.0.1:8000") as client:
            ...     client.infer_values("houses", [{"rooms": 5, "city": "Oslo"}]).tolist()
            [640.0]
        """
        return run(self._calls.infer_values(service, records, timeout_s=timeout_s))

    def infer_spans(
        self,
        service: str,
        texts: Sequence[str],
        *,
        threshold: float | None = None,
        aggregation: str | None = None,
        timeout_s: float | None = None,
    ) -> list[list[Span]]:
        """Find the labelled parts of texts, such as names, with a service of token classification.

        Args:
            service: its name.
            texts: see `infer`.
            threshold: leave out spans with a lower score, in [0, 1]; the service's own default if None.
            aggregation: how words get the label of their tokens: "none", "simple", "first", "average" or "max"; the
                service's own default if None.
            timeout_s: see `infer`.

        Returns:
            The spans of each text, in order.

        Raises:
            InvalidRequest: a text is no string, or a parameter is out of range.
            ClientError: see `trident_client.errors`.

        Example:
            >>> from trident_client import Client
            >>> with Client("http://127.0.0.1:8000") as client:
            ...     for span in client.infer_spans("names", ["I met Ada Lovelace"])[0]:
            ...         print(span.label, span.text)
            NAME Ada Lovelace
        """
        return run(
            self._calls.infer_spans(service, texts, threshold=threshold, aggregation=aggregation, timeout_s=timeout_s)
        )

    def embed(self, service: str, texts: Sequence[str], *, timeout_s: float | None = None) -> NDArray[np.float32]:
        """Embed texts with a service.

        Args:
            service: its name.
            texts: see `infer`.
            timeout_s: see `infer`.

        Returns:
            float32 [N, D], a row a text, in the same order; [0, D] for no texts (D = 0 if the service does not say).

        Raises:
            InvalidRequest: a text is no string or holds lone surrogates.
            ClientError: see `trident_client.errors`.

        Example:
            >>> from trident_client import Client
            >>> with Client("http://127.0.0.1:8000") as client:
            ...     client.embed("meanings", ["cat", "kitten"]).shape
            (2, 3)
        """
        return run(self._calls.embed(service, texts, timeout_s=timeout_s))

    def embed_stream(
        self, service: str, texts: Iterable[str], *, timeout_s: float | None = None
    ) -> Iterator[NDArray[np.float32]]:
        """Embed texts that come one by one, however many; see `infer_stream`.

        Args:
            service: its name.
            texts: see `infer_stream`.
            timeout_s: for each request.

        Yields:
            float32 [D], one a text, in the same order.

        Raises:
            InvalidRequest: a text is no string or holds lone surrogates; those before it have been answered.
            ClientError: see `trident_client.errors`.

        Example:
            >>> from trident_client import Client
            >>> with Client("http://127.0.0.1:8000") as client:
            ...     for vector in client.embed_stream("meanings", iter(["cat", "kitten"])):
            ...         print(vector.shape)
            (3,)
            (3,)
        """
        return iterate(self._calls.embed_stream(service, _iterable(texts), timeout_s=timeout_s))


def _iterable(texts: Iterable[str]) -> Iterable[str]:
    """The texts, unless they would need an event loop."""
    if isinstance(texts, AsyncIterable):
        raise InvalidRequest("texts is an async iterable; expected an iterable, or use AsyncClient")
    return texts
