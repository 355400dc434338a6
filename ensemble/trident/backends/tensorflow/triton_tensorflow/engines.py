"""A loaded model as a function on numpy arrays: through TensorFlow 2's loader, or a session of TensorFlow 1.

Neither loader runs everything. Signatures that TensorFlow 1 or an estimator wrote want the session; some that
TensorFlow 2 wrote restore only as objects, others (Keras 2 with an optimizer) only as a graph. So the loader that
fits the file's age is tried first and the other if that one fails.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from triton_tensorflow.settings import Settings
from triton_tensorflow.signatures import Signature

Feeds = dict[str, NDArray[Any]]


class InvalidInput(Exception):
    """A request's input cannot be served; the message names the input and what was expected."""


class Failure(Exception):
    """The model failed for a reason that is not the input's."""


class Engine(Protocol):
    """A loaded model.

    Attributes:
        loader: how it was loaded, for the log.
    """

    loader: str

    def __call__(self, feeds: Feeds, fetch: Sequence[str]) -> Feeds:
        """Run the graph once, and of it only what the outputs in `fetch` need.

        Args:
            feeds: input name → array, with the batch axis.
            fetch: output names.

        Returns:
            Output name → array.

        Raises:
            InvalidInput: TensorFlow refuses the values (an id outside the embedding, say).
            Failure: it fails for another reason.
        """


def load_saved_model(folder: Path, signature: Signature, settings: Settings, init_ops: Sequence[str]) -> Engine:
    """Load a SavedModel with the loader that runs it.

    Raises:
        ValueError: neither loader can; the message has both reasons.
    """
    loaders: list[Callable[..., Engine]] = [FunctionEngine, SessionEngine.of_saved_model]
    if init_ops:  # only a session can run operations by name
        loaders = [SessionEngine.of_saved_model]
    elif not signature.has_objects:
        loaders.reverse()
    reasons = []
    for loader in loaders:
        try:
            return loader(folder, signature, settings, init_ops)
        except Exception as error:  # the loaders raise whatever they stumble over
            reasons.append(first_line(error))
    missing = "" if (folder / "variables").is_dir() else "it has no variables/; copy the whole folder, or "
    raise ValueError(
        f"cannot load the SavedModel {folder}: {'; '.join(dict.fromkeys(reasons))}; {missing}export it again"
    )


class FunctionEngine:
    """A signature that TensorFlow 2 restored as a function."""

    loader = "TensorFlow 2"

    def __init__(self, folder: Path, signature: Signature, settings: Settings, init_ops: Sequence[str]) -> None:
        """Load the SavedModel; raises whatever TensorFlow does, and ValueError if it changed the inputs' names."""
        import tensorflow as tf

        self._tf = tf
        self._loaded = tf.saved_model.load(str(folder), tags=[signature.tag])  # owns the variables
        self._function = self._loaded.signatures[signature.key]
        self._specs = dict(self._function.structured_input_signature[1])
        self._arguments = {name: name if name in self._specs else _argument(name) for name in signature.inputs}
        if set(self._arguments.values()) != set(self._specs):
            raise ValueError(f"TensorFlow 2 loads {sorted(signature.inputs)} as the arguments {sorted(self._specs)}")
        self._pruned: dict[tuple[str, ...], Any] = {}

    def __call__(self, feeds: Feeds, fetch: Sequence[str]) -> Feeds:
        """See `Engine`."""
        missing = sorted(set(self._arguments) - set(feeds))
        if missing:
            raise InvalidInput(f"input '{missing[0]}' is missing; the SavedModel has no default for it")
        tf = self._tf
        try:
            arrays = {self._arguments[name]: array for name, array in feeds.items()}
            tensors = {name: tf.constant(array, self._specs[name].dtype) for name, array in arrays.items()}
            outputs = self._prune(tuple(fetch))(**tensors)
            return {name: np.asarray(outputs[name].numpy()) for name in fetch}
        except tf.errors.OpError as error:
            raise translated(error) from error

    def _prune(self, fetch: tuple[str, ...]) -> Any:
        """The signature as a concrete function that computes `fetch` only (and is faster to call)."""
        if fetch not in self._pruned:

            def pruned(**feeds: Any) -> dict[str, Any]:
                outputs = self._function(**feeds)  # once: a second call would change the model's state twice
                return {name: outputs[name] for name in fetch}

            self._pruned[fetch] = self._tf.function(pruned).get_concrete_function(**self._specs)
        return self._pruned[fetch]


