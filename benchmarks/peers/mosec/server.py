"""mosec with dynamic batching; workers are processes. The port comes as an argument."""

from typing import Any

from classifier import MAX_BATCH, PROCESSES, WAIT_MS, Classifier
from mosec import Server, Worker


class Spam(Worker):
    """A worker."""

    def __init__(self) -> None:
        """Load the model."""
        self.classifier = Classifier()

    def forward(self, data: list[dict[str, str]]) -> list[dict[str, Any]]:
        """Labels of a batch."""
        return self.classifier([request["text"] for request in data])


if __name__ == "__main__":
    server = Server()
    server.append_worker(Spam, num=PROCESSES, max_batch_size=MAX_BATCH, max_wait_time=round(WAIT_MS))
    server.run()
