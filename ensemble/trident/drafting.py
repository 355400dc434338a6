"""A service.toml for a model that was never served: what the model itself tells is found out, the rest was told."""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trident import probing, roles, savedmodel
from trident.custom_stages import check_requirements, read_custom
from trident.errors import ServiceError
from trident.graph_outputs import final_operation
from trident.savedmodel import Call, ModelTensors
from trident.service import TASKS, Spec, parse_spec, write_spec
from trident.stages.tabular.features import read_features
from trident.tokenizer_files import read_tokenizer

if TYPE_CHECKING:
    from trident.importing import ImportOptions

TEXT_TASKS = ("text-classification", "text-embedding", "token-classification")
SPECIMEN_ROWS, SPECIMEN_LENGTH = 8, 12
MULTI_LABEL_THRESHOLD = 0.5
# Option → the tasks that have a use for it, and the stage that uses it.
_USED = {
    "tokenizer": (TEXT_TASKS, "preprocess"),
    "features": (("tabular",), "preprocess"),
    "labels": (("text-classification", "token-classification", "image-classification", "tabular"), "postprocess"),
    "multi_label": (("text-classification", "image-classification", "tabular"), "postprocess"),
}
_OF_TOKENS = ("max_length", "padding", "truncation", "lowercase")  # of [preprocess], for models that take token ids
_OF_LABELS = ("activation", "top_k", "threshold")  # of [postprocess], for services that answer labels


def draft(folder: Path, former: Spec | None, options: "ImportOptions", model: Call) -> list[str]:
    """Write a service folder around the SavedModel that lies in it.

    Args:
        folder: has model.savedmodel, and the service's name.
        former: the service that will be replaced, if there is one.
        options: what was told.
        model: the SavedModel, loaded.

    Returns:
        What was found out or chosen, a sentence each.

    Raises:
        ServiceError: something that the task needs was not told, or does not fit the model.
    """
    return _Draft(folder, options, model).write(former)


def check_options(options: "ImportOptions") -> None:
    """Refuse what the task does not know, or would ignore.

    Raises:
        ServiceError: one of these.
    """
    if options.task not in TASKS:
        raise ServiceError(f"task is '{options.task}'; expected one of {', '.join(TASKS)}")
    for name, (tasks, step) in _USED.items():
        value = getattr(options, name)
        option = _option(name, value)
        if value and options.task not in tasks:
            raise ServiceError(f"the task '{options.task}' has no use for {option}; leave it out")
        if value and step in options.stages:
            raise ServiceError(
                f"--{step} {options.stages[step]} takes the place of what {option} is for; leave one out"
            )
    if options.task == "tabular" and options.labels is None:
        ignored = ["--multi-label"] if options.multi_label else _options(options.postprocess, _OF_LABELS)
        if ignored and "postprocess" not in options.stages:
            raise ServiceError(
                f"without --labels the service answers a value, which has no use for {ignored[0]}; leave it out"
            )
    if options.requirements and not options.stages:
        raise ServiceError(
            f"--requirement {options.requirements[0]} is for stages of your own, and there is none; leave it out, or "
            "give --preprocess or --postprocess"
        )


