"""Look at a model file before anything of it is loaded: its format by content, and the code that it holds or needs.

Nothing is unpacked, and neither Keras nor TensorFlow is imported.
"""

import json
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from google.protobuf import text_format
from google.protobuf.message import DecodeError
from triton_tensorflow.protobuf import messages
from triton_tensorflow.signatures import reached

from trident.errors import ServiceError
from trident.hdf5_head import read_head
from trident.model_code import find_code, listed, shown
from trident.tensorflow_reach import reaches_out

# The config of a large model is a few megabytes; parsed, JSON takes up to twenty times its size.
MAX_CONFIG_BYTES = 32 * 2**20
# Keras stores its files uncompressed, and weights that somebody packed again shrink tenfold at most. Members that
# grow more than a hundredfold are therefore no weights; up to this sum they do no harm.
MAX_EXPANSION, MAX_EXPANDED_BYTES = 100, 2**28
HEAD_BYTES = 4096
Format = Literal["keras", "h5", "savedmodel"]

_EXPECTED = 'expected a .keras or .h5 file or a SavedModel folder; write one with model.save("model.keras")'
_PICKLED = "is a pickle, which is never loaded because it can run code"
_SAVE_WHOLE = 'save the whole model with model.save("model.keras") or model.export("FOLDER")'
_CHECKPOINT = f"a TensorFlow checkpoint, which holds weights without the architecture; {_SAVE_WHOLE}"

_HDF5, _ZIP = b"\x89HDF\r\n\x1a\n", b"PK"
_PICKLE = re.compile(rb"\x80[\x02-\x05]|\x93NUMPY.{4,6}[^\n]*\|O", re.DOTALL)
_PICKLE_SUFFIXES = (".pkl", ".pickle", ".joblib")
_CHECKPOINT_PART = re.compile(r".+\.(index|data-\d{5}-of-\d{5})")
_SHARD = re.compile(r"variables\.data-\d{5}-of-(\d{5})")
# Other files that people have at hand, by how they begin; the first that matches.
_OTHERS = {
    rb".{4}TFL3": "is a TensorFlow Lite model; name the model that it was converted from",
    rb"\x08[\x03-\x1f][\x12\x1a\x22\x28\x32\x3a\x42]": "is an ONNX model; name the TensorFlow model that it came from",
    rb"\x08\x01\x12": "is the graph of a SavedModel; name the folder that holds saved_model.pb and variables/",
    rb"\x0a[\x80-\xff]*.\x0a.[\w./-]+\x12.[A-Z]": "is a frozen GraphDef; serve it as platform tensorflow_graphdef",
    rb'\s*\{.*"modelTopology"': "is a TensorFlow.js model; name the model that it was converted from",
    rb'\s*\{.*"added_tokens"': "is a tokenizer; name the model that it belongs to",
    rb'\s*\{.*"class_name"': f"holds an architecture without weights; {_SAVE_WHOLE}",
    rb"model_checkpoint_path:": f"names {_CHECKPOINT}",
    rb"\xff\xd8\xff": f"is a JPEG picture; {_EXPECTED}",
    rb"\x89PNG": f"is a PNG picture; {_EXPECTED}",
    rb"\x93NUMPY": f"is a numpy array; {_EXPECTED}",
    rb"\x1f\x8b|BZh|\xfd7zXZ": "is compressed; unpack it and name the model inside",
}
# Zip archives that are no Keras file, by how a member's name ends.
_OTHER_ARCHIVES = {
    "data.pkl": f"is a PyTorch model: its data.pkl {_PICKLED}; name the TensorFlow model that it came from",
    "saved_model.pb": "is a packed SavedModel; unpack it and name the folder",
}
# What TensorFlow 1's loader runs first. Source: TensorFlow 2.21, saved_model/constants.py.
_START_COLLECTIONS = ("saved_model_main_op", "legacy_init_op")
_SAVING = re.compile("Save(V2|Slices)?|MergeV2Checkpoints")
_CHECKPOINTING = re.compile(f"{_SAVING.pattern}|Restore(V2|Slice)?")
_DAMAGES = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, OSError, ValueError)


