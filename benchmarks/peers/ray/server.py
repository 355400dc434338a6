"""Ray Serve with `@serve.batch`; replicas are processes."""

from typing import Any

import ray
from classifier import MAX_BATCH, PORT, PROCESSES, THREADS, WAIT_MS, Classifier
from ray import serve
from ray.serve.schema import LoggingConfig
from starlette.requests import Request


@serve.deployment(
    num_replicas=PROCESSES,
    ray_actor_options={"num_cpus": THREADS},
    max_ongoing_requests=2 * MAX_BATCH,  # by default 5, which would be the largest batch
    logging_config=LoggingConfig(enable_access_log=False),
)
class Spam:
    """A replica."""

    def __init__(self) -> None:
        """Load the model."""
        self.classifier = Classifier()

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=WAIT_MS / 1e3)
    async def predict(self, texts: list[str]) -> list[dict[str, Any]]:
        """Labels of a batch."""
        return self.classifier(texts)

    async def __call__(self, request: Request) -> dict[str, Any]:
        """One text's label."""
        prediction: dict[str, Any] = await self.predict((await request.json())["text"])
        return prediction


if __name__ == "__main__":
    ray.init(num_cpus=PROCESSES * THREADS, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    serve.run(Spam.bind(), route_prefix="/predict", blocking=True)  # type: ignore[attr-defined]
