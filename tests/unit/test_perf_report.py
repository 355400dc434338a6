"""Figures out of what perf_analyzer writes and prints; the reports are real ones, shortened."""

from typing import Any

import pytest
from trident.errors import BenchError
from trident.perf_report import read_models, read_point

ENSEMBLE = """\
Request concurrency: 4
  Client: 
    Request count: 4093
    Throughput: 1134.3 infer/sec
    Avg HTTP time: 3515 usec (send/recv 45 usec + response wait 3470 usec)
  Server: 
    Inference count: 4094
    Execution count: 4094
    Successful request count: 4094
    Avg request latency: 2806 usec (overhead 0 usec + queue 821 usec + compute 2037 usec)

  Composing models: 
  tiny_model, version: 1
      Inference count: 4094
      Execution count: 2047
      Successful request count: 4094
      Avg request latency: 1562 usec (overhead 2 usec + queue 487 usec + compute input 14 usec + compute infer 1002 usec + compute output 55 usec)

  tiny_idle, version: 1
      Inference count: 0
      Execution count: 0

  tiny_preprocess, version: 12
      Inference count: 4097
      Execution count: 4097
      Successful request count: 4097
      Avg request latency: 726 usec (overhead 1 usec + queue 213 usec + compute input 15 usec + compute infer 428 usec + compute output 67 usec)

Inferences/Second vs. Client p95 Batch Latency
Concurrency: 4, throughput: 1134.3 infer/sec, latency 5233 usec
"""  # noqa: E501 - as it is printed
ALONE = """\
  Server: 
    Inference count: 10
    Execution count: 4
    Avg request latency: 900 usec (overhead 1 usec + queue 250 usec + compute input 20 usec + compute infer 600 usec + compute output 30 usec)
"""  # noqa: E501 - as it is printed
MS = 1_000_000  # nanoseconds


def export(*requests: tuple[int, int | None], bounds: tuple[int, ...] = (0, 100, 200)) -> dict[str, Any]:
    """A profile export of requests from one time to another, in milliseconds; None was never answered."""
    entries = [
        {"timestamp": sent * MS, "response_timestamps": [] if answered is None else [answered * MS]}
        for sent, answered in requests
    ]
    return {"experiments": [{"requests": entries, "window_boundaries": [bound * MS for bound in bounds]}]}


def test_the_composing_models_are_read() -> None:
    model, preprocess = read_models(ENSEMBLE, "tiny")
    assert (model.name, model.version, model.rows) == ("tiny_model", "1", 2.0)
    assert (model.queue_ms, model.compute_ms) == pytest.approx((0.487, 1.071))
    assert (preprocess.name, preprocess.version, preprocess.rows) == ("tiny_preprocess", "12", 1.0)


def test_a_model_that_is_no_ensemble_is_its_own() -> None:
    (alone,) = read_models(ALONE, "prices")
    assert (alone.name, alone.version, alone.rows, alone.queue_ms) == ("prices", "", 2.5, 0.25)
    assert alone.compute_ms == pytest.approx(0.65)


def test_only_what_was_answered_within_the_windows_counts() -> None:
    requests = [(-50, -1), (-10, 10), (20, 50), (60, 100), (150, 199), (190, 230), (195, None)]
    point = read_point(3, export(*requests), ENSEMBLE, "tiny")
    assert (point.concurrency, point.requests) == (3, 4)
    assert point.throughput == pytest.approx(4 / 0.2)
    assert (point.p50_ms, point.p95_ms, point.p99_ms) == (40, 49, 49)
    assert [time.name for time in point.models] == ["tiny_model", "tiny_preprocess"]


def test_the_spread_is_that_of_the_windows() -> None:
    steady = read_point(1, export((0, 50), (50, 90), (100, 150), (150, 190)), "", "tiny")
    assert steady.spread == 0
    uneven = read_point(1, export((0, 50), (100, 130), (130, 150), (150, 190)), "", "tiny")
    assert uneven.spread == pytest.approx(1.0)  # 1 and 3, around 2


def test_percentiles_of_many() -> None:
    point = read_point(1, export(*((0, latency) for latency in range(1, 101))), "", "tiny")
    assert (point.p50_ms, point.p95_ms, point.p99_ms) == (51, 96, 100)


def test_nothing_answered_and_another_form_are_errors() -> None:
    with pytest.raises(BenchError, match="no request was answered at concurrency 2;"):
        read_point(2, export((0, None)), "", "tiny")
    with pytest.raises(BenchError, match="another form"):
        read_point(2, {"experiments": []}, "", "tiny")