@dataclass(frozen=True)
class ModelFile:
    """What can be said of a model without loading it.

    Attributes:
        path: the file or folder.
        format: `keras` (zip archive), `h5` (HDF5 of Keras 1 to 3) or `savedmodel` (folder).
        keras_version: the Keras that wrote it, if it says so.
        code: what in it is program code or needs code from elsewhere, or reaches beyond the model, a phrase each.
        custom_objects: the classes and functions that Keras does not know, as `custom_objects` has to name them.
        size_bytes: of the file, or of all files of the folder.
        config: Keras' description of the model, None for a SavedModel.
    """

    path: Path
    format: Format
    keras_version: str | None
    code: tuple[str, ...]
    custom_objects: tuple[str, ...]
    size_bytes: int
    config: dict[str, Any] | None = field(repr=False)


def inspect_model(path: Path) -> ModelFile:
    """Say what a model file is, and refuse what is none or may do harm.

    Args:
        path: a file or a folder, whatever its name ends in; it may be a symbolic link.

    Raises:
        ServiceError: there is nothing that can be read, or no whole Keras model or SavedModel; it is or holds a
            pickle; it leads to files outside of it; or it grows without measure.
    """
    if "\0" in str(path):
        raise ServiceError(f"{shown(str(path))} holds a zero byte, which no path may; {_EXPECTED}")
    try:
        info = path.stat()
        if stat.S_ISDIR(info.st_mode):
            return _inspect_folder(path)
        _check_kind(path, info.st_mode)
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        if head.startswith(_HDF5):
            return _inspect_h5(path, info.st_size)
        if head.startswith(_ZIP):
            return _inspect_archive(path, info.st_size)
    except (FileNotFoundError, NotADirectoryError):
        raise ServiceError(_absent(path)) from None
    except OSError as error:
        raise ServiceError(f"{path} cannot be read ({error.strerror}); correct the path or its rights") from None
    raise ServiceError(f"{path} {_describe(path, head)}")


def _check_kind(path: Path, mode: int) -> None:
    """Refuse what is no regular file before it is opened: a FIFO never ends."""
    if not stat.S_ISREG(mode):
        kind = {"p": "FIFO", "s": "socket", "c": "device", "b": "device"}.get(stat.filemode(mode)[0], "special file")
        raise ServiceError(f"{path} is a {kind}; {_EXPECTED}")


def _absent(path: Path) -> str:
    if path.is_symlink():
        return f"{path} is a link to {path.readlink()}, which does not exist; {_EXPECTED}"
    if Path(f"{path}.index").is_file():
        return f"{path} is {_CHECKPOINT}"
    return f"no model at {path}; {_EXPECTED}"


def _describe(path: Path, head: bytes) -> str:
    """What a file is that is no model, and what to do."""
    if not head:
        return f"is empty (0 bytes); copy or save it again, {_EXPECTED}"
    if _PICKLE.match(head) or path.name.endswith(_PICKLE_SUFFIXES):
        return f"{_PICKLED}; {_EXPECTED}"
    if _CHECKPOINT_PART.fullmatch(path.name):
        return f"belongs to {_CHECKPOINT}"
    found = (what for start, what in _OTHERS.items() if re.match(start, head, re.DOTALL))
    return next(found, f"begins with {head[:8]!r}; {_EXPECTED}")


def _inspect_archive(path: Path, size: int) -> ModelFile:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            for end, what in _OTHER_ARCHIVES.items():
                if any(name.endswith(end) for name in names):
                    raise ServiceError(f"{path} {what}")
            _check_members(path, archive, size)
            for name in ("config.json", "model.weights.h5"):
                if name not in names:
                    raise ServiceError(
                        f"{path} is a zip archive without {name} (it holds {listed(names)}); {_EXPECTED}"
                    )
            config = _read_json(path, archive, "config.json")
            metadata = _read_json(path, archive, "metadata.json") if "metadata.json" in names else {}
    except _DAMAGES as error:
        raise ServiceError(f"{path} is a damaged zip archive ({error}); copy or save it again") from None
    return _keras_model(path, "keras", metadata.get("keras_version"), config, size)


