"""Stops a server that another process started."""

import os
import signal
import time

from trident.errors import TridentError
from trident.server.state import ServerState, running_servers

POLL_S = 0.05


def stop_server(http_port: int | None = None) -> ServerState:
    """Stop a running server and wait until all of it is gone.

    Args:
        http_port: which one; may be None if there is only one.

    Returns:
        What was stopped.

    Raises:
        TridentError: there is none, or there are several and none was named.
    """
    servers = running_servers()
    ports = [server.http_port for server in servers]
    chosen = [server for server in servers if http_port in (None, server.http_port)]
    if not chosen:
        running = f"running are {ports}" if ports else "none is running"
        raise TridentError(f"no server{'' if http_port is None else f' on HTTP port {http_port}'}; {running}")
    if len(chosen) > 1:
        raise TridentError(f"several servers run, on HTTP ports {ports}; say which: trident stop --http-port N")
    os.kill(chosen[0].supervisor_pid, signal.SIGTERM)
    while chosen[0].is_alive:
        time.sleep(POLL_S)
    return chosen[0]
