"""What this backend counts, as custom metrics of Triton; kept in Python and handed over by a timer.

An increment is a round trip to tritonserver (32 µs in 24.10), which no request should wait for.
"""

import threading
from dataclasses import fields
from typing import Any

import triton_python_backend_utils as pb_utils

from triton_tensorflow.executor import Counts

FLUSH_S = 1.0


METRICS = {
    "calls": ("tf_calls", "Calls of the model"),
    "call_s": ("tf_call_seconds", "Seconds in calls of the model"),
    "cells": ("tf_batch_elements", "Elements of padded inputs in batches of several requests"),
    "padding": ("tf_padding_elements", "Elements of these that are padding"),
    "parts": ("tf_extra_sub_batches", "Sub-batches that batches were cut into, beyond one"),
    "refused": ("tf_requests_refused", "Requests answered with an error"),
    "retries": ("tf_batch_retries", "Batches run again one by one, to find the request that fails"),
}


class Metrics:
    """Hands the counts of one instance to Triton."""

    def __init__(self, counts: Counts, model: str, version: str) -> None:
        """Register the metrics and start the timer.

        Raises:
            Exception: this Triton has no custom metrics, or they are off.
        """
        self._counts = counts
        self._reported = Counts()
        kind = pb_utils.MetricFamily.COUNTER
        labels = {"model": model, "version": version}
        self._families = {
            name: pb_utils.MetricFamily(name=metric, description=text, kind=kind)
            for name, (metric, text) in METRICS.items()
        }
        self._metrics = {name: family.Metric(labels=labels) for name, family in self._families.items()}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(FLUSH_S):
            self._flush()

    def _flush(self) -> None:
        for entry in fields(Counts):
            value = getattr(self._counts, entry.name)
            if difference := value - getattr(self._reported, entry.name):
                self._metrics[entry.name].increment(difference)
                setattr(self._reported, entry.name, value)

    def close(self) -> None:
        """Stop the timer and give the metrics back, each before its family."""
        self._stopped.set()
        self._thread.join()
        self._metrics.clear()
        self._families.clear()


def start(counts: Counts, model: str, version: str) -> Any:
    """The metrics, or None where Triton has none; a model serves without them."""
    try:
        return Metrics(counts, model, version)
    except Exception as error:  # AttributeError before 23.05, else Triton's own
        pb_utils.Logger.log_warn(f"Model '{model}': no custom metrics ({error})")
        return None