def _check_members(path: Path, archive: zipfile.ZipFile, size: int) -> None:
    """Refuse an archive by its directory, and by how each of its files begins."""
    members = archive.infolist()
    grown = sum(member.file_size for member in members if member.file_size > MAX_EXPANSION * member.compress_size)
    if grown > MAX_EXPANDED_BYTES:
        raise ServiceError(f"{path} would unpack from {size} to {grown} bytes, as no weights do; save the model again")
    stored = sum(member.compress_size for member in members)
    if stored > size:
        raise ServiceError(f"{path} has {size} bytes and its members claim {stored}; copy or save it again")
    for member in members:
        fault = _fault(member)
        if fault is None and not member.filename.endswith("/"):
            with archive.open(member) as file:
                head = file.read(HEAD_BYTES)
            fault = _PICKLED if _PICKLE.match(head) or member.filename.endswith(_PICKLE_SUFFIXES) else None
        if fault:
            raise ServiceError(f"{path}: the member {shown(member.filename)} {fault}; {_EXPECTED}")


def _fault(member: zipfile.ZipInfo) -> str | None:
    """What a member's entry in the directory says that no model's does."""
    name = member.filename
    if name.startswith(("/", "\\")) or re.match("[A-Za-z]:", name) or ".." in re.split(r"[/\\]", name):
        return "leads out of the archive"
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"is compressed by method {member.compress_type}, not 0 or 8"
    return "is encrypted" if member.flag_bits & 1 else None


