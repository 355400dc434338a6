"""Stops a server that another process started."""

import os
import signal
import time

from trident.errors import TridentError
from trident.server.state import ServerState, running_servers

POLL_S = 0.05


def stop_server(http_port: int | None = None, timeout_s: float | None = None) -> ServerState:
    """Stop a running server and wait until all of it is gone.

    Args:
        http_port: which one; may be None if there is only one.
        timeout_s: seconds to wait; None: as long as it takes.

    Returns:
        What was stopped.

    Raises:
        TridentError: there is none, or there are several and none was named, or it has not ended in time.
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
    end = None if timeout_s is None else time.monotonic() + timeout_s
    while chosen[0].is_alive:
        if end is not None and time.monotonic() > end:
            raise TridentError(
                f"the server on HTTP port {chosen[0].http_port} was told to stop and is still there after "
                f"{timeout_s:g} s; requests in flight may take the --exit-timeout of `trident serve`"
            )
        time.sleep(POLL_S)
    return chosen[0]
