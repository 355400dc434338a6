"""BentoML with adaptive batching; a worker is a process.

`max_latency_ms` stays at its default: requests that waited longer are dropped, it is no time that a batch waits.
"""

from typing import Any

import bentoml
from classifier import MAX_BATCH, PROCESSES, Classifier


@bentoml.service(
    workers=PROCESSES, traffic={"timeout": 60, "max_concurrency": 1024}, logging={"access": {"enabled": False}}
)
class Spam:
    """A worker."""

    def __init__(self) -> None:
        """Load the model."""
        self.classifier = Classifier()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH)
    def predict(self, texts: list[str]) -> list[dict[str, Any]]:
        """Labels of a batch."""
        return self.classifier(texts)
