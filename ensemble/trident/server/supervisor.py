"""The process between us and tritonserver: `python -m trident.server.supervisor`.

It reads one line of JSON from stdin (written by `lifecycle.Server`: what to start, and the state to publish),
starts tritonserver, and stops it when stdin ends (its parent stopped or died, by SIGKILL even) or a SIGTERM
comes. Whatever happens to tritonserver, no process of it and no region in /dev/shm is left. It writes
tritonserver's output to a rotating log and exits with its status.
"""

import contextlib
import ctypes
import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path

from trident.server.state import ServerState, process_start

LOG_BYTES, LOG_FILES = 10 * 2**20, 3
KILL_AFTER_S = 10.0  # beyond tritonserver's own exit timeout

# Source: Linux prctl(2), include/uapi/linux/prctl.h.
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def main() -> int:
    """Run one tritonserver from start to end; returns its exit status, or 128 + signal."""
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        return 0  # the parent died before it said what to start
    order = json.loads(line)
    stopping, wake = _catch_signals()
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1)  # orphaned stubs become ours to end
    os.umask(0o077)
    pid = os.getpid()
    state = ServerState(supervisor_pid=pid, supervisor_started=process_start(pid) or 0, **order["state"])
    state.write()
    log = _open_log(Path(state.log))
    try:
        child, output = _start(order["arguments"], order["environment"])
        try:
            return _Watch(child, output, log, order["exit_timeout_s"]).run(stopping, wake)
        finally:
            _end_group(child.pid)
    finally:
        state.clean_up()


def _catch_signals() -> tuple[list[int], int]:
    """Collect SIGTERM and SIGINT in a list and make a descriptor readable when one comes."""
    received: list[int] = []
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda caught, _: received.append(caught))
    return received, reading


def _open_log(path: Path) -> logging.Logger:
    logger = logging.getLogger("tritonserver")
    logger.addHandler(RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=LOG_FILES, delay=False))
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logging.raiseExceptions = False  # a full disk must not stop the server
    return logger


def _start(arguments: list[str], environment: dict[str, str]) -> "tuple[subprocess.Popen[bytes], int]":
    """Start tritonserver tied to our life; returns it and the descriptor of its output."""
    output, its_end = os.pipe()

    def tie_to_us() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    child = subprocess.Popen(
        arguments,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=its_end,
        stderr=its_end,
        start_new_session=True,
        restore_signals=False,  # SIGPIPE stays ignored: if we are killed, it can still shut down in order
        preexec_fn=tie_to_us,
    )
    os.close(its_end)
    os.set_blocking(output, False)
    return child, output


class _Watch:
    """Copies tritonserver's output to the log until it ends; asks it to end when told to, then makes it."""

    def __init__(
        self, child: "subprocess.Popen[bytes]", output: int, log: logging.Logger, exit_timeout_s: float
    ) -> None:
        self._child = child
        self._output = output
        self._log = log
        self._grace_s = exit_timeout_s + KILL_AFTER_S
        self._kill_at: float | None = None
        self._pending = b""
        self._selector = selectors.DefaultSelector()

    def run(self, stopping: list[int], wake: int) -> int:
        """Returns tritonserver's exit status, or 128 + the signal that ended it."""
        parent, ended = sys.stdin.fileno(), os.pidfd_open(self._child.pid)
        for source in (self._output, parent, wake, ended):
            self._selector.register(source, selectors.EVENT_READ)
        while True:
            wait = None if self._kill_at is None else max(0.0, self._kill_at - time.monotonic())
            ready = {key.fd for key, _ in self._selector.select(wait)}
            if self._output in ready:
                self._copy()
            if ended in ready:
                self._copy()
                status = self._child.wait()
                return status if status >= 0 else 128 - status
            if wake in ready:
                os.read(wake, 512)
            parent_gone = parent in ready and not os.read(parent, 512)
            if parent_gone:
                self._selector.unregister(parent)
            if parent_gone or stopping or self._kill_at is not None:
                self._end()

    def _end(self) -> None:
        if self._kill_at is None:
            self._child.terminate()
            self._kill_at = time.monotonic() + self._grace_s
        elif time.monotonic() >= self._kill_at:
            self._child.kill()

    def _copy(self) -> None:
        try:
            data = os.read(self._output, 2**20)
        except BlockingIOError:
            return
        if not data:  # all its ends are closed; tritonserver itself may still be ending
            if self._output in self._selector.get_map():
                self._selector.unregister(self._output)
            return
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            self._log.info(line.decode("utf-8", "replace"))


def _end_group(group: int) -> None:
    """Kill what is left of tritonserver's process group and collect the dead."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


if __name__ == "__main__":
    sys.exit(main())
