"""What build needs to know of a SavedModel: that it loads, runs, gives one logit a label, and bears padding."""

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trident.errors import ExportError

PROBE_LENGTHS = (1, 2, 5, 9, 16)
PROBE_WIDTH = 24  # what the probe's rows are padded to
PADDING_TOLERANCE = 1e-5


@dataclass(frozen=True)
class TextModel:
    """What a text classifier's SavedModel turned out to be.

    Attributes:
        classes: number of outputs a text.
        bears_padding: whether padding leaves its answers as they are, within 1e-5.
    """

    classes: int
    bears_padding: bool


def quiet_tensorflow() -> None:
    """Import TensorFlow without its start-up notices, which no setting keeps off stderr.

    They are written by C++ code before its logging is set up, so the descriptor itself is turned away; if
    the import fails, what was written is shown.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as notices:
        os.dup2(notices.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        except Exception:
            notices.seek(0)
            os.write(kept, notices.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def load_signature(folder: Path) -> Any:
    """Load a SavedModel; returns its signature `serving_default`.

    Raises:
        ExportError: it does not load, or has no such signature.
    """
    quiet_tensorflow()
    import tensorflow as tf

    try:
        return tf.saved_model.load(str(folder)).signatures["serving_default"]
    except Exception as error:  # the loader raises whatever it stumbles over
        raise _unusable(folder, error) from error


def probe(folder: Path, vocabulary: int) -> TextModel:
    """Load a text classifier's SavedModel and run it on random ids, padded and not.

    Args:
        folder: a SavedModel whose signature `serving_default` maps `input_ids` INT32 [B, L] to
            `logits` FP32 [B, C].
        vocabulary: number of token ids, ≥ 2.

    Raises:
        ExportError: it does not load or run, or the signature is another one.
    """
    signature = load_signature(folder)
    import tensorflow as tf

    inputs = {name: f"{spec.dtype.name} {spec.shape}" for name, spec in signature.structured_input_signature[1].items()}
    outputs = {name: f"{spec.dtype.name} {spec.shape}" for name, spec in signature.structured_outputs.items()}
    if list(inputs) != ["input_ids"] or list(outputs) != ["logits"]:
        expected = "expected input_ids int32 [B, L] → logits float32 [B, C]"
        raise ExportError(f"the SavedModel {folder} maps {inputs} → {outputs}; {expected}")
    generator = np.random.default_rng(0)
    together = np.zeros((len(PROBE_LENGTHS), PROBE_WIDTH), np.int32)
    for row, length in enumerate(PROBE_LENGTHS):
        together[row, :length] = generator.integers(1, vocabulary, length)
    try:
        padded = signature(input_ids=tf.constant(together))["logits"].numpy()
        alone = [
            signature(input_ids=tf.constant(together[row : row + 1, :length]))["logits"].numpy()
            for row, length in enumerate(PROBE_LENGTHS)
        ]
    except tf.errors.OpError as error:
        raise _unusable(folder, error) from error
    bears = np.allclose(padded, np.concatenate(alone), rtol=PADDING_TOLERANCE, atol=PADDING_TOLERANCE)
    return TextModel(int(padded.shape[1]), bool(bears))


def _unusable(folder: Path, error: Exception) -> ExportError:
    cause = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return ExportError(f"the SavedModel {folder} does not load or run: {cause}; export or train it again")
