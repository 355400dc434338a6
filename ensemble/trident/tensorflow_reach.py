"""What of TensorFlow reaches beyond a model, by its name: to files of the machine, over the network, to Python.

A model needs none of it. Its tables and variables are read by others.
"""

import re
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from triton_tensorflow.protobuf import messages

# Source: the registered operations of TensorFlow 2.21.
_OPERATIONS = re.compile(
    "ReadFile|WriteFile|MatchingFiles|ImmutableConst|RecordInput|Skipgram|DumpTensor|CalibrationStatisticsSaver"
    "|LoadAndRemapMatrix|GenerateVocabRemapping|FileSystemSetConfiguration|DTensorRestoreV2"
    r"|(WholeFile|TextLine|TFRecord|FixedLengthRecord|LMDB)Reader(V\d+)?"
    r"|(Experimental)?(TextLine|TFRecord|FixedLengthRecord|CSV|Sql|LMDB|MatchingFiles|Cache|Load|Save)Dataset(V\d+)?"
    r"|Snapshot(Chunk)?Dataset(V\d+)?|Snapshot(Nested)?DatasetReader|ListSnapshotChunksDataset"
    "|(Experimental)?DatasetToTFRecord|DistributedSave|CreateSummary(File|Db)Writer"
    r"|DebugIdentity(V\d+)?|DebugNanCount|DebugNumericSummary"
    r"|(DataService|Register)Dataset(V\d+)?|Rpc(Client|Server)|(Eager)?PyFunc(Stateless)?"
)
# These do so only if an attribute says so: operation → the attribute and how it begins then.
_ATTRIBUTES = {
    "PrintV2": ("output_stream", b"file://"),
    "FixedUnigramCandidateSampler": ("vocab_file", b"."),
    "EncodeProto": ("descriptor_source", b"(?!local://|bytes://)"),
    "DecodeProtoV2": ("descriptor_source", b"(?!local://|bytes://)"),
}
# Functions of TensorFlow and of Keras 2 on tensors, by the names that a config gives them.
_FUNCTIONS = re.compile(
    r"(compat\.v1\.)?"
    r"((math|math\.special|nn|nn\.experimental|linalg|strings|image|signal|bitwise|ragged|sparse|sets|random"
    r"|quantization|experimental\.numpy|__operators__)\.(?!fixed_unigram_candidate_sampler$)[a-z]\w*"
    r"|dtypes\.(cast|complex|saturate_cast)|audio\.(de|en)code_wav|debugging\.(assert_\w+|check_numerics)"
    r"|io\.(decode_(?!proto$)\w+|encode_(?!proto$)\w+|parse_\w+|(de)?serialize_\w+)"
    r"|keras\.(activations|backend|losses|metrics)\.(?!(deserialize|get|serialize)$)[a-z]\w*"
    "|abs|acosh?|add(_n)?|approx_top_k|arg(max|min|_max|_min|sort)|as_string|asinh?|assert_(equal|greater|less|rank)"
    "|atanh?|batch_gather|batch_to_space(_nd)?|bitcast|boolean_mask|broadcast_(dynamic_shape|static_shape|to)|cast"
    "|clip_by_(average_norm|global_norm|norm|value)|complex|concat|constant|convert_to_tensor|cosh?|cumsum|decode_raw"
    "|div(ide)?|dynamic_(partition|stitch)|edit_distance|eig(vals)?|einsum|ensure_shape|equal|exp|expand_dims"
    "|extract_volume_patches|eye|fftnd|fill|fingerprint|floor(_div)?|gather(_nd)?|greater(_equal)?|guarantee_const"
    "|histogram_fixed_width(_bins)?|identity(_n)?|ifftnd|irfftnd|less(_equal)?|linspace|logical_(and|not|or)|matmul"
    "|matrix_square_root|maximum|meshgrid|minimum|multiply|negative|norm|not_equal|one_hot|ones(_like)?|pad"
    "|parallel_stack|pow|range|rank|realdiv|reduce_(all|any|logsumexp|max|mean|min|prod|sum)|repeat"
    "|required_space_to_batch_paddings|reshape|reverse(_sequence)?|rfftnd|roll|round|saturate_cast|scalar_mul"
    "|scatter_nd|searchsorted|sequence_mask|shape(_n)?|sigmoid|sign|sinh?|size|slice|sort|space_to_batch(_nd)?"
    "|sparse_(matmul|to_dense)|split|sqrt|square|squeeze|stack|stop_gradient|strided_slice|string_split|substr|subtract"
    "|tanh?|tensor_scatter_nd_(add|max|min|sub|update)|tensordot|tile|to_(double|float)|transpose|truediv"
    "|truncate(div|mod)|unique(_with_counts)?|unravel_index|unstack|where|zeros(_like)?)"
)
_CONSTRUCTORS = re.compile(r"(RaggedTensor|(sparse\.)?SparseTensor)\.from_\w+")
# What Keras 2 makes layers of. Source: tf-keras 2.21, layers/core/tf_op_layer.py.
_METHODS = re.compile(
    "(nested_)?(value_rowids|row_lengths)|nrows|row_starts|row_limits|bounding_shape|with_(flat_)?values"
    "|with_row_splits_dtype|merge_dims|to_tensor|to_sparse"
)


def reaches_out(node: Any) -> bool:
    """Whether a node of a graph reaches beyond the model."""
    if node.op in _ATTRIBUTES:
        name, beginning = _ATTRIBUTES[node.op]
        if name not in node.attr:
            return False
        value = node.attr[name]  # one that is left to those who call the function may become any
        return bool(value.placeholder) or re.match(beginning, value.s, re.DOTALL) is not None
    return _OPERATIONS.fullmatch(node.op) is not None


def called_beyond(kind: str, settings: dict[str, Any]) -> str | None:
    """What a layer of Keras 2 calls beyond the model, if it is one that calls what its config names.

    Keras 2 does so while it loads the model, on values out of the config.

    Args:
        kind: class of the layer.
        settings: its config.

    Returns:
        Name of a function, method or operation; None if it calls nothing, or a function on tensors.
    """
    if kind == "TensorFlowOpLayer":
        return _operation(settings.get("node_def"))
    if kind in ("TFOpLambda", "SlicingOpLambda"):
        name, harmless = str(settings.get("function")), _FUNCTIONS
    elif kind == "ClassMethod":
        name, harmless = f"{settings.get('cls_symbol')}.{settings.get('method_name')}", _CONSTRUCTORS
    elif kind == "InstanceMethod":
        name, harmless = str(settings.get("attr_name")), _METHODS
    else:
        return None
    return None if harmless.fullmatch(name) else name


def _operation(definition: Any) -> str | None:
    node = messages().GraphDef().node.add()
    try:
        if isinstance(definition, dict):
            json_format.ParseDict(definition, node)
        else:
            node.ParseFromString(str(definition).encode("utf-8"))
    except (json_format.ParseError, DecodeError, UnicodeEncodeError):
        return "an operation that cannot be read"
    return node.op if reaches_out(node) else None
