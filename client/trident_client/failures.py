"""What the client says when a server does not answer as it should; all transports say it in the same words."""

from trident_client.deadline import Deadline
from trident_client.errors import AnswerLost, ClientError, ConnectError, Forbidden, RequestTimeout, ServerError


class Failures:
    """Makes the errors of one server."""

    def __init__(self, url: str) -> None:
        """Speak of the server at `url`."""
        self.url = url
        self._port = "gRPC" if url.startswith("grpc") else "HTTP"

    def unreachable(self, reason: object) -> ConnectError:
        """Nobody took the request."""
        return ConnectError(f"cannot reach {self.url}: {_line(reason)}; is the server running? (`trident serve`)")

    def untrusted(self, reason: object) -> ConnectError:
        """TLS failed: a certificate has expired, is not known, or is wanted of the client."""
        hint = "does it speak TLS? Then check its certificate, and ca_file, certificate_file and key_file here"
        return ConnectError(f"no secure connection to {self.url}: {_line(reason)}; {hint}")

    def lost(self, reason: object) -> AnswerLost:
        """The request was sent, and its answer did not come, or not all of it."""
        hint = "it may have served the request; Retry(lost_answers=True) sends it again"
        return AnswerLost(f"{self.url} closed the connection before its answer was complete: {_line(reason)}; {hint}")

    def timed_out(self, deadline: Deadline) -> RequestTimeout:
        """The deadline passed."""
        return RequestTimeout(f"{self.url} gave no answer within {deadline.timeout_s:g} s; raise timeout_s")

    def restricted(self, reason: str) -> Forbidden:
        """Triton wants the admin key."""
        return Forbidden(f"{reason}; give the client its admin_key, or set TRIDENT_ADMIN_KEY")

    def foreign(self, reason: object) -> ServerError:
        """Somebody else than Triton answered."""
        said = f"{type(reason).__name__}: {reason}" if isinstance(reason, Exception) else reason
        return ServerError(
            f"{self.url} does not answer as Triton does: {_line(said)}; is it the {self._port} port, and no proxy's?"
        )


def closed() -> ClientError:
    """The client itself was closed, before the call or while it waited."""
    return ClientError("this client is closed; make another")


def in_one_line(reason: str) -> str:
    """What Triton says, without the request's id that is none and without a Python traceback."""
    said = reason.removeprefix("[request id: <id_unknown>] ").partition("\n\nAt:\n")[0]
    return "; ".join(line.strip() for line in said.splitlines() if line.strip())


def _line(reason: object) -> str:
    """The first line of a reason, not too long."""
    lines = str(reason).strip().splitlines()
    return lines[0][:300] if lines else type(reason).__name__
