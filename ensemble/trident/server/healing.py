"""Replaces the processes of models that die or hang, which Triton 24.10 does not: to it their models stay ready.

A death is seen at once (a pidfd becomes readable) and is one if nobody collects the process: Triton collects those
that it ends itself. Requests until the model is back wait a second for Triton's "Stub process ... is not healthy".
"""

import contextlib
import os
import select
import selectors
import signal
import threading
import time
import traceback
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass

from trident_client import Client, ClientError

from trident.ownership import HANG_PARAMETER
from trident.server.hangs import Hangs, Key
from trident.server.health import TRITONSERVER, Health
from trident.server.revivals import UNLOADED, Place, Revivals
from trident.server.stubs import IN_ORDER, Stub, dead_stubs, end_of, find_stubs
from trident.server.uncollected import free_shared_memory, reason_to_restart
from trident.server.waits import Waits

LOOK_EVERY_S = 1.0
MEET_EVERY_S = 0.1  # while models load
COLLECTED_WITHIN_S = 0.3  # by Triton, if it ended the process itself
ASK_TIMEOUT_S = 10.0
CLOSED_WITHIN_S = 0.5  # its connection, for which a tritonserver that stops waits in steps of a second
SILENT_S = 30.0  # a tritonserver that was live and does not answer for so long hangs
STUCK_START_S = 8.0  # likewise one whose start, or whose load of a model, waits for a process that is dead
FORGOTTEN_S = 5.0  # a load that waits so long for the end of its own process, which runs, has forgotten it
DRAIN_S = 2.0  # that requests may take when tritonserver is restarted since dead processes hold too much
LEFT_S = 600.0  # that a process may take for its last requests when its model has been replaced, if no limit is set
LEFT_LIMITS = 5  # or so many times the limit


@dataclass
class Watched:
    """A process that runs, or whose end has not been looked at.

    Attributes:
        descriptor: its pidfd.
        stub: what it is.
        since: when it was met; seconds of the monotonic clock, and never before it was started.
        retired: it was replaced, and is ended for that.
    """

    descriptor: int
    stub: Stub
    since: float
    retired: bool = False


