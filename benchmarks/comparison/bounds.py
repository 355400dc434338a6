"""What is possible in process, with the same model code as the peers': it is what servers are compared with.

`Process` starts this module as a program: it loads the model, then answers orders, one JSON line each.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from classifier import Classifier

BENCHMARKS = Path(__file__).parent.parent
WINDOW = 64


class Process:
    """A process of its own with the model.

    Attributes:
        start_s: seconds from its start until the model had answered.
        pid: its id.
    """

    def __init__(self, service: Path, threads: int) -> None:
        """Start it, and wait until it is ready."""
        paths = [str(BENCHMARKS), str(BENCHMARKS / "peers" / "shared"), os.environ.get("PYTHONPATH", "")]
        settings = {
            "PYTHONPATH": ":".join(filter(None, paths)),
            "PEER_SERVICE": str(service),
            "PEER_THREADS": str(threads),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "",
        }
        started = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "comparison.bounds"],
            env=os.environ | settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.pid = self._process.pid
        self.answer()
        self.start_s = time.perf_counter() - started

    def __enter__(self) -> "Process":
        """Is there until the block ends."""
        return self

    def __exit__(self, *exception: object) -> None:
        """End it."""
        self.stop()

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def order(self, what: str, **settings: Any) -> None:
        """Tell it to do something; see `ORDERS`."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"what": what} | settings) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """What came of the order.

        Raises:
            RuntimeError: the process ended.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the process with the model ended; load the service by hand to see why")
        return json.loads(line)

    def ask(self, what: str, **settings: Any) -> Any:
        """Order, and wait for the answer."""
        self.order(what, **settings)
        return self.answer()


def answers(classifier: "Classifier", texts: Sequence[str], max_length: int) -> list[tuple[str, float]]:
    """Label and score of texts."""
    classifier.tokenizer.enable_truncation(max_length)
    batches = [texts[place : place + WINDOW] for place in range(0, len(texts), WINDOW)]
    found = [(one["label"], one["score"]) for batch in batches for one in classifier(batch)]
    classifier.tokenizer.enable_truncation(128)
    return found


def one_by_one(classifier: "Classifier", texts: Sequence[str], seconds: float) -> dict[str, float]:
    """Texts a second, and milliseconds of a text, if each is a call."""
    times = _repeat(lambda number: classifier([texts[number % len(texts)]]), seconds)
    return {"rate": len(times) / sum(times), "p50_ms": 1e3 * statistics.median(times)}


def batch(classifier: "Classifier", texts: Sequence[str], seconds: float) -> dict[str, float]:
    """The same, if all texts are one call."""
    times = _repeat(lambda number: classifier(texts), seconds)
    return {"rate": len(texts) / statistics.median(times), "p50_ms": 1e3 * statistics.median(times)}


def windows(classifier: "Classifier", texts: Sequence[str], seconds: float) -> dict[str, float]:
    """Texts a second if each window of WINDOW is sorted by length and cut where that is cheapest."""
    import numpy as np
    import trident  # noqa: F401  # puts the backend's package on the path
    from triton_tensorflow.cutting import cut, measure

    def cells(rows: int, length: int) -> int:
        classifier.logits(np.ones((rows, length), np.int32))
        return rows * length

    cost = measure(cells)
    classifier.tokenizer.no_padding()

    def window(number: int) -> None:
        start = number * WINDOW % (len(texts) - WINDOW + 1)
        rows = [encoding.ids for encoding in classifier.tokenizer.encode_batch_fast(texts[start : start + WINDOW])]
        for group in cut([len(row) for row in rows], cost):
            ids = np.zeros((len(group), max(len(rows[place]) for place in group)), np.int32)
            for line, place in enumerate(group):
                ids[line, : len(rows[place])] = rows[place]
            classifier.decode(classifier.logits(ids))

    times = _repeat(window, seconds)
    classifier.tokenizer.enable_padding()
    return {"rate": WINDOW * len(times) / sum(times)}


ORDERS: dict[str, Callable[..., Any]] = {
    "answers": answers,
    "one by one": one_by_one,
    "batch": batch,
    "windows": windows,
}


def _repeat(work: Callable[[int], object], seconds: float) -> list[float]:
    """Seconds of each piece of work, after two that don't count."""
    times: list[float] = []
    for number in (0, 1):
        work(number)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        work(len(times))
        times.append(time.perf_counter() - started)
    return times


def main() -> None:
    """Load the model and take orders until there are no more."""
    from classifier import Classifier

    classifier = Classifier()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(ORDERS[order.pop("what")](classifier, **order)), flush=True)


if __name__ == "__main__":
    main()