def _read_json(path: Path, archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
    with archive.open(name) as file:
        return _parse(f"{name} of {path}", file.read(MAX_CONFIG_BYTES + 1))


def _parse(what: str, raw: bytes) -> dict[str, Any]:
    if len(raw) > MAX_CONFIG_BYTES:
        raise ServiceError(f"{what} has more than {MAX_CONFIG_BYTES} bytes; expected the description of a model")
    try:
        document = json.loads(raw.decode("utf-8"))
    except RecursionError:
        raise ServiceError(f"{what} is nested too deeply for a model; save it again") from None
    except ValueError as error:
        raise ServiceError(f"{what} is not JSON in UTF-8 ({error}); save it again") from None
    if not isinstance(document, dict):
        raise ServiceError(f"{what} holds a {type(document).__name__}; expected a JSON object")
    return document


def _inspect_h5(path: Path, size: int) -> ModelFile:
    try:
        head = read_head(path)
    except ValueError as error:
        raise ServiceError(f"{path} is a damaged HDF5 file ({shown(str(error))}); copy or save it again") from None
    if head.outside:
        raise ServiceError(f"{path}: {shown(head.outside)} lies in another file; save the model again, as one file")
    if head.stored_bytes > max(MAX_EXPANSION * size, MAX_EXPANDED_BYTES):
        raise ServiceError(
            f"{path} would unpack from {size} to {head.stored_bytes} bytes, as no weights do; save the model again"
        )
    if head.model_config is not None:
        raw = head.model_config.encode("utf-8", "surrogateescape")
        return _keras_model(path, "h5", head.keras_version, _parse(f"model_config of {path}", raw), size)
    if head.has_layer_names or {"layers", "vars", "_layer_checkpoint_dependencies"} & set(head.groups):
        raise ServiceError(f"{path} holds weights without the architecture; {_SAVE_WHOLE}")
    raise ServiceError(f"{path} is an HDF5 file without model_config (it holds {listed(head.groups)}); {_EXPECTED}")


def _keras_model(path: Path, form: Format, version: Any, config: dict[str, Any], size: int) -> ModelFile:
    if not {"class_name", "config"} <= config.keys():
        raise ServiceError(f"{path} describes no Keras model (its keys are {listed(config)}); {_SAVE_WHOLE}")
    code, custom_objects = find_code(config)
    return ModelFile(path, form, version if isinstance(version, str) else None, code, custom_objects, size, config)


def _inspect_folder(folder: Path) -> ModelFile:
    graphs = (folder / name for name in ("saved_model.pb", "saved_model.pbtxt"))
    graph = next((path for path in graphs if os.path.lexists(path)), None)
    if graph is None:
        raise ServiceError(f"{folder} {_describe_folder(folder)}")
    size = sum(_sizes(folder))
    with graph.open("rb") as file:
        head = file.read(8)
    if not head or (graph.suffix == ".pb" and head[0] not in (0x08, 0x12)):
        found = f"begins with {head!r}" if head else "is empty (0 bytes)"
        raise ServiceError(f"{graph} {found}; expected the graph of a SavedModel, export the model again")
    _check_variables(folder / "variables")
    return ModelFile(folder, "savedmodel", None, _reaching_out(graph), (), size, None)


def _reaching_out(graph: Path) -> tuple[str, ...]:
    """What in a SavedModel's graph reaches beyond the model, a phrase each; nothing of one that cannot be read."""
    message = messages().SavedModel()
    try:
        if graph.suffix == ".pb":
            message.ParseFromString(graph.read_bytes())
        else:
            text_format.Parse(graph.read_bytes(), message)
    except (DecodeError, text_format.ParseError):  # loading says what is wrong with it
        return ()
    graphs = [meta.graph_def for meta in message.meta_graphs]
    nodes = [node for graph_def in graphs for node in graph_def.node]
    nodes += [node for graph_def in graphs for function in graph_def.library.function for node in function.node_def]
    found = {node.op for node in nodes if reaches_out(node)}.union(*map(_checkpointing, message.meta_graphs))
    return tuple(f"the operation {op}" for op in sorted(found))


def _checkpointing(meta: Any) -> set[str]:
    """Operations on checkpoints that run when a SavedModel is loaded or called: every one has some to save itself."""
    tensors = [info for definition in meta.signature_def.values() for info in definition.outputs.values()]
    tensors += [part for info in tensors for part in info.composite_tensor.components]
    outputs = [info.name for info in tensors]
    outputs += [name for info in tensors for _, name in info.coo_sparse.ListFields()]
    outputs += [name for key in _START_COLLECTIONS for name in meta.collection_def[key].node_list.value]
    called = reached(meta.graph_def, outputs, meta.object_graph_def.concrete_functions)
    loaded = reached(meta.graph_def, [meta.saver_def.restore_op_name])
    return {node.op for node in called if _CHECKPOINTING.fullmatch(node.op)} | {
        node.op for node in loaded if _SAVING.fullmatch(node.op)
    }


def _sizes(folder: Path) -> Iterator[int]:
    """Sizes of all files of a SavedModel, in bytes; refuses what is no file, and links that leave the folder."""
    root = folder.resolve()
    for place, folders, files in os.walk(root):
        for path in (Path(place, name) for name in [*folders, *files]):
            target = Path(os.path.realpath(path))
            if path.is_symlink() and not (target.is_relative_to(root) and target.is_file()):
                fix = "expected a file inside the SavedModel; copy it with `cp -rL`"
                raise ServiceError(f"{folder}: {shown(path.name)} is a link to {shown(str(path.readlink()))}; {fix}")
            info = target.stat()
            if not stat.S_ISDIR(info.st_mode):
                _check_kind(path, info.st_mode)
                yield info.st_size


def _check_variables(folder: Path) -> None:
    """Refuse variables of which a part is missing; a SavedModel may have none at all."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    counts = [int(found[1]) for found in map(_SHARD.fullmatch, names) if found]
    index = "variables.index"
    if not counts and index not in names:
        return
    count = max(counts, default=1)
    missing = {index, *(f"variables.data-{number:05}-of-{count:05}" for number in range(count))} - names
    if missing:
        raise ServiceError(f"{folder} lacks {min(missing)}; copy the whole SavedModel or export the model again")
    if not (folder / index).stat().st_size:
        raise ServiceError(f"{folder / index} is empty (0 bytes); copy or export the SavedModel again")


def _describe_folder(folder: Path) -> str:
    """What a folder without a SavedModel holds, and which model was probably meant."""
    names = sorted(path.name for path in folder.iterdir())
    graphs = [path.parent for depth in ("*", "*/*") for path in folder.glob(f"{depth}/saved_model.pb*")]
    files = [folder / name for name in names if name.endswith((".keras", ".h5", ".hdf5")) and ".weights." not in name]
    if meant := sorted({*graphs}) + files:
        return f"is no SavedModel itself; did you mean {' or '.join(map(str, meant[:3]))}?"
    if "checkpoint" in names or any(map(_CHECKPOINT_PART.fullmatch, names)):
        return f"holds {_CHECKPOINT}"
    if {"config.json", "model.weights.h5"} <= set(names):
        return f"is an unpacked Keras model; {_SAVE_WHOLE}"
    return f"has no saved_model.pb (it holds {listed(names)}); {_EXPECTED}"
