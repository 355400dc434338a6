"""What was measured: all rounds of all servers and bounds, as the table, the points and the JSON file need it."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from comparison.load import Sample


@dataclass(frozen=True)
class Load:
    """A column of the table.

    Attributes:
        name: as the table shows it.
        texts: `short` or `mixed`.
        callers: at once.
        length: of a round, in units of --seconds; batches of long texts are few, so they get more.
    """

    name: str
    texts: str
    callers: int
    length: int = 1


ALONE, EIGHT, MANY = Load("short, 1 caller", "short", 1), Load("short, 8", "short", 8), Load("short, 64", "short", 64)
MIXED = Load("mixed, 32", "mixed", 32, length=2)
LOADS = [ALONE, EIGHT, MANY, MIXED]
TINY_ALONE, TINY_MANY = Load("tiny, 1 caller", "short", 1), Load("tiny, 64", "short", 64)
TINY_LOADS = [TINY_ALONE, TINY_MANY]
BATCH = "64 texts in a request"  # our own column: a sample whose rate is in texts


@dataclass
class Row:
    """What is known of a server.

    Attributes:
        name: as the table shows it.
        kind: `peer`, `ours` or `ours, accelerated`.
        processes: that have the model.
        samples: name of a load → a sample for each round.
        start_s: seconds from start to the first answer, of each round.
        memory_mb: resident after the last load, of each round.
        failure: why it is not, or not fully, measured; empty if it is.
    """

    name: str
    kind: str
    processes: int = 0
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    start_s: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)
    failure: str = ""

    def values(self, load: str, figure: Callable[[Sample], float]) -> list[float]:
        """One figure of all rounds of a load; of rounds in which a request failed there is none."""
        return [figure(sample) for sample in self.samples.get(load, []) if not sample.failed]

    def rate(self, load: str) -> float:
        """Median answers a second; NaN if there is none."""
        return median(self.values(load, lambda sample: sample.rate))

    def p50_ms(self, load: str) -> float:
        """Median of the median latencies."""
        return median(self.values(load, lambda sample: sample.p50_ms))

    def short_p95_ms(self, load: str) -> float:
        """Median of the 95th percentiles of short texts."""
        return median(self.values(load, lambda sample: sample.short_p95_ms))


@dataclass
class Bounds:
    """What is possible in process; each list has a figure for each round.

    Attributes:
        one_rate, one_ms: one text after the other, one process with all threads.
        windows: texts a second with one process of one thread for each core, windows sorted and cut; by kind of texts.
        batch_rate: texts a second of one call with 64.
        start_s: of one process until it has answered.
        memory_mb: of one process that has answered.
        accuracy: of the labels of TensorFlow in f32, of 1.
    """

    one_rate: list[float] = field(default_factory=list)
    one_ms: list[float] = field(default_factory=list)
    windows: dict[str, list[float]] = field(default_factory=lambda: {"short": [], "mixed": []})
    batch_rate: list[float] = field(default_factory=list)
    start_s: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)
    accuracy: float = math.nan


@dataclass
class Results:
    """All of it; `accuracy` is by name of the server, of 1."""

    rows: list[Row]
    bounds: Bounds = field(default_factory=Bounds)
    accuracy: dict[str, float] = field(default_factory=dict)

    def best(self, kinds: Sequence[str], figure: Callable[[Row], float], *, least: bool = False) -> tuple[str, float]:
        """The row with the largest, or least, figure; an empty name and NaN if none has it."""
        found = [(row.name, figure(row)) for row in self.rows if row.kind in kinds]
        known = [(name, value) for name, value in found if not math.isnan(value)]
        choose = min if least else max
        return choose(known, key=lambda pair: pair[1]) if known else ("", math.nan)

    def plain(self) -> dict[str, Any]:
        """For the JSON file."""
        return {"servers": [asdict(row) for row in self.rows], "bounds": asdict(self.bounds), "accuracy": self.accuracy}


def without_nan(value: Any) -> Any:
    """The same with None for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def median(values: Sequence[float]) -> float:
    """The median; NaN of nothing."""
    return statistics.median(values) if values else math.nan
