"""What may reach tritonserver: requests that are laid out as the protocol says, and that release 24.10 survives.

docs/reliability.md lists what it does not survive. Whether names, types and values fit the model is Triton's to say.
Source: the Open Inference Protocol, "Inference Request" and the binary tensor data extension; for the rest
triton-inference-server/server r24.10, src/http_server.cc and src/common.cc.
"""

import json
import reprlib
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

DATATYPES = frozenset(
    "BOOL UINT8 UINT16 UINT32 UINT64 INT8 INT16 INT32 INT64 FP16 FP32 FP64 BF16 BYTES".split()  # noqa: SIM905
)
KNOWN = ", ".join(sorted(DATATYPES))
LARGEST = 2**63 - 1  # that fits into an axis
# Whoever reads a request holds the others up; so much takes a tenth of a second, or half of one if it is made for that.
MOST_PARTS = 2**19  # values, lists and objects of the JSON; more belong into binary data
MOST_BESIDE_RAW = 2**22  # bytes of a message without its raw_input_contents
RAW_CONTENTS = 7  # the last field of a ModelInferRequest
DELIMITED = 2  # the wire type of all of them: a length, and so many bytes
NO_REQUEST = "the message is no ModelInferRequest"
MOST_TENSORS = 1000  # of a request
MOST_AXES = 32
# tritonserver repeats names and ids in each answer, and never gives back what long ones of a stream took.
MOST_NAME = 1024  # characters
# Parameters of a tensor that are refused, and why.
REFUSED_PARAMETERS = {
    "classification": "sort the output yourself",
    "shared_memory_region": "regions are for callers on the server's machine; send the tensor itself",
}
# Those of a whole request that are numbers on the wire, and read as such.
TYPES = {"id": str, "parameters": dict, "outputs": list}


class Malformed(ValueError):
    """A request that may not pass; the text says what was expected."""


def check_http(body: bytes, header_length: str | None) -> None:
    """Let a request for inference over HTTP pass.

    Args:
        body: JSON, and the binary data of tensors behind it.
        header_length: Inference-Header-Content-Length: bytes of the JSON; None: all.

    Raises:
        Malformed: it may not.
    """
    length = _length(header_length, len(body))
    parts = sum(body.count(sign, 0, length) for sign in (b",", b"[", b"{"))
    if parts > MOST_PARTS:
        raise Malformed(f"the JSON has {parts:,} parts, and {MOST_PARTS:,} are taken; send the tensors as binary data")
    content = _read(body[:length])
    inputs = content.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise Malformed("'inputs' must be a list of at least one tensor")
    for name, kind in TYPES.items():
        if not isinstance(content.get(name, kind()), kind):
            raise Malformed(f"'{name}' is {_short(content[name])}; expected {kind.__name__}")
    outputs = content.get("outputs", [])
    if len(inputs) + len(outputs) > MOST_TENSORS:
        raise Malformed(f"the request has {len(inputs) + len(outputs):,} tensors, and {MOST_TENSORS:,} are taken")
    _check_name("id", content.get("id", ""))
    binary = 0
    for tensor in inputs:
        _check_entry(tensor)
        _check_tensor(tensor["name"], tensor.get("datatype"), tensor.get("shape"), len(body))
        size = tensor.get("parameters", {}).get("binary_data_size", 0)
        if not _is_number(size, len(body)):
            raise Malformed(f"input '{tensor['name']}' has the binary_data_size {_short(size)}; expected bytes")
        binary += size
    if binary != len(body) - length:
        raise Malformed(f"{len(body) - length} bytes follow the JSON, and binary_data_size says {binary} in all")
    for tensor in outputs:
        _check_entry(tensor)


def check_grpc(message: bytes) -> None:
    """Let a ModelInferRequest pass.

    Raises:
        Malformed: it may not.
    """
    _check_layout(message)
    try:
        request = service_pb2.ModelInferRequest.FromString(message)
    except DecodeError:
        raise Malformed(NO_REQUEST) from None
    if not request.inputs:
        raise Malformed("'inputs' must hold at least one tensor")
    _check_name("id", request.id)
    _check_name("model_name", request.model_name)
    for tensor in request.inputs:
        axes = list(tensor.shape[: MOST_AXES + 1])
        _check_tensor(tensor.name, tensor.datatype, axes, len(message))
    for tensor in (*request.inputs, *request.outputs):
        _check_name("the name of a tensor", tensor.name)
        _check_parameters(tensor.name, tensor.parameters)


