"""A running service under load: perf_analyzer at one concurrency after the other."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from trident_client import Client

from trident.errors import BenchError
from trident.perf_analyzer import NoAnswer, measure
from trident.perf_inputs import check_input_data, check_takes_texts, read_texts, write_texts
from trident.perf_report import Point, read_point

WINDOWS = 3  # perf_analyzer takes as many, at least
ANY = "999999"  # percent by which the windows may be apart
STRETCH = 1.2  # its windows are longer than it is told
WARM_UPS, WARM_S = 5, 2.0  # runs that do not count, at most, and how long each is
STEADY = 1.2  # a run that is not so many times as fast as the one before is the last
WIDENED = (1, 3, 9)  # times as long windows, if nothing is answered in one
PROTOCOLS = ("http", "grpc")


@dataclass(frozen=True)
class Load:
    """What is sent, and where.

    Attributes:
        service: the model that is asked.
        url: of the server, http:// or grpc://.
        data: requests in perf_analyzer's form.
        seconds: that are measured at each concurrency; more where that is too short for an answer.
        timeout_s: that requests may take longer than that.
    """

    service: str
    url: str
    data: Path
    seconds: float
    timeout_s: float


@contextmanager
def requests_file(texts: Path | None, column: str, input_data: Path | None) -> Iterator[Path]:
    """A file of requests in perf_analyzer's form, as long as the block lasts.

    Args:
        texts: a file of texts; see `perf_inputs.read_texts`.
        column: of the texts.
        input_data: a file that has this form; instead of texts.

    Raises:
        TridentError: none or both are given, or the file cannot be used.
    """
    if input_data is not None and texts is None:
        check_input_data(input_data)
        yield input_data
        return
    if texts is None or input_data is not None:
        raise BenchError("give either --texts FILE or --input-data FILE: what is measured depends on what is sent")
    with tempfile.TemporaryDirectory(prefix="trident-texts-") as folder:
        data = Path(folder) / "texts.json"
        write_texts(read_texts(texts, column), data)
        yield data


def check_target(url: str, service: str, timeout_s: float, *, of_texts: bool) -> None:
    """See that perf_analyzer can ask the service.

    Args:
        url: of the server.
        service: its name.
        timeout_s: that an answer may take.
        of_texts: whether it is to be sent texts.

    Raises:
        ClientError: the server does not answer, or has no such service.
        BenchError: it takes something else, or it is to be asked over TLS.
    """
    if urlsplit(url).scheme not in PROTOCOLS:
        raise BenchError(
            f"--url is {url}; expected http:// or grpc://. Over TLS: `trident perf-analyzer` and its --ssl-... options"
        )
    with Client(url, timeout_s=timeout_s) as client:
        if of_texts:
            check_takes_texts(client, service)
        else:
            client.get_model_metadata(service)


def bench(load: Load, concurrencies: Sequence[int], on_point: Callable[[int], object]) -> list[Point]:
    """Measure a service at several concurrencies.

    Before the first there are runs at the highest that do not count: what the server does for the first time, such as
    compiling for a shape, is no figure of its throughput.

    Args:
        load: what is sent, and where.
        concurrencies: callers at once.
        on_point: is told how many concurrencies are done, with those runs as one.

    Raises:
        TridentError: perf_analyzer is not to be had, or failed.
    """
    _warm_up(replace(load, seconds=min(load.seconds, WARM_S)), max(concurrencies))
    points = []
    for done, concurrency in enumerate(concurrencies, start=1):
        on_point(done)
        points.append(_measure(load, concurrency))
    on_point(len(concurrencies) + 1)
    return points


def arguments(load: Load, concurrency: int) -> list[str]:
    """Perf_analyzer's, for one run of exactly `WINDOWS` windows.

    Its test of stability is off, since it may go on for ever on a machine that others share; how far the windows are
    apart is reported instead.
    """
    url = urlsplit(load.url)
    window_ms = max(1, round(1000 * load.seconds / WINDOWS / STRETCH))
    return [
        *("-m", load.service, "-i", url.scheme, "-u", url.netloc, "--input-data", str(load.data)),
        *("--concurrency-range", str(concurrency)),
        *("--measurement-interval", str(window_ms), "--stability-percentage", ANY, "--max-trials", str(WINDOWS)),
        *("--percentile", "95"),
    ]


def _warm_up(load: Load, concurrency: int) -> None:
    """Ask until the server gets no faster."""
    before = 0.0
    for _ in range(WARM_UPS):
        try:
            rate = _run(load, concurrency).throughput
        except NoAnswer:  # it is still busy with what it does once
            continue
        if rate <= before * STEADY:
            return
        before = rate


def _measure(load: Load, concurrency: int) -> Point:
    """In windows that are long enough for an answer."""
    for times in WIDENED[:-1]:
        with suppress(NoAnswer):
            return _run(replace(load, seconds=times * load.seconds), concurrency)
    return _run(replace(load, seconds=WIDENED[-1] * load.seconds), concurrency)


def _run(load: Load, concurrency: int) -> Point:
    export, report = measure(arguments(load, concurrency), load.seconds * STRETCH + load.timeout_s)
    return read_point(concurrency, export, report, load.service)
