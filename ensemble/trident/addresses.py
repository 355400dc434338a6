"""Which server a command means: the one at a URL, or one that this user runs on this machine."""

import socket
import sys

from trident_client.settings import DEFAULT_URL, without_secrets

from trident.errors import TridentError
from trident.server.state import ServerState, running_servers, server_at

HOST, PORT = "127.0.0.1", 8000  # of DEFAULT_URL
LOOK_S = 0.5


def address(url: str | None) -> str:
    """The URL of the server to ask.

    Args:
        url: what was given; None: `DEFAULT_URL`, or, with nothing there, the one server that this user runs, which is
            then said on stderr.

    Raises:
        TridentError: nothing was given, nothing is there, and this user runs several.
    """
    if url is not None:
        return url
    running = running_servers()
    if not running or any(state.http_port == PORT for state in running) or _listens():
        return DEFAULT_URL
    if len(running) > 1:
        raise TridentError(
            f"nothing serves at {DEFAULT_URL}, and you run several servers: {_listed(running)}; say which with --url "
            "or TRIDENT_URL"
        )
    only = running[0].http_url
    print(f"nothing serves at {DEFAULT_URL}; asking {only}, the one server that you run", file=sys.stderr)
    return only


def own_server(url: str) -> ServerState:
    """The server of this user on this machine that a URL leads to.

    Raises:
        TridentError: it leads to none.
    """
    state = server_at(url)
    if state is None:
        raise TridentError(f"{without_secrets(url)} is no server that you run on this machine; {running_here()}")
    return state


def running_here() -> str:
    """The servers that this user runs on this machine, for messages."""
    running = running_servers()
    return f"you run {_listed(running)}" if running else "you run none"


def look_here() -> str:
    """What follows the message that a server is not where it was looked for."""
    running = running_servers()
    return f". You run {_listed(running)}; give it with --url or TRIDENT_URL" if running else ""


def _listed(running: list[ServerState]) -> str:
    return ", ".join(state.http_url for state in running)


def _listens() -> bool:
    """Whether anything takes connections at `DEFAULT_URL`."""
    try:
        socket.create_connection((HOST, PORT), LOOK_S).close()
    except OSError:
        return False
    return True
