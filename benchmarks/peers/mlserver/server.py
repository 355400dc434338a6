"""MLServer: a runtime of one's own with adaptive batching, in its inference workers, which are processes.

Batch size, batch time and workers come as MLSERVER_MODEL_MAX_BATCH_SIZE and the like.
"""

import numpy as np
from classifier import Classifier
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Spam(MLModel):
    """The runtime."""

    async def load(self) -> bool:
        """Load the model."""
        self.classifier = Classifier()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Labels of a batch."""
        answers = self.classifier(StringCodec.decode_input(payload.inputs[0]))
        scores = np.array([[answer["score"]] for answer in answers], np.float32)
        labels = StringCodec.encode_output("label", [answer["label"] for answer in answers])
        return InferenceResponse(model_name=self.name, outputs=[labels, NumpyCodec.encode_output("score", scores)])
