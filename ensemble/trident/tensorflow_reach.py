"""What of TensorFlow reaches beyond a model, by its name: to files of the machine, over the network, to Python.

A model needs none of it. Its tables and variables are read by others.
"""

import re
from typing import Any

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


def reaches_out(node: Any) -> bool:
    """Whether a node of a graph reaches beyond the model."""
    if node.op in _ATTRIBUTES:
        name, beginning = _ATTRIBUTES[node.op]
        if name not in node.attr:
            return False
        value = node.attr[name]  # one that is left to those who call the function may become any
        return bool(value.placeholder) or re.match(beginning, value.s, re.DOTALL) is not None
    return _OPERATIONS.fullmatch(node.op) is not None
