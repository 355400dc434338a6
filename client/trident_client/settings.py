"""What a client is made with: the server's address, and how to speak with it."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from trident_client.deadline import Deadline
from trident_client.errors import ConnectError, InvalidRequest
from trident_client.protocol import ServerProtocol
from trident_client.retries import Retry

if TYPE_CHECKING:
    import ssl

DEFAULT_URL = "http://127.0.0.1:8000"
SCHEMES = ("http", "https", "grpc", "grpcs")
COMPRESSIONS = (None, "gzip", "deflate")
MOST_CONCURRENT = 1024
LOOPBACK = ("127.0.0.1", "localhost", "::1")
KEY_VARIABLE = "TRIDENT_ADMIN_KEY"
# Source: RFC 9110, sections 5.1 and 5.5.
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
FRAMING_HEADERS = {
    *("connection", "content-encoding", "content-length", "content-type", "host", "inference-header-content-length"),
    *("te", "trailer", "transfer-encoding", "upgrade"),
}
HEADER_VALUE = re.compile(r"[\x20-\x7e]*")


@dataclass(frozen=True)
class Settings:
    """The arguments of `Client` and `AsyncClient`, checked; the repr holds no secret.

    Raises:
        ConnectError: the URL has another form.
        InvalidRequest: another argument is wrong; the message never holds a header's value.
    """

    url: str
    timeout_s: float = 30.0
    retry: Retry | None = None
    concurrency: int = 8
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    admin_key: str | None = field(default=None, repr=False)
    compression: str | None = None
    ca_file: str | Path | None = None
    certificate_file: str | Path | None = None
    key_file: str | Path | None = None

    def __post_init__(self) -> None:
        """Check everything that can be checked without a server."""
        _check_url(self.url)
        Deadline(self.timeout_s)
        if type(self.concurrency) is not int or not 1 <= self.concurrency <= MOST_CONCURRENT:
            raise InvalidRequest(
                f"concurrency is {self.concurrency!r}; expected requests at once, 1 to {MOST_CONCURRENT}"
            )
        if self.retry is not None and not isinstance(self.retry, Retry):
            raise InvalidRequest(f"retry is {self.retry!r}; expected a Retry or None")
        if self.admin_key is not None and not isinstance(self.admin_key, str):
            raise InvalidRequest(f"admin_key is {type(self.admin_key).__name__}; expected a string")
        if self.compression not in COMPRESSIONS:
            raise InvalidRequest(f"compression is {self.compression!r}; expected 'gzip', 'deflate' or None")
        self._check_headers()
        self._check_files()

    @property
    def scheme(self) -> str:
        """One of `SCHEMES`."""
        return urlsplit(self.url).scheme

    @property
    def host(self) -> str:
        """Name or address, IPv6 without brackets."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """TCP port."""
        return urlsplit(self.url).port or 0

    @property
    def address(self) -> str:
        """HOST:PORT, IPv6 with brackets."""
        return urlsplit(self.url).netloc

    @property
    def server(self) -> str:
        """SCHEME://HOST:PORT, as messages name it."""
        return f"{self.scheme}://{self.address}"

    @property
    def is_secure(self) -> bool:
        """Whether to speak TLS."""
        return self.scheme.endswith("s")

    def protocol(self) -> ServerProtocol:
        """The calls of the server at the URL."""
        if self.scheme.startswith("http"):
            from trident_client.http_protocol import HttpProtocol

            return HttpProtocol(self.server, self.headers or {}, self.compression)
        from trident_client.grpc_protocol import GrpcProtocol

        return GrpcProtocol(self.server, self.headers or {})

    def tls_context(self) -> "ssl.SSLContext | None":
        """For HTTP; None without TLS."""
        if not self.is_secure:
            return None
        import ssl

        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.certificate_file is not None:
                context.load_cert_chain(self.certificate_file, self.key_file)
        except (ssl.SSLError, OSError) as error:
            files = ", ".join(str(file) for file in self._files().values() if file is not None)
            raise InvalidRequest(f"{files} cannot be used: {error}; expected PEM files that belong together") from error
        return context

    def tls_contents(self) -> dict[str, bytes | None]:
        """For gRPC: the arguments of `grpc.ssl_channel_credentials`."""
        return {
            "root_certificates": _contents(self.ca_file),
            "private_key": _contents(self.key_file),
            "certificate_chain": _contents(self.certificate_file),
        }

    def find_admin_key(self) -> str | None:
        """The key for restricted APIs: as given, of the environment, or of a server of this user on this machine."""
        key = self.admin_key if self.admin_key is not None else os.environ.get(KEY_VARIABLE)
        if key is None and self.host in LOOPBACK:
            key = _key_of_local_server(f"{self.scheme[:4]}_port", self.port)
        if key is not None and not HEADER_VALUE.fullmatch(key):
            raise InvalidRequest("the admin key cannot be sent in a header; expected printable ASCII in one line")
        return key

    def _files(self) -> dict[str, str | Path | None]:
        return {"ca_file": self.ca_file, "certificate_file": self.certificate_file, "key_file": self.key_file}

    def _check_headers(self) -> None:
        if not isinstance(self.headers, Mapping | None):
            raise InvalidRequest(f"headers is {type(self.headers).__name__}; expected {{name: value}}")
        for name, value in (self.headers or {}).items():
            if not (isinstance(name, str) and isinstance(value, str)):
                raise InvalidRequest(f"header {name!r} is {type(value).__name__}; expected strings")
            if not HEADER_NAME.fullmatch(name) or not HEADER_VALUE.fullmatch(value):
                raise InvalidRequest(f"header {name!r} cannot be sent; expected printable ASCII in one line")
            if name.lower() in FRAMING_HEADERS or name.lower().endswith("-bin"):
                raise InvalidRequest(f"header {name!r} belongs to the protocol; the client sets it itself")

    def _check_files(self) -> None:
        for name, file in self._files().items():
            if file is not None and not self.is_secure:
                raise InvalidRequest(f"{name} is given, and the url is '{self.url}'; expected https:// or grpcs://")
            if file is not None and not Path(file).is_file():
                raise InvalidRequest(f"{name} is '{file}', which is no file; expected one in PEM format")
        if (self.certificate_file is None) != (self.key_file is None):
            raise InvalidRequest("of certificate_file and key_file only one is given; expected both or none")


