"""What build needs to know of a SavedModel: that it loads, runs, and gives one logit a label."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from trident.errors import ExportError

PROBE_IDS = [[1, 1, 1], [1, 0, 0]]  # ids that every vocabulary has; the second row is padded


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


def count_classes(folder: Path) -> int:
    """Load a text classifier's SavedModel, run it once and count its outputs.

    Args:
        folder: a SavedModel whose signature `serving_default` maps `input_ids` INT32 [B, L] to
            `logits` FP32 [B, C].

    Returns:
        C.

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
    try:
        return int(signature(input_ids=tf.constant(PROBE_IDS, tf.int32))["logits"].shape[1])
    except tf.errors.OpError as error:
        raise _unusable(folder, error) from error


def _unusable(folder: Path, error: Exception) -> ExportError:
    cause = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return ExportError(f"the SavedModel {folder} does not load or run: {cause}; export or train it again")
