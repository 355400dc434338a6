"""State files of servers that need not run: a process stands in for their supervisor."""

import os

from trident.server.state import ServerState, process_start


def server(
    http_port: int = 18000, pid: int | None = None, *, log: str = "/log", repository: str = "/models"
) -> ServerState:
    """The state of a server with the ports from `http_port` on; our own process is its supervisor if none is given."""
    pid = os.getpid() if pid is None else pid
    return ServerState(
        supervisor_pid=pid,
        supervisor_started=process_start(pid) or 0,
        http_port=http_port,
        grpc_port=http_port + 1,
        metrics_port=http_port + 2,
        health_port=http_port + 3,
        model_repository=repository,
        admin_key="secret",
        shm_prefix=f"trident_{http_port}_",
        log=log,
        links="",
        completes_configs=True,
    )