class Healer:
    """Watches one tritonserver from a thread of its own until `end` is called."""

    def __init__(
        self,
        tritonserver: int,
        place: Place,
        health: Health,
        tell: Callable[[str], None],
        wake: int,
        wanted: set[str] | None,
        on_live: Callable[[], None],
    ) -> None:
        """Begin to watch; nothing is done about what is seen before `arm` is called.

        Args:
            tritonserver: its process.
            place: where it is.
            health: told what is wrong.
            tell: gets a line for each death and recovery.
            wake: an eventfd that is free for the healer, and outlives it: a load that ends late may write to it.
            wanted: models that served before, and shall again; None if that is not known.
            on_live: called when tritonserver answers for the first time.
        """
        self._tritonserver = tritonserver
        self._place = place
        self._health = health
        self._tell = tell
        self._wanted = wanted
        self._on_live = on_live
        self._armed = threading.Event()
        self._ended = threading.Event()
        self._heard = time.monotonic()
        self._silent_s = place.start_timeout_s
        self._known: dict[int, Watched] = {}  # by pid; until it is buried
        self._selector = selectors.DefaultSelector()
        self._wake = wake  # readable: there are new processes to be met
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._revivals = Revivals(place, health, tell, self._ended, lambda: os.eventfd_write(self._wake, 1))
        self._hangs = Hangs()
        self._waits = Waits()
        self._limits_s: dict[str, float] = {}
        self._states: dict[Key, str] = {}
        self._had_processes: set[Key] = set()
        self._missing: set[Key] = set()
        self._ends: dict[Key, str] = {}
        self._dead: list[Stub] = []  # about which nothing has been done yet
        self._judged: set[int] = set()  # the others that tritonserver has not collected
        self._waiting: dict[Key, float] = {}  # loads without a process; since when
        self._too_much: str | None = None  # that dead processes hold
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def arm(self) -> None:
        """All has started; what dies from now on is replaced."""
        self._armed.set()

    def end(self) -> set[str] | None:
        """Stop watching; returns the models that served, None if that is not known."""
        self._ended.set()
        os.eventfd_write(self._wake, 1)
        self._thread.join(CLOSED_WITHIN_S)
        return self._wanted

    def _run(self) -> None:
        with Client(self._place.url, admin_key=self._place.admin_key, timeout_s=ASK_TIMEOUT_S, retry=None) as client:
            while not self._ended.is_set():
                if not self._armed.is_set():  # models load; their processes are met, lest one dies unknown
                    self._meet(find_stubs(self._tritonserver, self._place.repository))
                    self._end_forgotten()
                    self._armed.wait(MEET_EVERY_S)
                    continue
                try:
                    self._look(client)
                except (ClientError, OSError):  # it is still loading, or ending, or hangs
                    self._end_forgotten()
                    self._check_silence()
                except Exception:  # whatever it was, the watch goes on
                    self._tell(f"the watch over the models failed: {traceback.format_exc()}")
                self._selector.select(LOOK_EVERY_S)
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(self._wake)
        if self._too_much:  # our connection is closed, for which it would wait
            self._make_room(self._too_much)
        for watched in self._known.values():
            os.close(watched.descriptor)
        self._selector.close()

    def _look(self, client: Client) -> None:
        try:
            client.is_server_live()
            if self._silent_s != SILENT_S:
                self._on_live()
            self._heard, self._silent_s = time.monotonic(), SILENT_S
        finally:  # after it: a process that died since the start is one to be replaced if tritonserver is live
            self._bury()
            self._meet(find_stubs(self._tritonserver, self._place.repository))
        self._read_index(client)
        dead = dead_stubs(self._tritonserver)
        self._judge(dead)
        self._miss()
        self._end_forgotten(self._loading())
        self._retire()
        if self._limits_s:
            with urllib.request.urlopen(self._place.metrics_url, timeout=ASK_TIMEOUT_S) as answer:  # noqa: S310
                metrics = answer.read().decode()
            for key in self._hangs.find(metrics, self._limits_s):
                self._end_hanging(key)
        self._too_much = reason_to_restart(len(dead), free_shared_memory())
        if self._too_much:
            self._ended.set()

    def _check_silence(self) -> None:
        """Kill a tritonserver that hangs; the supervisor starts it again."""
        silent_s = time.monotonic() - self._heard
        if silent_s >= self._silent_s:
            self._kill(f"tritonserver has not answered for {silent_s:.0f} s")

    def _make_room(self, reason: str) -> None:
        """End a tritonserver whose dead processes hold too much, for it never frees that."""
        self._tell(f"{reason}, and only a restart frees that; tritonserver is told to stop")
        tritonserver = os.pidfd_open(self._tritonserver)
        try:
            signal.pidfd_send_signal(tritonserver, signal.SIGTERM)
            if not select.select([tritonserver], [], [], DRAIN_S)[0]:
                signal.pidfd_send_signal(tritonserver, signal.SIGKILL)
        finally:
            os.close(tritonserver)

    def _retire(self) -> None:
        """End what tritonserver keeps of versions that were replaced: if an instance died with a request, all stay."""
        replaced, now = self._revivals.replaced(), time.monotonic()
        for watched in self._known.values():
            stub = watched.stub
            key = stub.model, stub.version
            if key not in replaced or watched.retired:
                continue
            began, ended = replaced[key]
            limit_s = self._limits_s.get(stub.model)
            if watched.since < began and now - ended >= (LEFT_LIMITS * limit_s if limit_s else LEFT_S):
                self._tell(
                    f"model '{stub.model}' version {stub.version}: process {stub.pid} was replaced with one that died, "
                    "and tritonserver keeps it; it is killed"
                )
                watched.retired = True
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(watched.descriptor, signal.SIGKILL)

    def _kill(self, reason: str) -> None:
        self._tell(f"{reason}; it is killed")
        _end(self._tritonserver)

    def _bury(self) -> None:
        """Find out which processes have died, and how."""
        ended: list[Watched] = [key.data for key, _ in self._selector.select(0) if key.data is not None]
        for watched in ended:
            stub = watched.stub
            del self._known[stub.pid]
            self._selector.unregister(watched.descriptor)
            os.close(watched.descriptor)
            self._ends[stub.model, stub.version] = f"its process {stub.pid} {end_of(stub.pid) or 'is gone'}"
        if ended and not self._ended.wait(COLLECTED_WITHIN_S):
            for watched in ended:
                if end_of(watched.stub.pid) in (None, IN_ORDER):  # collected, or about to be; else it will be missed
                    continue
                if watched.retired:
                    self._judged.add(watched.stub.pid)
                elif self._silent_s == SILENT_S:
                    self._dead.append(watched.stub)
                else:  # it was never live, and waits for this process in vain
                    self._silent_s = STUCK_START_S

    def _judge(self, dead: set[int]) -> None:
        """Have versions revived whose process died after they were loaded; of others, who loads them is told."""
        loading = self._loading()
        for stub in [*self._dead]:
            key = stub.model, stub.version
            if key not in loading:
                self._dead.remove(stub)
                self._judged.add(stub.pid)
                if self._states.get(key, "READY") == "READY":  # a model whose folder was deleted is not in the index
                    self._revivals.begin(*key, self._ends[key])
        self._check_loads(
            loading - {(watched.stub.model, watched.stub.version) for watched in self._known.values()}, dead
        )

    def _check_loads(self, waiting: set[Key], dead: set[int]) -> None:
        """Kill a tritonserver in which a load waits for a process that is dead: it ends never, nor does another of it.

        Args:
            waiting: versions that are being loaded and have no process.
            dead: processes that tritonserver has not collected.
        """
        self._judged &= dead
        now = time.monotonic()
        self._waiting = {key: self._waiting.get(key, now) for key in waiting if dead - self._judged}
        for (model, version), since in self._waiting.items():
            if now - since >= STUCK_START_S:
                self._kill(f"the load of model '{model}' version {version} waits for a process that died")
                return

    def _meet(self, alive: list[Stub]) -> None:
        """Watch processes that are new."""
        for stub in alive:
            if stub.pid not in self._known:
                with contextlib.suppress(ProcessLookupError):
                    descriptor = os.pidfd_open(stub.pid)
                    self._known[stub.pid] = Watched(descriptor, stub, time.monotonic())
                    self._selector.register(descriptor, selectors.EVENT_READ, self._known[stub.pid])

    def _miss(self) -> None:
        """Have models revived whose process was gone before it was met."""
        have = {(watched.stub.model, watched.stub.version) for watched in self._known.values()}
        missing = {
            key
            for key in self._had_processes - have
            if self._states.get(key) == "READY" and not self._revivals.under_way(key[0])
        }
        for model, version in sorted(missing & self._missing):  # else a new one may just not have been met
            self._revivals.begin(model, version, self._ends.get((model, version), "its process is gone"))
        self._missing = missing
        self._had_processes |= have

    def _read_index(self, client: Client) -> None:
        """Learn what is loaded, and what should be and is not."""
        index = client.get_model_repository_index()
        self._health.mend(TRITONSERVER)
        states = {(entry["name"], str(entry.get("version", ""))): entry.get("state", "") for entry in index}
        ready = {name for (name, _), state in states.items() if state == "READY"}
        if states != self._states:
            self._limits_s = _limits_s(client, sorted(ready))
            self._states = states
        self._wanted = (self._wanted or set()) | ready
        for name in ready:
            if not self._revivals.under_way(name):
                self._health.mend(name)
        for entry in index:
            name, state, reason = entry["name"], entry.get("state", ""), entry.get("reason", "")
            if name not in self._wanted - ready:
                continue
            if state == "UNLOADING" or reason == UNLOADED:  # somebody wants it so
                self._wanted.discard(name)
            elif state == "UNAVAILABLE" and not self._revivals.under_way(name):
                self._revivals.begin(name, "", " ".join(reason.split()) or "it is not loaded")

    def _loading(self) -> set[Key]:
        return {key for key, state in self._states.items() if state == "LOADING"} | self._revivals.loading()

    def _end_forgotten(self, loading: set[Key] | None = None) -> None:
        """Kill processes of loads that tritonserver has given up without telling them; the loads fail then.

        Args:
            loading: versions that are being loaded; None if all may be, since tritonserver does not answer yet.
        """
        stubs = [watched.stub for watched in self._known.values()]
        stubs = [stub for stub in stubs if loading is None or (stub.model, stub.version) in loading]
        forgotten = self._waits.find(self._tritonserver, {stub.pid for stub in stubs}, FORGOTTEN_S)
        for stub in stubs:
            if stub.pid in forgotten:
                self._tell(
                    f"model '{stub.model}' version {stub.version}: tritonserver gave its process {stub.pid} up while "
                    "it loaded, as on a machine that is too busy, and waits for its end; it is killed"
                )
                _end(stub.pid)

    def _end_hanging(self, key: Key) -> None:
        """Kill the processes of a model; what follows is as with any that dies."""
        model, version = key
        self._hangs.forget(key)
        self._tell(
            f"model '{model}' version {version} has answered nothing for {self._limits_s[model]:g} s while requests "
            "wait; its processes are killed"
        )
        for stub in find_stubs(self._tritonserver, self._place.repository):
            if (stub.model, stub.version) == key:
                _end(stub.pid)


def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended by itself
        os.kill(pid, signal.SIGKILL)


def _limits_s(client: Client, ready: list[str]) -> dict[str, float]:
    """Model → seconds without an answer after which it hangs, as the ensembles say that use it."""
    limits = {}
    for name in ready:
        config = client.get_model_config(name)
        steps = (config.get("ensemble_scheduling") or {}).get("step", [])
        text = config.get("parameters", {}).get(HANG_PARAMETER, {}).get("string_value", "")
        with contextlib.suppress(ValueError):  # nothing, or written by somebody else
            limits.update({step["model_name"]: float(text) for step in steps})
    return {model: limit for model, limit in limits.items() if limit > 0}
