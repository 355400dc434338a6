"""What a Keras config holds or needs of program code, found without importing Keras."""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from trident.tensorflow_reach import called_beyond

# Keras' own layers that run what is not in Keras: a SavedModel somewhere on the disk, or pickled modules.
_FOREIGN = {"FlaxLayer", "JaxLayer", "TFSMLayer", "TorchModuleWrapper"}
# Only in Keras 1 and 2, or exported by no listing that is read below.
_OLDER = (
    "Model Functional Sequential Network Container TFOpLambda SlicingOpLambda ClassMethod InstanceMethod "
    "InstanceProperty TensorFlowOpLayer AddLoss AddMetric BatchNormalizationV1 BatchNormalizationV2 CuDNNGRU CuDNNLSTM "
    "SyncBatchNormalization ThresholdedReLU LocallyConnected1D LocallyConnected2D RandomHeight RandomWidth "
    "RandomFourierFeatures DenseFeatures SequenceFeatures LinearModel WideDeepModel AbstractRNNCell DeviceWrapper "
    "DropoutWrapper ResidualWrapper PreprocessingLayer ModuleWrapper Policy RadialConstraint"
)
_LISTINGS = (
    *("activations", "constraints", "dtype_policies", "initializers", "layers", "losses", "metrics", "optimizers"),
    *("quantizers", "random", "regularizers"),
)
_OWN_MODULE = re.compile(r"(tf_keras|keras|tensorflow\.(python\.)?keras)(\.|$)")
# Keras' functions for use in a model. Those of keras.utils and keras.saving download, read and write files.
_FUNCTION_MODULES = {"activations", "constraints", "initializers", "losses", "metrics", "ops", "regularizers"}
_LOADERS = {"deserialize", "get", "serialize"}  # each module has them, to load what a config says
_ACTIVATIONS = ("activation", "recurrent_activation", "inner_activation")


def find_code(config: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Find what in a model's config is program code, or needs code that Keras does not have.

    How the model was trained (its `compile_config`) does not count: a model is served uncompiled.

    Args:
        config: `config.json` of a .keras file, or `model_config` of an .h5 file.

    Returns:
        A phrase for each finding, and the names of those classes and functions that Keras does not know; both in the
        order of the config, each once.
    """
    code: dict[str, None] = {}
    custom_objects: dict[str, None] = {}
    for node, owner in _objects({key: value for key, value in config.items() if key != "compile_config"}):
        kind, settings = node["class_name"], node["config"]
        if kind == "__lambda__" or _has_bytecode(settings):
            code[f"Python bytecode in layer {shown(owner)}"] = None
        if kind in _FOREIGN:
            code[f"{kind} layer {shown(owner)}"] = None
        called = called_beyond(kind, settings if isinstance(settings, dict) else {})
        if called is not None:
            code[f"{shown(called)} called by layer {shown(owner)}"] = None
        for name, module in _unknown(kind, settings, node):
            origin = "" if module == "builtins" else f" of module {shown(module or '__main__')}"
            code[f"custom object {shown(name)}{origin}"] = None
            custom_objects[name] = None
    return tuple(code), tuple(custom_objects)


def shown(value: object) -> str:
    """A value from a file as one short line, whatever it holds."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def listed(names: Iterable[str]) -> str:
    """The first of some names, for a message."""
    return ", ".join(map(shown, sorted(names)[:5])) or "nothing"


def _objects(config: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Every serialized object with the name of the layer around it; without recursion, however deep the config."""
    stack: list[tuple[Any, str]] = [(config, "")]
    while stack:
        node, owner = stack.pop()
        if isinstance(node, dict):
            settings = node.get("config")
            if isinstance(settings, dict) and isinstance(settings.get("name"), str):
                owner = settings["name"]
            if isinstance(node.get("class_name"), str) and "config" in node:
                yield node, owner
        children = node.values() if isinstance(node, dict) else node
        stack += [(child, owner) for child in reversed(children) if isinstance(child, dict | list)]


def _has_bytecode(settings: Any) -> bool:
    if not isinstance(settings, dict):
        return False
    # As layers of Keras 1 and 2 say of a function: Lambda of `function` and `mask`, Merge of `mode`, and so on.
    typed = any(key.endswith("_type") and value == "lambda" for key, value in settings.items())
    return typed or isinstance(settings.get("function"), list)


def _unknown(kind: str, settings: Any, node: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The classes and functions of an object that Keras does not know, each with its module."""
    module = node.get("module", "builtins")  # Keras 2 names no module, and Keras 3 none for a function
    if kind == "function":
        named = [(settings, module)]
    elif kind.startswith("__"):
        return
    elif _is_keras(kind, module):
        named = _functions(kind, settings) if isinstance(settings, dict) else []
    else:
        registered = node.get("registered_name")
        yield registered if isinstance(registered, str) else kind, module
        return  # what its settings mean, only its author knows
    yield from ((name, origin) for name, origin in named if isinstance(name, str) and not _is_keras(name, origin))


def _functions(kind: str, settings: dict[str, Any]) -> list[tuple[Any, Any]]:
    """The functions that a layer of Keras' own names by a string, as Keras 2 does with those of the user's own too."""
    found = [(settings.get(key), "builtins") for key in _ACTIVATIONS]
    if kind == "Lambda":
        found.append((settings.get("function"), settings.get("module", "builtins")))
    return found


def _is_keras(name: str, module: Any) -> bool:
    if name in _LOADERS:
        return False
    if module == "builtins":
        return name in _known_names()
    if not isinstance(module, str) or not _OWN_MODULE.match(module):
        return False
    return name[:1].isupper() or not _FUNCTION_MODULES.isdisjoint(module.split("."))


@cache
def _known_names() -> frozenset[str]:
    """What the installed Keras exports for models, from the text of its listings: importing it loads TensorFlow."""
    package = Path(str(distribution("keras").locate_file("keras")))
    listings = [(package / part / "__init__.py").read_text(encoding="utf-8") for part in _LISTINGS]
    return frozenset(_OLDER.split()).union(*(re.findall(r" as (\w+)", text) for text in listings))