def _check_layout(message: bytes) -> None:
    """Refuse what would take long to parse, without parsing it: many tensors, or much that is not raw."""
    size = 0
    for count, (field, length) in enumerate(_fields(message), 1):
        size += length if field != RAW_CONTENTS else 0
        if count > 4 * MOST_TENSORS:
            raise Malformed(f"the request has more than {MOST_TENSORS:,} tensors")
        if size > MOST_BESIDE_RAW:
            most = f"more than {MOST_BESIDE_RAW:,} bytes beside its raw tensors"
            raise Malformed(f"the message has {most}; send the tensors in raw_input_contents")


def _fields(message: bytes) -> Iterator[tuple[int, int]]:
    """Number and length of each field of a ModelInferRequest.

    A parser skips fields that it does not know, so whoever counts must not stop at them; here they are refused.
    Source: the encoding of Protocol Buffers, "Message Structure".
    """
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        field, kind = tag >> 3, tag & 7
        if kind != DELIMITED or not 0 < field <= RAW_CONTENTS:
            known = f"a ModelInferRequest has the fields 1 to {RAW_CONTENTS}, all of wire type {DELIMITED}"
            raise Malformed(f"the message has a field {field} of wire type {kind}; {known}")
        length, place = _varint(message, place)
        place += length
        yield field, length
    if place > len(message):
        raise Malformed(NO_REQUEST)


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """A tag or a length, of which parsers take five bytes at most, and the place behind it."""
    number = 0
    for n, byte in enumerate(message[place : place + 5]):
        number |= (byte & 127) << (7 * n)
        if byte < 128:
            return number, place + n + 1
    raise Malformed(NO_REQUEST)


def _check_name(what: str, name: str) -> None:
    if len(name) > MOST_NAME:
        raise Malformed(f"{what} has {len(name):,} characters, and {MOST_NAME:,} are taken")


def _length(header_length: str | None, body: int) -> int:
    if header_length is None:
        return body
    if not (header_length.isascii() and header_length.isdigit() and len(header_length) < 20):
        raise Malformed(f"Inference-Header-Content-Length is {_short(header_length)}; expected bytes")
    if int(header_length) > body:
        raise Malformed(f"Inference-Header-Content-Length is {header_length}, and the body has {body} bytes")
    return int(header_length)


def _read(text: bytes) -> dict[str, Any]:
    """JSON as Triton reads it, too: of two members of one name it would take another than we."""
    try:
        found = json.loads(text.decode(), object_pairs_hook=_members, parse_constant=_no_constant)
    except Malformed:
        raise
    except (ValueError, RecursionError) as error:
        raise Malformed(f"the request is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise Malformed(f"the request is {_short(found)}; expected an object with 'inputs'")
    return found


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("the request is no JSON that can be relied on: an object has two members of one name")
    return found


def _no_constant(name: str) -> NoReturn:
    raise Malformed(f"the request is no JSON: it has no {name}")


def _check_entry(tensor: object) -> None:
    if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
        raise Malformed(f"{_short(tensor)} is no tensor; expected an object with a 'name'")
    _check_name("the name of a tensor", tensor["name"])
    parameters = tensor.get("parameters", {})
    if not isinstance(parameters, dict):
        raise Malformed(f"the parameters of '{_short(tensor['name'])}' are {_short(parameters)}; expected an object")
    _check_parameters(tensor["name"], parameters)


def _check_parameters(name: str, parameters: Iterable[str]) -> None:
    for parameter in parameters:
        if parameter in REFUSED_PARAMETERS:
            raise Malformed(f"'{parameter}' of '{_short(name)}' is not offered here: {REFUSED_PARAMETERS[parameter]}")


def _check_tensor(name: str, datatype: object, shape: object, most: int) -> None:
    """No tensor has more elements than its request has bytes; Triton would take memory for all that a shape says."""
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise Malformed(f"input '{_short(name)}' has the datatype {_short(datatype)}; expected {KNOWN}")
    if isinstance(shape, list) and len(shape) > MOST_AXES:
        raise Malformed(f"input '{_short(name)}' has more than {MOST_AXES} axes")
    if not isinstance(shape, list) or not all(_is_number(axis, LARGEST) for axis in shape):
        raise Malformed(f"input '{_short(name)}' has the shape {_short(shape)}; expected a list of lengths")
    elements = 1
    for axis in shape:
        elements *= axis
        if not 0 < elements <= most:
            what = "no elements" if not elements else "more elements than the request has bytes"
            raise Malformed(f"input '{_short(name)}' has the shape {_short(shape)}, which has {what}")


def _is_number(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _short(value: object) -> str:
    said = value[:100] if isinstance(value, str) else reprlib.repr(value)
    said = said if said.isprintable() else ascii(said)
    return said if len(said) <= 60 else f"{said[:60]}..."