def _argument(name: str) -> str:
    """What TensorFlow calls the input of a signature whose name is no identifier of Python's.

    Source: TensorFlow 2.21, core/function/polymorphism/function_type.py, sanitize_arg_name.
    """
    letters = "".join(letter if letter.isalnum() else "_" for letter in name)
    return letters if letters[0].isalpha() else f"arg_{letters}"


class SessionEngine:
    """A graph in a session of TensorFlow 1."""

    def __init__(self, loader: str, session: Any, signature: Signature) -> None:
        """Take a session whose graph is loaded and initialised."""
        self.loader = loader
        self._session = session
        self._signature = signature
        self._callables: dict[tuple[tuple[str, ...], tuple[str, ...]], Any] = {}

    @classmethod
    def of_saved_model(
        cls, folder: Path, signature: Signature, settings: Settings, init_ops: Sequence[str]
    ) -> "SessionEngine":
        """Load a SavedModel; raises whatever TensorFlow does."""
        import tensorflow as tf

        session = _new_session(settings)
        with session.graph.as_default():
            tf.compat.v1.saved_model.loader.load(session, [signature.tag], str(folder))
        return cls._initialised("TensorFlow 1", session, signature, init_ops)

    @classmethod
    def of_graph(cls, graph: Any, signature: Signature, settings: Settings, init_ops: Sequence[str]) -> "SessionEngine":
        """Load a frozen graph.

        Raises:
            ValueError: TensorFlow refuses the graph.
        """
        import tensorflow as tf

        session = _new_session(settings)
        with session.graph.as_default():
            try:
                tf.graph_util.import_graph_def(graph, name="")
            except Exception as error:
                raise ValueError(f"cannot load the GraphDef: {first_line(error)}; export it again") from error
        return cls._initialised("GraphDef", session, signature, init_ops)

    @classmethod
    def _initialised(cls, loader: str, session: Any, signature: Signature, init_ops: Sequence[str]) -> "SessionEngine":
        for name in init_ops:
            try:
                session.run(session.graph.get_operation_by_name(name))
            except Exception as error:
                raise ValueError(f"TF_INIT_OPS_FILE: operation '{name}' fails: {first_line(error)}") from error
        return cls(loader, session, signature)

    def __call__(self, feeds: Feeds, fetch: Sequence[str]) -> Feeds:
        """See `Engine`."""
        import tensorflow as tf

        names = tuple(feeds)
        try:
            outputs = self._callable(names, tuple(fetch))(*feeds.values())
        except tf.errors.OpError as error:
            raise translated(error) from error
        return {name: np.asarray(output) for name, output in zip(fetch, outputs, strict=True)}

    def _callable(self, names: tuple[str, ...], fetch: tuple[str, ...]) -> Any:
        if (names, fetch) not in self._callables:
            graph, signature = self._session.graph, self._signature
            tensors = [graph.get_tensor_by_name(signature.outputs[name].tensor) for name in fetch]
            feeds = [graph.get_tensor_by_name(signature.inputs[name].tensor) for name in names]
            self._callables[names, fetch] = self._session.make_callable(tensors, feeds)
        return self._callables[names, fetch]


def _new_session(settings: Settings) -> Any:
    import tensorflow as tf

    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=settings.intra_threads or settings.cores,
        inter_op_parallelism_threads=settings.inter_threads,
        use_per_session_threads=settings.per_session_threads,
        allow_soft_placement=settings.soft_placement,
    )
    config.gpu_options.allow_growth = True
    if settings.mixed_precision:
        config.graph_options.rewrite_options.auto_mixed_precision = 1
    return tf.compat.v1.Session(graph=tf.Graph(), config=config)


def translated(error: Any) -> Exception:
    """TensorFlow's error as one of ours: whether the values are to blame is in its code."""
    import tensorflow as tf

    refusals = (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError, tf.errors.UnimplementedError)
    if isinstance(error, refusals):
        return InvalidInput(f"TensorFlow refuses the values: {first_line(error)}")
    return Failure(f"TensorFlow fails: {first_line(error)}")


def first_line(error: BaseException) -> str:
    """The line of an error's text that says what went wrong: TensorFlow puts it before the node's name."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    for line, following in pairwise(lines):
        if following.startswith("[[{{"):
            return line
    return lines[0] if lines else type(error).__name__
