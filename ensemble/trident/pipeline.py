"""What a service consists of: the tensors it takes and gives, its model, and the stages before and behind it.

Between the steps travel tensors with names of Trident's own (`input_ids`, `logits`); service.toml says which tensor of
the SavedModel each of them is. Design reads the signature from the file; nothing of TensorFlow is imported.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trident.errors import ServiceError
from trident.layout import Stage, Tensor
from trident.savedmodel import ModelTensors, read_tensors
from trident.service import Service
from trident.task_stages import lay_out_postprocess, lay_out_preprocess


@dataclass(frozen=True)
class Pipeline:
    """A service.

    Attributes:
        inputs: what callers send.
        outputs: what they get.
        model: the SavedModel's tensors; `inputs` and `outputs` there have the signature's names.
        model_inputs: Trident's name → the signature's.
        model_outputs: Trident's name → the signature's.
        preprocess: the stage before the model, if any.
        postprocess: the stage behind it, if any.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    model: ModelTensors
    model_inputs: dict[str, str]
    model_outputs: dict[str, str]
    preprocess: Stage | None
    postprocess: Stage | None

    @property
    def vocabulary(self) -> int:
        """Number of token ids that the preprocess stage can give; 0 if it gives none."""
        return self.preprocess.vocabulary if self.preprocess else 0

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps that there are, in order."""
        stages = (("preprocess", self.preprocess), ("model", self.model), ("postprocess", self.postprocess))
        return tuple(name for name, stage in stages if stage is not None)


def design(service: Service) -> Pipeline:
    """Lay out a service.

    Raises:
        ServiceError: service.toml, the signature and the files do not fit together.
    """
    spec = service.spec
    model = read_tensors(service.savedmodel, spec.model.signature, spec.serving.max_batch_size)
    _check_batches(service, model)
    inputs = dict(spec.model.inputs) or {name: name for name in model.inputs}
    outputs = dict(spec.model.outputs) or {name: name for name in model.outputs}
    _check_named(service, "inputs", inputs, model.inputs)
    _check_named(service, "outputs", outputs, model.outputs)
    unnamed = sorted(set(model.inputs) - set(inputs.values()))
    if unnamed:
        raise ServiceError(f"{service.toml}: model.inputs leaves out {unnamed}; the signature needs all its inputs")
    taken = {name: _tensor(name, model.inputs[own]) for name, own in inputs.items()}
    given = {name: _tensor(name, model.outputs[own]) for name, own in outputs.items()}
    postprocess = lay_out_postprocess(service, taken, given)
    preprocess = lay_out_preprocess(service, taken, postprocess)
    first = preprocess.inputs if preprocess else tuple(taken.values())
    last = postprocess.outputs if postprocess else tuple(given.values())
    _check_flows(service, preprocess, postprocess, taken, given)
    _check_unique(service, first, preprocess.outputs if preprocess else (), tuple(given.values()), last, postprocess)
    return Pipeline(first, last, model, inputs, outputs, preprocess, postprocess)


def _check_batches(service: Service, model: ModelTensors) -> None:
    if not model.inputs:
        raise ServiceError(f"the signature of {service.savedmodel} takes no inputs, which Triton does not serve")
    empty = sorted(name for name, entry in {**model.inputs, **model.outputs}.items() if "0" in map(str, entry["dims"]))
    if empty:
        raise ServiceError(f"the tensors {empty} of {service.savedmodel} have an axis of size 0; expected 1 or more")
    if service.spec.serving.max_batch_size == 0 and service.spec.task != "tensors":
        raise ServiceError(f"{service.toml}: serving.max_batch_size is 0, which only the task 'tensors' can have")
    if model.max_batch_size or service.spec.task == "tensors":
        return
    specs = (*model.signature.inputs.values(), *model.signature.outputs.values())
    shapes = {spec.name: list(spec.shape or ()) for spec in specs}
    raise ServiceError(
        f"the SavedModel {service.savedmodel} has the shapes {shapes}; expected an open first axis of all. "
        "Export it again, or serve it with the task 'tensors'"
    )


def _check_unique(
    service: Service,
    first: tuple[Tensor, ...],
    made: tuple[Tensor, ...],
    given: tuple[Tensor, ...],
    last: tuple[Tensor, ...],
    postprocess: Stage | None,
) -> None:
    """Triton would wire two tensors of one name together, and requests would hang."""
    names = [tensor.name for tensor in (*first, *made, *given, *(last if postprocess else ()))]
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise ServiceError(
            f"{service.toml}: {doubles} name more than one tensor of the service (inputs, parts, outputs); rename one, "
            "with --input or --output other_name=NAME, or the column"
        )


def _check_named(service: Service, key: str, named: Mapping[str, str], known: Mapping[str, Any]) -> None:
    for name, own in named.items():
        if own not in known:
            found = f"model.{key}.{name} is '{own}'"
            raise ServiceError(f"{service.toml}: {found}; the signature has {sorted(known)}")


def _check_flows(
    service: Service,
    preprocess: Stage | None,
    postprocess: Stage | None,
    taken: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
) -> None:
    """Every tensor that a step takes must come from the callers or from a step before it."""
    known = {tensor.name for tensor in (*preprocess.inputs, *preprocess.outputs)} if preprocess else set(taken)
    missing = sorted(set(taken) - known)
    if missing:
        can = sorted(known - {tensor.name for tensor in preprocess.inputs}) if preprocess else []
        raise ServiceError(f"{service.toml}: model.inputs names {missing}; the preprocess stage gives {can}")
    known |= set(given)
    missing = sorted({tensor.name for tensor in postprocess.inputs} - known) if postprocess else []
    if missing:
        raise ServiceError(f"{service.toml}: the postprocess stage takes {missing}; model.outputs has {sorted(given)}")
    for step, stage, tensors, others in (
        ("preprocess", preprocess, preprocess.outputs if preprocess else (), taken),
        ("postprocess", postprocess, postprocess.inputs if postprocess else (), given),
    ):
        for tensor in tensors:
            other = others.get(tensor.name)
            if stage is not None and other is not None and not _meet(tensor, other):
                raise ServiceError(
                    f"{service.toml}: '{tensor.name}' is {_shown(tensor)} in the {step} stage and {_shown(other)} in "
                    "the model; make them the same"
                )


def _meet(one: Tensor, other: Tensor) -> bool:
    same_rank = len(one.dims) == len(other.dims)
    sizes = zip(one.dims, other.dims, strict=False)
    return one.data_type == other.data_type and same_rank and all(a == b or -1 in (a, b) for a, b in sizes)


def _shown(tensor: Tensor) -> str:
    return f"{tensor.data_type.removeprefix('TYPE_')} {list(tensor.dims)}"


def _tensor(name: str, entry: Mapping[str, Any]) -> Tensor:
    return Tensor(name, entry["data_type"], tuple(int(size) for size in entry["dims"]))
