"""The blocking client's calls of servers and models, under tritonclient's names."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from numpy.typing import NDArray

from trident_client.blocking import BlockingWaiting, run
from trident_client.protocol import Transport
from trident_client.retries import Retry
from trident_client.services import Services
from trident_client.settings import DEFAULT_URL, Settings
from trident_client.tensors import Arrays, Parameters

Self = TypeVar("Self", bound="ServerClient")


class ServerClient:
    """What `Client` is made of beside the services."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout_s: float = 30.0,
        retry: Retry | None = Retry(),  # noqa: B008 - it cannot be changed
        concurrency: int = 8,
        headers: Mapping[str, str] | None = None,
        admin_key: str | None = None,
        compression: str | None = None,
        ca_file: str | Path | None = None,
        certificate_file: str | Path | None = None,
        key_file: str | Path | None = None,
    ) -> None:
        """Prepare a client; nothing is sent before the first call.

        Args:
            url: `http://HOST:PORT` or `grpc://HOST:PORT`; `https://` and `grpcs://` with TLS.
            timeout_s: seconds that a call may take if it is not told otherwise, > 0.
            retry: when to send a request again; None: never.
            concurrency: requests that one call may have under way at once, ≥ 1.
            headers: sent with every request, such as an API key. They are never shown.
            admin_key: for the APIs that `trident serve` restricts; if None, that of the environment
                (TRIDENT_ADMIN_KEY) or of a server that this user runs on this machine.
            compression: of requests and answers: "gzip" or "deflate".
            ca_file: PEM file of the authorities that may have signed the server's certificate; the system's if None.
            certificate_file: PEM file of this client's certificate, where the server asks for one.
            key_file: PEM file of its private key.

        Raises:
            ConnectError: the URL has another form.
            InvalidRequest: another argument is wrong.
        """
        settings = Settings(
            *(url, timeout_s, retry, concurrency, headers, admin_key),
            *(compression, ca_file, certificate_file, key_file),
        )
        self._calls = Services(settings, settings.protocol(), _transport(settings), BlockingWaiting())
        self.url = url
        self.timeout_s = timeout_s

    # -- models ------------------------------------------------------------------------------------------------------

    def infer_tensors(
        self,
        model: str,
        inputs: Arrays,
        *,
        outputs: Sequence[str] | None = None,
        parameters: Parameters | None = None,
        version: str = "",
        timeout_s: float | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Send one request with tensors as they are.

        Args:
            model: its name.
            inputs: name → array, with the batch axis if the model has one; BYTES as object arrays of bytes.
            outputs: which to ask for; all if None.
            parameters: request parameters; also Triton's own, such as `sequence_id` or `priority`.
            version: the latest if empty.
            timeout_s: seconds.

        Returns:
            Output name → array, which may be read-only; BYTES as object arrays of bytes.

        Raises:
            InvalidRequest: a wrong name, datatype or shape.
            ClientError: see `trident_client.errors`.

        Example:
            >>> import numpy as np
            >>> from trident_client import Client
            >>> ends = {"start": np.array([[0, 0]], np.float32), "end": np.array([[3, 4]], np.float32)}
            >>> with Client("http://127.0.0.1:8000") as client:
            ...     client.infer_tensors("distances", ends)["distance"].tolist()
            [[5.0]]
        """
        return run(
            self._calls.infer_tensors(
                model, inputs, outputs=outputs, parameters=parameters, version=version, timeout_s=timeout_s
            )
        )

    def is_model_ready(self, model: str, version: str = "", timeout_s: float | None = None) -> bool:
        """Whether a model can serve.

        Example:
            >>> from trident_client import Client
            >>> with Client("http://127.0.0.1:8000") as client:
            ...     client.is_model_ready("spam"), client.is_model_ready("nobody")
            (True, False)
        """
        return run(self._calls.is_model_ready(model, version, timeout_s))

    def get_model_metadata(self, model: str, version: str = "", timeout_s: float | None = None) -> dict[str, Any]:
        """A model's versions, inputs and outputs; shapes as integers, -1 where any size will do.

        Example:
            >>> from trident_client import Client
            >>> with Client("http://127.0.0.1:8000") as client:
            ...     client.get_model_metadata("spam")["inputs"]
            [{'name': 'text', 'datatype': 'BYTES', 'shape': [-1, 1]}]
        """
        return run(self._calls.get_model_metadata(model, version, timeout_s))

    def get_model_config(self, model: str, version: str = "", timeout_s: float | None = None) -> dict[str, Any]:
        """A model's configuration as the server completed it.

        Example:
            >>> from trident_client import Client
            >>> with Client("http://127.0.0.1:8000") as client:
            ...     client.get_model_config("spam")["max_batch_size"]
            64
        """
        return run(self._calls.get_model_config(model, version, timeout_s))

    def get_inference_statistics(
        self, model: str = "", version: str = "", timeout_s: float | None = None
    ) -> dict[str, Any]:
        """A model's counts and durations (in nanoseconds) since it was loaded; those of all models if none is named.

        Example:
            >>> from trident_client import Client
            >>> with Client("http://127.0.0.1:8000") as client:
            ...     client.infer("spam", ["See you at eight"])[0].label
            ...     client.get_inference_statistics("spam")["model_stats"][0]["inference_count"] > 0
            'ham'
            True
        """
        return run(self._calls.get_inference_statistics(model, version, timeout_s))

    # -- the server --------------------------------------------------------------------------------------------------

    def is_server_live(self, timeout_s: float | None = None) -> bool:
        """Whether the server runs.

        Example:
            >>> from trident_client import Client
            >>> with Client("http://127.0.0.1:8000") as client:
            ...     client.is_server_live()
            True
        """
        return run(self._calls.is_server_live(timeout_s))

    def is_server_ready(self, timeout_s: float | None = None) -> bool:
        """Whether the server and all its models can serve.

        Example:
            >>> from trident_client import Client
            >>> with Client("http://127.0.0.1:8000") as client:
            ...     client.is_server_ready()
            True
        """
        return run(self._calls.is_server_ready(timeout_s))

    def get_server_metadata(self, timeout_s: float | None = None) -> dict[str, Any]:
        """The server's name, version and extensions.

        Example:
            >>> from trident_client import Client
            >>> with Client("http://127.0.0.1:8000") as client:
            ...     client.get_server_metadata()["name"]
            'triton'
        """
        return run(self._calls.get_server_metadata(timeout_s))

    def get_model_repository_index(self, timeout_s: float | None = None) -> list[dict[str, Any]]:
        """All models of the repository with name, version, state and reason, as far as they have them.

        Needs the admin key if the server restricts its model-repository API, as `trident serve` does.

        Example:
            >>> from trident_client import Client
            >>> with Client("http://127.0.0.1:8000") as client:
            ...     [model["state"] for model in client.get_model_repository_index() if model["name"] == "spam"]
            ['READY']
        """
        return run(self._calls.get_model_repository_index(timeout_s))

    def load_model(
        self, model: str, config: Mapping[str, Any] | str | None = None, timeout_s: float | None = None
    ) -> None:
        """Load a model of the repository, or load it anew; returns when it is ready. Needs the admin key.

        Args:
            model: its name.
            config: a model configuration, or its JSON, in place of its config.pbtxt.
            timeout_s: for loading.

        Raises:
            ClientError: it cannot be loaded; the message says why.

        Example:
            >>> from trident_client import Client
            >>> with Client("http://127.0.0.1:8000") as client:
            ...     client.load_model("spam", timeout_s=120)
        """
        run(self._calls.load_model(model, config, timeout_s))

    def unload_model(self, model: str, unload_dependents: bool = False, timeout_s: float | None = None) -> None:
        """Unload a model; requests under way end before. Needs the admin key.

        Args:
            model: its name.
            unload_dependents: unload the models of an ensemble, too.
            timeout_s: until the server has taken the order.

        Raises:
            ClientError: see `trident_client.errors`.

        Example:
            >>> from trident_client import Client
            >>> with Client("http://127.0.0.1:8000") as client:
            ...     client.unload_model("distances")
            ...     client.load_model("distances")
        """
        run(self._calls.unload_model(model, unload_dependents, timeout_s))

    def close(self) -> None:
        """Close all connections, as the end of a `with` block does; calls in other threads end first or with an error.

        Example:
            >>> from trident_client import Client
            >>> client = Client("http://127.0.0.1:8000")
            >>> client.is_server_live()
            True
            >>> client.close()
        """
        run(self._calls.close())

    def __repr__(self) -> str:
        """The address alone; keys and headers are nobody's business."""
        return f"{type(self).__name__}({self.url!r})"

    def __enter__(self: Self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        self.close()


def _transport(settings: Settings) -> Transport:
    if settings.scheme.startswith("http"):
        from trident_client.blocking_http_transport import BlockingHttpTransport

        return BlockingHttpTransport(settings)
    from trident_client.blocking_grpc_transport import BlockingGrpcTransport

    return BlockingGrpcTransport(settings)