class _Draft:
    """The tables of a service.toml in the making."""

    def __init__(self, folder: Path, options: "ImportOptions", model: Call) -> None:
        self._folder = folder
        self._options = options
        self._call = model
        self._model: ModelTensors = savedmodel.read_tensors(folder / "model.savedmodel", options.signature, 1)
        self._given = dict(options.preprocess)  # keys of [preprocess] that were told
        self._preprocess: dict[str, Any] = {}
        self._postprocess: dict[str, Any] = {}
        self._vocabulary = 0
        self._inputs: dict[str, str] = {}
        self._outputs: dict[str, str] = {}
        self._notes: list[str] = []

    def write(self, former: Spec | None) -> list[str]:
        """Write service.toml and the files that it names; returns the notes."""
        options = self._options
        self._inputs = _told("--input", options.inputs, self._model.inputs) or self._find_inputs()
        self._outputs = _told("--output", options.outputs, self._model.outputs) or self._find_outputs()
        if "preprocess" not in options.stages:
            self._before()
        if "postprocess" not in options.stages:
            self._behind()
        values = {
            "name": self._folder.name,
            "task": options.task,
            "model": {"signature": options.signature, "inputs": self._inputs, "outputs": self._outputs},
            "preprocess": self._preprocess | self._given,
            "postprocess": self._postprocess | dict(options.postprocess),
            "custom": self._custom(),
        }
        if former is not None:
            serving = former.serving.model_dump(exclude_defaults=True)  # those of another task differ
            if serving.get("max_batch_size") == 0:  # that was found out of the former model, not told
                del serving["max_batch_size"]
            values |= {"description": former.description, "serving": serving}
        spec = parse_spec(values)
        write_spec(spec, self._folder)
        return self._notes

    def _find_inputs(self) -> dict[str, str]:
        task = self._options.task
        if "preprocess" in self._options.stages:
            return _paired(self._options.stages["preprocess"], "OUTPUTS", self._model.inputs)
        if task in ("tensors", "tabular"):
            names = list(self._model.inputs)
            return {"features": names[0]} if task == "tabular" and len(names) == 1 else {name: name for name in names}
        return roles.text_inputs(self._model) if task in TEXT_TASKS else roles.only_input(self._model, "pixels")

    def _find_outputs(self) -> dict[str, str]:
        task = self._options.task
        if "postprocess" in self._options.stages:
            return _paired(self._options.stages["postprocess"], "INPUTS", self._model.outputs)
        if task == "tensors":
            return {name: name for name in self._model.outputs}
        if task == "text-embedding":
            return roles.embedding_output(self._model, pools="pooling" in self._options.postprocess)
        return roles.output(self._model, "output" if self._is_regression() else "logits")

    def _is_regression(self) -> bool:
        return self._options.task == "tabular" and self._options.labels is None

    # -- before the model --------------------------------------------------------------------------------------------

    def _before(self) -> None:
        task = self._options.task
        if task in TEXT_TASKS:
            self._text()
        elif task == "image-classification":
            self._image()
        elif task == "tabular":
            self._tabular()

    def _tabular(self) -> None:
        """Copy features.json; where the model has an input for each column, say so in it."""
        path = self._options.features
        if path is None:
            raise ServiceError(
                "the task 'tabular' needs --features features.json, which says how records become numbers"
            )
        target = self._folder / "features.json"
        _copy(path, target)
        try:
            columns = {re.sub(r"\W", "_", name): name for name in read_features(target).columns}
        except ValueError as error:
            raise ServiceError(str(error)) from None
        document = json.loads(target.read_bytes())
        if "tensors" in document or self._options.inputs or len(self._inputs) == 1:
            return
        if set(columns) != set(self._inputs):
            raise ServiceError(
                f"the model takes {sorted(self._inputs)} and {path} has the columns {sorted(columns.values())}; say in "
                "its key 'tensors' which columns make which input, or give the model an input for each column"
            )
        self._inputs = {f"{name}_values": name for name in self._inputs}  # callers send columns by the names themselves
        document["tensors"] = {f"{name}_values": [column] for name, column in columns.items()}
        target.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        self._notes.append("each column goes into an input of its own")

    def _text(self) -> None:
        path = self._options.tokenizer
        if "cleaned" in self._inputs:
            ignored = _options(self._given, _OF_TOKENS) if path is None else [f"--tokenizer {path}"]
            if ignored:
                raise ServiceError(f"the model takes text itself; leave out {ignored[0]}")
            self._preprocess = {"tokenizer": "", "clean": False}
            return
        if path is None:
            raise ServiceError("the model takes token ids; give the tokenizer it was trained with: --tokenizer FILE")
        file = read_tokenizer(path, self._given.pop("lowercase", None))
        (self._folder / file.file_name).write_bytes(file.content)
        self._vocabulary = file.vocabulary_size
        # Cleaning is Trident's own habit; what a model was trained with is the tokenizer alone.
        self._preprocess = {"tokenizer": file.file_name, "clean": False, "pad_id": file.pad_id or 0}
        if file.kind == "keras":
            self._preprocess["truncation"] = "pre"  # as pad_sequences does
        (length,) = {int(self._model.inputs[name]["dims"][-1]) for name in self._inputs.values()}
        if length > 0:
            self._preprocess |= {"max_length": length, "padding": file.pad_side}
        if "padding" not in self._options.preprocess and self._preprocess.get("padding"):
            side = {"pre": "before", "post": "behind"}[self._preprocess["padding"]]
            self._notes.append(f"texts are padded {side} to {length} tokens, as the model takes no other length")

    def _image(self) -> None:
        ((_, name),) = self._inputs.items()
        dims = [int(size) for size in self._model.inputs[name]["dims"]]
        if len(dims) != 3:
            raise ServiceError(f"input '{name}' has dims {dims}; expected height, width and channels")
        sizes = dict(zip(("height", "width", "channels"), dims, strict=True))
        self._preprocess = {key: size for key, size in sizes.items() if size > 0}
        if "scaling" not in self._options.preprocess:
            self._notes.append("pixels go into the model as 0 to 255; --scaling says otherwise")
        missing = sorted(set(sizes) - set(self._preprocess) - set(self._options.preprocess) - {"channels"})
        if missing:
            raise ServiceError(
                f"input '{name}' has dims {dims}; say the size of its images with --image-size HEIGHTxWIDTH"
            )

    # -- behind the model --------------------------------------------------------------------------------------------

    def _behind(self) -> None:
        task = self._options.task
        if task == "text-embedding" and "pooling" in self._options.postprocess and "states" not in self._outputs:
            raise ServiceError(
                f"--pooling {self._options.postprocess['pooling']} makes one vector of the states of tokens, and "
                f"{next(iter(self._outputs.values()))!r} is one already; leave it out, or name the states with "
                "--output states=NAME"
            )
        if task in ("tensors", "text-embedding") or self._is_regression():
            return
        answer = probing.run(self._call, self._specimen(), self._options.tokenizer, self._vocabulary)
        name = self._outputs.get("logits")
        if name is None:
            raise ServiceError(f"--output names {sorted(self._outputs)}; the task {task} needs logits=NAME")
        scores = answer[name]
        if not np.isfinite(scores).all():
            raise ServiceError(
                f"the model's '{name}' is not finite for made-up inputs; its weights may be damaged (NaN or infinite)"
            )
        self._labels(name, answer)
        if task == "token-classification":
            self._postprocess |= {"softmax": not roles.exclusive(scores)}
            return
        operation = final_operation(self._folder / "model.savedmodel", self._options.signature, name)
        kind = roles.activation(scores, operation, self._options.multi_label)
        self._postprocess |= {"activation": kind}
        if "activation" not in self._options.postprocess:
            self._notes.append(_ACTIVATIONS[kind])
        if self._options.multi_label:
            self._postprocess |= {"top_k": scores.shape[-1], "threshold": MULTI_LABEL_THRESHOLD}
        elif kind == "none" and scores.shape[-1] > 1 and not roles.exclusive(scores):
            self._notes.append("the scores of an item do not add up to 1; --multi-label lets several labels be right")

    def _specimen(self) -> dict[str, NDArray[Any]]:
        generator = np.random.default_rng(2)
        told = self._options.preprocess
        padded = told.get("padding", "longest") != "longest"
        size = (SPECIMEN_ROWS, int(told.get("max_length", 128)) if padded else SPECIMEN_LENGTH)
        return probing.specimen(self._model, self._inputs, self._vocabulary, *size, generator)

    def _labels(self, name: str, answer: dict[str, NDArray[Any]]) -> None:
        target = self._folder / "labels.txt"
        self._postprocess["labels"] = target.name
        if self._options.labels is not None:
            _copy(self._options.labels, target)
            return
        found = roles.own_labels(self._model, name, answer)
        if found is None:
            count = answer[name].shape[-1]
            raise ServiceError(f"the model gives {count} classes without names; name them with --labels labels.txt")
        target.write_text("\n".join(found) + "\n", encoding="utf-8")
        self._notes.append(f"the {len(found)} labels are the model's own")

    def _custom(self) -> dict[str, Any]:
        check_requirements(list(self._options.requirements))
        custom: dict[str, Any] = {"requirements": list(self._options.requirements)}
        for step, path in self._options.stages.items():
            name = f"{step}_stage.py"
            _copy(path, self._folder / name)
            custom[step] = name
        return custom


