"""Which tensor of a signature plays which part in a service, and what its outputs are: guessed, told, never silent."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.errors import ServiceError
from trident.savedmodel import ModelTensors

SUM_TOLERANCE = 1e-3
PROBABILITIES = ("Softmax", "Sigmoid")
LOGITS = (
    "BiasAdd",
    "AddV2",
    "Add",
    "MatMul",
    "BatchMatMulV2",
    "Einsum",
    "LogSoftmax",
    "Relu",
    "Relu6",
    "LeakyRelu",
    "Tanh",
)
OUTPUT_HINTS = {
    "logits": ("logits", "scores", "probabilities", "probs", "predictions"),
    "states": ("last_hidden_state", "sequence_output", "states", "token_embeddings"),
    "vector": ("sentence_embedding", "embedding", "pooled_output", "vector"),
}


def text_inputs(model: ModelTensors) -> dict[str, str]:
    """Part → tensor, for a model of token ids or of text itself.

    Raises:
        ServiceError: a part could not be found out.
    """
    if len(model.inputs) == 1:
        ((name, entry),) = model.inputs.items()
        return {"cleaned" if entry["data_type"] == "TYPE_STRING" else "input_ids": name}
    found = {_token_part(name): name for name in model.inputs}
    if len(found) < len(model.inputs) or "input_ids" not in found:
        raise ServiceError(
            f"the signature takes {sorted(model.inputs)}, which cannot be told apart; say which is which with "
            "--input input_ids=NAME --input attention_mask=NAME --input token_type_ids=NAME"
        )
    return found


def _token_part(name: str) -> str:
    lower = name.lower()
    if "mask" in lower:
        return "attention_mask"
    return "token_type_ids" if "type" in lower or "segment" in lower else "input_ids"


def only_input(model: ModelTensors, part: str) -> dict[str, str]:
    """The one input of a model.

    Raises:
        ServiceError: it has several.
    """
    if len(model.inputs) != 1:
        raise ServiceError(
            f"the signature takes {sorted(model.inputs)}; the task needs one input. Use the task 'tensors'"
        )
    return {part: next(iter(model.inputs))}


def output(model: ModelTensors, part: str) -> dict[str, str]:
    """The output that plays a part: the only one, or the one that is named like it.

    Raises:
        ServiceError: several would do, or none.
    """
    names = [name for name, entry in model.outputs.items() if entry["data_type"] != "TYPE_STRING"]
    if len(names) > 1:
        names = [name for name in names if name.lower() in OUTPUT_HINTS.get(part, (part,))] or names
    if len(names) != 1:
        raise ServiceError(f"the signature gives {sorted(model.outputs)}; say which to take with --output {part}=NAME")
    return {part: names[0]}


def embedding_output(model: ModelTensors, pools: bool = False) -> dict[str, str]:
    """Token states, or a vector for each text.

    Args:
        model: its tensors.
        pools: how states are pooled was told, so they are taken where there are both.

    Raises:
        ServiceError: several outputs would do, or none.
    """
    ranks = {name: len(entry["dims"]) for name, entry in model.outputs.items()}
    kinds = (("vector", 1), ("states", 2))
    for part, rank in reversed(kinds) if pools else kinds:
        named = [name for name in ranks if ranks[name] == rank and name.lower() in OUTPUT_HINTS[part]]
        if len(named) == 1:
            return {part: named[0]}
    if len(ranks) == 1:
        ((name, rank),) = ranks.items()
        return {"states" if rank == 2 else "vector": name}
    raise ServiceError(f"the signature gives {sorted(ranks)}; say which with --output states=NAME or vector=NAME")


def activation(outputs: NDArray[Any], operation: str, multi_label: bool) -> str:
    """What is still to be done to scores: `none` if they are probabilities already, else `softmax` or `sigmoid`.

    Args:
        outputs: scores [B, ..., K] of made-up inputs.
        operation: that computes them in the model's graph; empty if that is not known.
        multi_label: any number of labels may be right.
    """
    if operation in PROBABILITIES:
        return "none"
    if outputs.min() >= 0 and outputs.max() <= 1:
        summed = outputs.shape[-1] > 1 and exclusive(outputs)  # as a mean of several softmax is
        if summed or (operation not in LOGITS and outputs.min() > 0):  # what else gives zeros is no sigmoid
            return "none"
    return "sigmoid" if multi_label or outputs.shape[-1] == 1 else "softmax"


def exclusive(outputs: NDArray[Any]) -> bool:
    """Whether the scores of an item add up to one, so that one label is right."""
    return bool(np.allclose(outputs.sum(axis=-1), 1, atol=SUM_TOLERANCE))


def own_labels(model: ModelTensors, logits: str, answer: Mapping[str, NDArray[Any]]) -> list[str] | None:
    """The labels that a model names itself, beside its scores, as estimators of TensorFlow do."""
    for name, entry in model.outputs.items():
        if entry["data_type"] == "TYPE_STRING" and answer[name].shape == answer[logits].shape:
            return [" ".join(label.decode("utf-8", "replace").split()) for label in answer[name][0]]
    return None
