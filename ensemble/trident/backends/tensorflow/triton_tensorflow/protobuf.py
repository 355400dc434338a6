"""TensorFlow's protobuf messages without TensorFlow: its generated modules need only `google.protobuf`.

Importing TensorFlow takes seconds and half a gigabyte. Triton completes a configuration in a process of its
own, which would pay all that again for a few kilobytes of signature.
"""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType, SimpleNamespace


@cache
def messages() -> SimpleNamespace:
    """The generated classes `SavedModel` and `GraphDef`, and `type_name` (number of a dtype → `DT_FLOAT`).

    Raises:
        ValueError: TensorFlow is not installed.
    """
    with _without_runtime():
        from tensorflow.core.framework import graph_pb2, types_pb2
        from tensorflow.core.protobuf import saved_model_pb2
    return SimpleNamespace(
        SavedModel=saved_model_pb2.SavedModel, GraphDef=graph_pb2.GraphDef, type_name=types_pb2.DataType.Name
    )


@contextmanager
def _without_runtime() -> Iterator[None]:
    """Let a bare package stand in for `tensorflow`, and take it away again for a real import later."""
    if "tensorflow" in sys.modules:
        yield
        return
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or spec.submodule_search_locations is None:
        where = "where Triton's Python stub runs"
        raise ValueError(f"no package 'tensorflow' {where}; pip install -r requirements.txt of this backend there")
    stand_in = ModuleType("tensorflow")
    stand_in.__path__ = list(spec.submodule_search_locations)
    sys.modules["tensorflow"] = stand_in
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "tensorflow"]:
            del sys.modules[name]