def _options(told: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    """Those of the keys that were told, as the command's options."""
    return [_option(key, told[key]) for key in keys if key in told]


def _option(key: str, value: Any) -> str:
    name = key.replace("_", "-")
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    return f"--{name} {value}"


def _copy(source: Path, target: Path) -> None:
    """Copy a file beside the model; a FIFO or a device never ends."""
    if not source.is_file():
        raise ServiceError(f"{source} is no regular file; give one")
    shutil.copyfile(source, target)


def _told(option: str, parts: Mapping[str, str], known: Mapping[str, Any]) -> dict[str, str]:
    for part, name in parts.items():
        if name not in known:
            raise ServiceError(f"{option} {part}={name}: the signature has no '{name}'; it has {sorted(known)}")
    doubles = sorted({name for name in parts.values() if list(parts.values()).count(name) > 1})
    if doubles:
        raise ServiceError(f"{option} names {doubles} more than once; give each tensor one part")
    left = sorted(set(known) - set(parts.values()))
    if parts and left and option == "--input":
        raise ServiceError(f"--input leaves out {left}; say which parts they play, too: --input PART={left[0]}")
    return dict(parts)


def _paired(stage: Path, side: str, known: Mapping[str, Any]) -> dict[str, str]:
    """A stage's tensors and the model's: by name, or the only ones."""
    names = [tensor.name for tensor in read_custom(stage)[side]]
    if len(names) == len(known) == 1:
        return {names[0]: next(iter(known))}
    shared = {name: name for name in known if name in names}
    if not shared:
        raise ServiceError(
            f"{stage} has {side} {sorted(names)}, the signature {sorted(known)}; say which is which with "
            f"--{'input' if side == 'OUTPUTS' else 'output'} {names[0] if names else 'PART'}=NAME"
        )
    return shared


_ACTIVATIONS = {
    "none": "the model gives probabilities, which are taken as they are",
    "softmax": "the model gives logits, of which softmax makes probabilities",
    "sigmoid": "the model gives logits, of each of which the logistic function makes a probability",
}
