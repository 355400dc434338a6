"""The process between us and tritonserver: `python -m trident.server.supervisor`.

It reads one line of JSON from stdin (written by `lifecycle.Server`: what to start, and the state to publish),
starts tritonserver, and stops it when stdin ends (its parent stopped or died, by SIGKILL even) or a SIGTERM
comes. A second line says that all has started; from then on what dies is started anew: processes of models
(`healing`), and tritonserver itself. Whatever happens, no process of it and no region in /dev/shm is left. It
writes tritonserver's output to a rotating log, what it does itself there and to stdout, and exits with
tritonserver's status.
"""

import contextlib
import ctypes
import json
import logging
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from datetime import datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trident.server import tied
from trident.server.health import TRITONSERVER, Health
from trident.server.pauses import Pauses
from trident.server.state import ServerState, process_start
from trident.server.stubs import children, has_dead_only

if TYPE_CHECKING:
    from trident.server.healing import Healer

LOG_BYTES, LOG_FILES = 10 * 2**20, 3
KILL_AFTER_S = 10.0  # beyond tritonserver's own exit timeout
CANNOT_RUN = 71  # EX_OSERR, of sysexits.h
LOAD_MODEL = "--load-model="
# What tritonserver writes when it crashes, and then often hangs: its handler asks for memory, of which the lock may be
# held. Source: triton-inference-server/server r24.10, src/triton_signal.cc and main.cc.
CRASHED = re.compile(rb"^Signal \((6|11)\) received\.")
# What it writes when it stops and has answered all requests. It unloads its models then, and waits in vain for those of
# which a process died with requests in it. Source: triton-inference-server/core r24.10, src/server.cc, Stop.
ANSWERED = b"All models are stopped, unloading models"
LOOK_EVERY_S = 1.0  # while it stops
DEAD_ONLY_S = 2.0  # that it may take when all that is left of its models are processes that died

# Source: Linux prctl(2), include/uapi/linux/prctl.h.
PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def main() -> int:
    """Keep one tritonserver from start to end; returns its last exit status, or 128 + signal."""
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
    try:
        return _Keeper(order, state, stopping, wake).run()
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
    try:
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", tied.__file__, str(os.getpid()), *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=its_end,
            stderr=its_end,
            start_new_session=True,
            restore_signals=False,  # SIGPIPE stays ignored: if we are killed, it can still shut down in order
        )
    except OSError:
        os.close(output)
        raise
    finally:
        os.close(its_end)
    os.set_blocking(output, False)
    return child, output