def without_secrets(url: object) -> str:
    """A URL without what stands before its host, for messages."""
    return re.sub(r"[^/]*@", "…@", str(url))


def _check_url(url: str) -> None:
    hint = "expected http://HOST:PORT or grpc://HOST:PORT, or https:// or grpcs:// for TLS"
    try:
        parts = urlsplit(url)
        well_formed = parts.scheme in SCHEMES and parts.hostname and parts.port and parts.path in ("", "/")
        well_formed = well_formed and not parts.query and not parts.fragment
    except (ValueError, AttributeError):  # brackets that do not match, a port that is no number; no string at all
        raise ConnectError(f"url is '{without_secrets(url)}'; {hint}") from None
    if parts.username is not None:
        raise ConnectError(f"the url of {parts.hostname} holds a user; give headers={{'Authorization': ...}} instead")
    if not well_formed:
        raise ConnectError(f"url is '{without_secrets(url)}'; {hint}")


def _key_of_local_server(port_name: str, port: int) -> str | None:
    """The key in the state file of `trident serve`, which only the server's owner can read."""
    named, base = os.environ.get("TRIDENT_STATE_DIR"), os.environ.get("XDG_STATE_HOME")
    try:
        folder = Path(named) if named else (Path(base) if base else Path.home() / ".local/state") / "trident"
    except RuntimeError:  # no home
        return None
    for file in folder.glob("servers/*/state.json"):
        try:
            state: dict[str, Any] = json.loads(file.read_bytes())
            if state[port_name] == port:
                return str(state["admin_key"])
        except (OSError, ValueError, LookupError, TypeError):  # it ended just now
            continue
    return None


def _contents(file: str | Path | None) -> bytes | None:
    return None if file is None else Path(file).read_bytes()
