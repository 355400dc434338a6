"""What an instance pays before its first call: TensorFlow as the backend imports it, and as it imports itself."""

import subprocess
import sys
from statistics import median

from sections.common import Figure, Options, Result

ROUNDS = 3
MEASURED = "print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
WAYS = {
    "with Keras": "import tensorflow",
    "without Keras": "from triton_tensorflow.device import import_tensorflow; import_tensorflow()",
}
NOTES = ["each in a process of its own, in turn; the backend imports TensorFlow without Keras"]


def measure(options: Options) -> Result:
    """Seconds and megabytes of each way."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    for _ in range(ROUNDS):
        for name, statement in WAYS.items():
            script = f"import resource, time, trident; start = time.perf_counter(); {statement}; {MEASURED}"
            command = [sys.executable, "-c", script]
            result = subprocess.run(command, check=True, capture_output=True, text=True)
            seconds, megabytes = map(float, result.stdout.split())
            found[name].append((seconds, megabytes))
    figures = []
    for name, pairs in found.items():
        figures.append(Figure(f"import {name}", median(seconds for seconds, _ in pairs), "s"))
        figures.append(Figure(f"resident memory {name}", median(megabytes for _, megabytes in pairs), "MB"))
    return Result(figures, NOTES, {"pairs": found})
