"""A service whose three steps write their version into each answer, so that an answer that mixes two shows it.

`write_savedmodels` runs TensorFlow in a process of its own.
"""

import subprocess
import sys
from pathlib import Path

from trident.repository import BuildResult, build
from trident.service import load_service

MARKS = 9  # SavedModels that are written: 1 to 9

TOML = """\
name = "marked"
task = "tensors"
[custom]
preprocess = "before.py"
postprocess = "behind.py"
[serving]
max_batch_size = 8
threads = 1
"""
STAGE = """\
import numpy as np

INPUTS = {inputs}
OUTPUTS = {outputs}
MARK = {mark}


class InvalidInput(Exception):
    pass


def run({argument}):
    {line}
    {answer}
"""
BEFORE = {
    "inputs": '{"text": ("STRING", [1])}',
    "outputs": '{"x": ("FP32", [1])}',
    "argument": "text",
    "answer": 'return {"x": np.full((len(text), 1), MARK, np.float32)}',
}
BEHIND = {
    "inputs": '{"y": ("FP32", [2])}',
    "outputs": '{"marks": ("FP32", [3])}',
    "argument": "y",
    "answer": 'return {"marks": np.concatenate([y, np.full((len(y), 1), MARK, np.float32)], axis=1)}',
}


def write_savedmodels(folder: Path) -> None:
    """Write FOLDER/MARK for each mark, and FOLDER/fussy: x [B, 1] → y [B, 2], x and the mark."""
    subprocess.run([sys.executable, __file__, str(folder)], check=True, capture_output=True)


def build_marked(
    service: Path,
    savedmodels: Path,
    repository: Path,
    mark: int,
    *,
    model: str = "",
    line: str = "pass",
    more: str = "",
) -> BuildResult:
    """Build the next version of `marked`.

    Args:
        service: its folder, written anew.
        savedmodels: see `write_savedmodels`.
        repository: where it goes.
        mark: what its steps write into answers.
        model: the SavedModel, if not that of the mark.
        line: what its postprocess stage does first.
        more: lines for [serving].
    """
    service.mkdir(exist_ok=True)
    (service / "service.toml").write_text(TOML + more)
    (service / "before.py").write_text(STAGE.format(mark=mark, line="pass", **BEFORE))
    (service / "behind.py").write_text(STAGE.format(mark=mark, line=line, **BEHIND))
    link = service / "model.savedmodel"
    link.unlink(missing_ok=True)
    link.symlink_to(savedmodels / (model or str(mark)))
    return build(load_service(service), repository)


def _write(folder: Path) -> None:
    import tensorflow as tf

    signature = [tf.TensorSpec((None, 1), tf.float32, "x")]

    def marking(mark: int):  # type: ignore[no-untyped-def]
        return lambda x: {"y": tf.concat([x, tf.fill(tf.shape(x), float(mark))], axis=1)}

    def fussy(x):  # type: ignore[no-untyped-def]
        # What Triton warms it up with is zero.
        with tf.control_dependencies([tf.debugging.assert_none_equal(x, 0.0)]):
            return {"y": tf.concat([x, x], axis=1)}

    functions = {"fussy": fussy} | {str(mark): marking(mark) for mark in range(1, MARKS + 1)}
    for name, function in functions.items():
        module = tf.Module()
        module.serve = tf.function(function, input_signature=signature)
        tf.saved_model.save(module, str(folder / name), signatures={"serving_default": module.serve})


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
