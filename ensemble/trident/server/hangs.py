"""Finds models that hang: requests wait for them, and none is answered.

Source: triton-inference-server/core r24.10, src/metrics.cc (names and labels of the metrics). What is refused or
cancelled while it waits is no progress.
"""

import re
import time
from collections.abc import Callable, Mapping

SAMPLE = re.compile(r"^nv_inference_(\w+)\{([^}]*)\} ([\d.e+]+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="([^"]*)"')
NO_PROGRESS = {"REJECTED", "CANCELED"}

Key = tuple[str, str]  # model, version


class Hangs:
    """Looks at one server's metrics again and again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is known yet."""
        self._clock = clock
        self._done: dict[Key, float] = {}
        self._since: dict[Key, float] = {}

    def find(self, metrics: str, limits_s: Mapping[str, float]) -> list[Key]:
        """Models that have answered nothing for longer than their limit, since a request was seen waiting for them.

        Args:
            metrics: what /metrics says now.
            limits_s: model → limit; a model without one is not judged.
        """
        now = self._clock()
        done, waiting = _read(metrics)
        for key, count in done.items():
            if count != self._done.get(key):
                self._since.pop(key, None)
        self._done = done
        self._since = {key: since for key, since in self._since.items() if key in waiting}  # the others are unloaded
        for key, count in waiting.items():
            if count:
                self._since.setdefault(key, now)
        return [key for key, since in self._since.items() if key[0] in limits_s and now - since >= limits_s[key[0]]]

    def forget(self, key: Key) -> None:
        """Begin anew with a model: its process was replaced."""
        self._since.pop(key, None)


def _read(metrics: str) -> tuple[dict[Key, float], dict[Key, float]]:
    """Requests answered so far, and requests that wait, of each version of each model."""
    done: dict[Key, float] = {}
    waiting: dict[Key, float] = {}
    for name, text, value in SAMPLE.findall(metrics):
        labels = dict(LABEL.findall(text))
        key = (labels.get("model", ""), labels.get("version", ""))
        if name == "pending_request_count":
            waiting[key] = waiting.get(key, 0) + float(value)
        elif name in ("request_success", "request_failure") and labels.get("reason") not in NO_PROGRESS:
            done[key] = done.get(key, 0) + float(value)
    return done, waiting