class _Keeper:
    """Runs tritonserver, and runs it again if it ends without being told to."""

    def __init__(self, order: dict[str, Any], state: ServerState, stopping: list[int], wake: int) -> None:
        self._order = order
        self._state = state
        self._repository = Path(order["repository"])
        self._stopping = stopping  # what tells us to stop is appended
        self._log = _open_log(Path(state.log))
        self._grace_s = order["exit_timeout_s"] + KILL_AFTER_S
        self._health = Health()
        self._health.serve(state.health_port)
        self._parent, self._wake = sys.stdin.fileno(), wake
        self._selector = selectors.DefaultSelector()
        for source in (self._parent, wake):
            self._selector.register(source, selectors.EVENT_READ)
        self._started = False  # the parent has seen that all models load
        self._models: set[str] | None = None  # that served when it ended; None if that is not known
        self._pauses = Pauses()
        self._healer_wake = os.eventfd(0, os.EFD_NONBLOCK)
        self._healer: Healer | None = None

    def run(self) -> int:
        """Returns tritonserver's exit status, or 128 + the signal that ended it."""
        while True:
            try:
                status = self._run_once()
                how = _how(status)
            except OSError as error:  # there is no process, descriptor or memory for it now
                status, how = CANNOT_RUN, f"cannot be run: {error}"
                if not self._started:
                    self._tell(f"tritonserver {how}")
            if self._stopping and self._started and status:
                self._tell(f"tritonserver {how} when it was stopped: requests that it never answered were cut off")
                return 0
            if self._stopping or not self._started:
                return status
            pause_s = self._pauses.next_s()
            self._health.lose_all(TRITONSERVER, f"tritonserver {how}")
            self._tell(f"tritonserver {how}; it is started again{f' in {pause_s:g} s' if pause_s else ''}")
            self._health.count_restart(TRITONSERVER)
            end = time.monotonic() + pause_s
            while (left_s := end - time.monotonic()) > 0 and not self._stopping:
                self._take_orders({key.fd for key, _ in self._selector.select(left_s)})
            if self._stopping:
                return status

    def _run_once(self) -> int:
        arguments = self._order["arguments"]
        if self._models is not None:  # some were loaded or unloaded since it started
            arguments = [argument for argument in arguments if not argument.startswith(LOAD_MODEL)]
            arguments += [LOAD_MODEL + model for model in sorted(self._models)]
        child, output = _start(arguments, self._order["environment"])
        try:
            self._healer = self._watch_over(child.pid)
            return self._watch(child, output)
        finally:
            if self._healer is not None:
                self._models, self._healer = self._healer.end(), None
            _end_all(child.pid)
            self._state.remove_regions()

    def _watch(self, child: "subprocess.Popen[bytes]", output: int) -> int:
        """Copy the output to the log until the server ends; ask it to end when told to, then make it."""
        ended = os.pidfd_open(child.pid)
        lines = _Lines(output, self._log)
        kill_at: float | None = None
        for source in (output, ended):
            self._selector.register(source, selectors.EVENT_READ)
        try:
            while True:
                wait_s = None if kill_at is None else min(LOOK_EVERY_S, max(0.0, kill_at - time.monotonic()))
                ready = {key.fd for key, _ in self._selector.select(wait_s)}
                if output in ready and not lines.copy() and output in self._selector.get_map():
                    self._selector.unregister(output)  # all its ends are closed; the server may still be ending
                if lines.crashed:
                    child.kill()
                if ended in ready:
                    lines.copy()
                    status = child.wait()
                    if self._stopping and lines.answered:
                        return 0
                    return status if status >= 0 else 128 - status
                if self._take_orders(ready) and self._healer is not None:
                    self._healer.arm()
                if self._stopping and kill_at is None:
                    if self._healer is not None:
                        self._healer.end()  # processes end now, and shall
                    child.terminate()
                    kill_at = time.monotonic() + self._grace_s
                elif kill_at is not None:
                    if lines.answered and has_dead_only(child.pid, self._repository):
                        kill_at = min(kill_at, time.monotonic() + DEAD_ONLY_S)
                    if time.monotonic() >= kill_at:
                        child.kill()
        finally:
            for source in (output, ended):
                if source in self._selector.get_map():
                    self._selector.unregister(source)
                os.close(source)

    def _take_orders(self, ready: set[int]) -> bool:
        """Note what came from the parent or as a signal; returns whether it is that all has started."""
        if self._wake in ready:
            os.read(self._wake, 512)
        if self._parent not in ready:
            return False
        if os.read(self._parent, 512):
            self._started = True
            return True
        self._selector.unregister(self._parent)
        self._stopping.append(signal.SIGTERM)
        return False

    def _watch_over(self, tritonserver: int) -> "Healer":
        from trident.server.healing import Healer
        from trident.server.revivals import Place

        order, state = self._order, self._state
        place = Place(
            repository=self._repository,
            url=state.http_url,
            load_url=state.grpc_url,
            metrics_url=f"http://127.0.0.1:{state.metrics_port}/metrics",
            admin_key=state.admin_key,
            start_timeout_s=order["start_timeout_s"],
        )
        healer = Healer(
            tritonserver,
            place,
            self._health,
            self._tell,
            wake=self._healer_wake,
            wanted=self._models,
            on_live=self._pauses.works,
        )
        if self._started:
            healer.arm()
        return healer

    def _tell(self, line: str) -> None:
        now = datetime.now().astimezone().isoformat(timespec="milliseconds")
        self._log.info("%s trident: %s", now, line)
        with contextlib.suppress(OSError):  # nobody reads it
            print(f"{now} {line}", flush=True)


def _how(status: int) -> str:
    try:
        return f"was ended by {signal.Signals(status - 128).name}"
    except ValueError:
        return f"ended with status {status}"


class _Lines:
    """Copies what a process writes to a log, line by line."""

    def __init__(self, output: int, log: logging.Logger) -> None:
        self._output = output
        self._log = log
        self._pending = b""
        self.crashed = False  # so it said
        self.answered = False  # likewise, all requests

    def copy(self) -> bool:
        """Copy what there is; returns whether more may come."""
        try:
            data = os.read(self._output, 2**20)
        except BlockingIOError:
            return True
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            self.crashed = self.crashed or CRASHED.match(line) is not None
            self.answered = self.answered or ANSWERED in line
            self._log.info(line.decode("utf-8", "replace"))
        return bool(data)


def _end_all(group: int) -> None:
    """Kill what is left of tritonserver's process group, and what left it, and collect the dead.

    A process is our child once the one that started it has ended; so there may be more after each that is collected.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    while True:
        for child in children(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


if __name__ == "__main__":
    sys.exit(main())
