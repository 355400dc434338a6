"""LitServe with batching; a worker is a process."""

from typing import Any

import litserve as ls
from classifier import MAX_BATCH, PORT, PROCESSES, WAIT_MS, Classifier


class Spam(ls.LitAPI):
    """A worker."""

    def setup(self, device: str) -> None:
        """Load the model."""
        self.classifier = Classifier()

    def decode_request(self, request: dict[str, str]) -> str:
        """The text of one request."""
        return request["text"]

    def predict(self, texts: list[str]) -> list[dict[str, Any]]:
        """Labels of a batch."""
        return self.classifier(texts)

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request."""
        return output


if __name__ == "__main__":
    # A timeout of 0 would have idle workers ask for requests without a pause.
    api = Spam(max_batch_size=MAX_BATCH, batch_timeout=WAIT_MS / 1e3)
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=PROCESSES, timeout=60)
    server.run(host="127.0.0.1", port=PORT, log_level="warning", access_log=False, generate_client_file=False)
