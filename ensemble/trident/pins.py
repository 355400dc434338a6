"""Which version of a service is released, as its config.pbtxt say it, and what all its versions must have in common.

The ensemble's config.pbtxt pins one version: that one is released. Beside the pin stands the version that was released
before, so that one rename changes both.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2 as pb

from trident.errors import ServiceError
from trident.ownership import HEADER

BEFORE = "released_before"  # a parameter of the ensemble
PAD_VALUE = "PAD_VALUE."

# Model name → the text of its config.pbtxt, the ensemble last.
Texts = Mapping[str, str]


@dataclass(frozen=True)
class Pin:
    """What a service's configs say about its versions.

    Attributes:
        version: the released one; 0 if there is none.
        before: the one that was released before it and is kept for `trident rollback`; 0 if there is none.
    """

    version: int = 0
    before: int = 0

    @property
    def loaded(self) -> list[int]:
        """The versions that a server loads."""
        return sorted({self.version, self.before} - {0})


def read_pin(ensemble: str) -> Pin:
    """What the text of an ensemble's config.pbtxt says; nothing is released if it is none."""
    try:
        message = parse(ensemble)
    except ServiceError:
        return Pin()
    versions = message.version_policy.specific.versions
    before = message.parameters[BEFORE].string_value if BEFORE in message.parameters else ""
    return Pin(versions[0] if versions else 0, int(before) if before.isdecimal() else 0)


def pinned(texts: Texts, pin: Pin, *, ragged: bool, leaving: Iterable[int] = ()) -> dict[str, str]:
    """A service's configs with the versions that are to be served.

    Args:
        texts: the configs of the version that is released, with any versions in them.
        pin: what is to be said.
        ragged: False if one of the versions that are loaded bears no padding, whatever the texts say.
        leaving: versions that stay loaded a little longer.
    """
    messages = {name: parse(text) for name, text in texts.items()}
    *steps, ensemble = messages.values()
    for step in steps:
        step.version_policy.specific.versions[:] = sorted({*pin.loaded, *leaving})
    ensemble.version_policy.specific.versions[:] = [pin.version]
    for entry in ensemble.ensemble_scheduling.step:
        entry.model_version = pin.version
    ensemble.parameters.pop(BEFORE, None)
    if pin.before:
        ensemble.parameters[BEFORE].string_value = str(pin.before)
    if not ragged and any(map(_is_ragged, steps)):
        for step in filter(_is_ragged, steps):
            _forbid_padding(step)
        ensemble.max_batch_size = min(ensemble.max_batch_size, 1)
    return {name: HEADER + text_format.MessageToString(message) for name, message in messages.items()}


def named(text: str) -> set[int]:
    """The versions that a config.pbtxt loads; none if its text is none."""
    try:
        return set(parse(text).version_policy.specific.versions)
    except ServiceError:
        return set()


def with_version(text: str, version: int) -> str:
    """A step's configuration, as JSON, that loads one version more."""
    message = parse(text)
    versions = message.version_policy.specific.versions
    versions[:] = sorted({*versions, version})
    return str(json_format.MessageToJson(message, preserving_proto_field_name=True))


def check_common(name: str, former: Texts, new: Texts) -> None:
    """See that a new version fits into the configs of the released one: a config.pbtxt belongs to all versions.

    Raises:
        ServiceError: a model takes or gives other tensors, or must be told something else that changes answers.
    """
    for model in sorted({*former, *new}):
        texts = (former.get(model, ""), new.get(model, ""))
        # Where padding changes answers nothing is padded, so no value is told, and none can be another.
        padded = all(_is_ragged(parse(text)) for text in texts)
        old, own = (_shared(text, padded=padded) for text in texts)
        differing = [key for key in sorted({*old, *own}) if old.get(key) != own.get(key)]
        if differing:
            key = differing[0]
            raise ServiceError(
                f"{model}: {key} is {own.get(key, 'missing')}, and in the released version {old.get(key, 'missing')}; "
                f"all versions of a service take and give the same tensors. Give it another name in service.toml, or "
                f"begin anew: trident models remove {name}"
            )


def parse(text: str) -> Any:
    """The message of a config.pbtxt.

    Raises:
        ServiceError: it is none; somebody has changed it by hand.
    """
    try:
        return text_format.Parse(text, pb.ModelConfig())
    except text_format.ParseError as error:
        raise ServiceError(
            f"a config.pbtxt of the service cannot be read: {error}; begin anew: `trident models remove NAME`, build"
        ) from None


def data_type(entry: Any) -> str:
    """Of an input or output, `TYPE_FP32`."""
    return str(pb.DataType.Name(entry.data_type))


def _shared(text: str, *, padded: bool) -> dict[str, str]:
    """What → how it is, for all that versions must have in common; what pads is of it if both are `padded`."""
    message = parse(text)
    found = {"batching": str(message.max_batch_size > 0)} if text else {}
    for kind, entries in (("input", message.input), ("output", message.output)):
        for entry in entries:
            dims = f"{list(entry.dims)}, reshaped to {list(entry.reshape.shape)}"
            sizes = dims if entry.HasField("reshape") else f"{list(entry.dims)}"
            found[f"{kind} '{entry.name}'"] = f"{data_type(entry).removeprefix('TYPE_')} {sizes}"
    for key, value in message.parameters.items():
        if key == "TF_SIGNATURE_DEF" or (padded and key.startswith(PAD_VALUE)):
            found[key] = value.string_value
    return found


def _is_ragged(message: Any) -> bool:
    return message.backend == "tensorflow" and any(entry.allow_ragged_batch for entry in message.input)


def _forbid_padding(message: Any) -> None:
    for entry in message.input:
        entry.allow_ragged_batch = False
    for key in [key for key in message.parameters if key.startswith(PAD_VALUE)]:
        del message.parameters[key]
