"""Malformed HTTP requests, made at random but with structure."""

import gzip
import http.client
import json
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

TEXTS = ("You won a free prize, call 09061701461 now to claim", "Ok, see you at home after the lecture")
ANSWER_S = 30.0  # an answer that takes longer counts as none
DATATYPES = (
    "BOOL",
    "UINT8",
    "INT8",
    "INT32",
    "INT64",
    "FP16",
    "FP32",
    "FP64",
    "BYTES",
    "BF16",
    "",
    "FLOAT",
    "bytes",
    "\0",
)
SHAPES: tuple[list[Any], ...] = (*([], [1], [1, 2], [2, 1], [1, 1, 1], [-1, 1], [1, -1], [65, 1]),)
NO_NUMBERS: tuple[Any, ...] = (None, True, -1, 0.5, 2**70, "1", "", "\ud800", [], [[]], {}, {"a": {}}, 1e308)
WORDS = ("", "\0", "é" * 300, "\u202e", "../..", "a b", "%00", "{}", "\ud800", "𝕏" * 70)


@dataclass(frozen=True)
class HttpCase:
    """One HTTP request.

    Attributes:
        kind: what is wrong with it.
        path: behind the server's address.
        headers: of the request.
        body: of the request.
        bad: whether it must be refused; else it may also be answered.
    """

    kind: str
    path: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    bad: bool = True


def document(rng: random.Random, service: str) -> tuple[str, dict[str, Any]]:
    """A good request as JSON, to the service or its model."""
    if rng.random() < 0.7:
        values = [[rng.choice(TEXTS)] for _ in range(rng.randint(1, 3))]
        return service, {"inputs": [entry("text", "BYTES", [len(values), 1], values)]}
    ids = [[rng.randint(1, 9) for _ in range(4)]]
    return f"{service}_model", {"inputs": [entry("input_ids", "INT32", [1, 4], ids)]}


def entry(name: str, datatype: str, shape: list[int], data: Any) -> dict[str, Any]:
    """An input of a JSON request."""
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def wrong_datatype(rng: random.Random, content: dict[str, Any]) -> None:
    tensor = content["inputs"][0]
    tensor["datatype"] = rng.choice([name for name in DATATYPES if name != tensor["datatype"]])


def wrong_shape(rng: random.Random, content: dict[str, Any]) -> None:
    tensor = content["inputs"][0]
    tensor["shape"] = rng.choice([shape for shape in SHAPES if shape not in ([len(tensor["data"]), 1], [1, 4])])


def no_shape(rng: random.Random, content: dict[str, Any]) -> None:
    content["inputs"][0]["shape"] = rng.choice((*NO_NUMBERS[:-1], [None], ["1", 1], [1.5, 1], [[1], 1]))


def lacking_key(rng: random.Random, content: dict[str, Any]) -> None:
    del content["inputs"][0][rng.choice(("name", "datatype", "shape", "data"))]


def wrong_data(rng: random.Random, content: dict[str, Any]) -> None:
    tensor = content["inputs"][0]
    wrong = [[], [[]], [tensor["data"], tensor["data"]], {"a": 1}, "text", 7, None, [[None]], [[{}]], [[[[[[1]]]]]]]
    tensor["data"] = rng.choice(wrong)


def wrong_inputs(rng: random.Random, content: dict[str, Any]) -> None:
    tensor = content["inputs"][0]
    content["inputs"] = rng.choice([[], {}, None, 3, "x", [[]], [None], [tensor, dict(tensor, name="other")], tensor])


def wrong_name(rng: random.Random, content: dict[str, Any]) -> None:
    content["inputs"][0]["name"] = rng.choice(WORDS[:-2])


def wrong_output(rng: random.Random, content: dict[str, Any]) -> None:
    content["outputs"] = rng.choice(
        [[{"name": "nothing"}], [{}], {}, 3, [3], [{"name": 7}], [{"name": word} for word in WORDS[:4]]]
    )


def wrong_top_k(rng: random.Random, content: dict[str, Any]) -> None:
    content["parameters"] = {"top_k": rng.choice((0, -1, "2", True, 0.5, -(2**63)))}


def odd_parameters(rng: random.Random, content: dict[str, Any]) -> None:
    name = rng.choice(("top_k", "threshold", "priority", "timeout", "sequence_id", "binary_data_output", *WORDS[:-2]))
    content["parameters"] = {name: rng.choice(NO_NUMBERS)}


def odd_memory(rng: random.Random, content: dict[str, Any]) -> None:
    region = {
        "shared_memory_region": rng.choice(("nothing", "", "\0")),
        "shared_memory_byte_size": rng.choice((8, 0, -8, 2**40)),
    }
    content["inputs"][0]["parameters"] = region


def odd_id(rng: random.Random, content: dict[str, Any]) -> None:
    content["id"] = rng.choice(NO_NUMBERS + WORDS)


JSON_FAULTS: dict[Callable[[random.Random, dict[str, Any]], None], bool] = {
    **dict.fromkeys((wrong_datatype, wrong_shape, no_shape, lacking_key, wrong_data, wrong_inputs, wrong_name), True),
    **dict.fromkeys((wrong_output, odd_memory), True),
    **dict.fromkeys((wrong_top_k, odd_parameters, odd_id), False),
}


def json_case(rng: random.Random, service: str) -> HttpCase:
    """A request with something wrong in its JSON."""
    model, content = document(rng, service)
    fault = rng.choice(list(JSON_FAULTS))
    fault(rng, content)
    body = json.dumps(content).encode()
    return HttpCase(fault.__name__, f"/v2/models/{model}/infer", {}, body, JSON_FAULTS[fault])


def bytes_case(rng: random.Random, service: str) -> HttpCase:
    """A request whose bytes are damaged: cut, overwritten, of another encoding, nested."""
    model, content = document(rng, service)
    body = bytearray(json.dumps(content).encode())
    kind = rng.choice(("cut", "overwritten", "not UTF-8", "nested", "behind", "not JSON"))
    if kind == "cut":
        del body[rng.randrange(len(body)) :]
    elif kind == "overwritten":
        for _ in range(rng.randint(1, 8)):
            body[rng.randrange(len(body))] = rng.randrange(256)
    elif kind == "not UTF-8":
        body = bytearray(body.replace(b"lecture", b"\xff\xfe\xc0").replace(b"prize", b"\xed\xa0\x80"))
    elif kind == "nested":
        depth = rng.randint(1, 200)
        body = bytearray(b'{"inputs":' + b"[" * depth + b"]" * depth + b"}")
    elif kind == "behind":
        body += rng.choice((b"{}", b"\0", b"x" * 1000, b"]"))
    else:
        body = bytearray(rng.choice((b"", b"null", b"[]", b"3", b'"x"', rng.randbytes(rng.randint(1, 300)))))
    bad = bool(body) and kind in (
        "cut",
        "nested",
        "not JSON",
    )  # an empty body is a request without inputs, and answered
    return HttpCase(kind, f"/v2/models/{model}/infer", {}, bytes(body), bad)


def binary_case(rng: random.Random, service: str) -> HttpCase:
    """A request in the binary extension, one of whose lengths is wrong."""
    raw = b"".join(struct.pack("<I", len(text)) + text.encode() for text in TEXTS[:1])
    size: Any = len(raw)
    kind = rng.choice(("element", "size", "header", "rows", "tail"))
    shape = [1, 1]
    if kind == "element":
        raw = struct.pack("<I", rng.choice((0, 1, 2**31, 2**32 - 1, len(raw)))) + raw[4:]
    elif kind == "size":
        size = rng.choice((0, 1, size - 1, size + 1, 2**31, 2**63 - 1, -1, "8", None, 0.5))
    elif kind == "rows":
        shape = rng.choice([shape for shape in SHAPES if shape])
    elif kind == "tail":
        raw += rng.randbytes(rng.randint(1, 50))
    head = json.dumps(
        {"inputs": [{"name": "text", "datatype": "BYTES", "shape": shape, "parameters": {"binary_data_size": size}}]}
    )
    length: Any = len(head)
    if kind == "header":
        length = rng.choice(
            (0, 1, length - 1, length + 1, -1, 2**31, 2**63, "x", "", "1e3", "0x10", length + len(raw) + 1)
        )
    headers = {"Inference-Header-Content-Length": str(length)}
    # Triton takes a header that is no number for one that is missing, and bytes behind the last tensor for nothing.
    return HttpCase(f"binary {kind}", f"/v2/models/{service}/infer", headers, head.encode() + raw, bad=kind == "rows")


def encoded_case(rng: random.Random, service: str) -> HttpCase:
    """A request whose Content-Encoding is not what its body is in."""
    body = json.dumps(document(rng, service)[1]).encode()
    encoding = rng.choice(("gzip", "deflate", "br", "x", "gzip, gzip"))
    packed = zlib.compress(body) if encoding == "deflate" else gzip.compress(body)
    damaged = rng.choice((body, packed[: len(packed) // 2], packed[::-1], b"", rng.randbytes(64)))
    # What cannot be unpacked is an empty body to Triton, see `bytes_case`.
    return HttpCase(
        f"encoding {encoding}", f"/v2/models/{service}/infer", {"Content-Encoding": encoding}, damaged, bad=False
    )


def path_case(rng: random.Random, service: str) -> HttpCase:
    """A good request to a model or version that does not exist."""
    body = json.dumps(document(rng, service)[1]).encode()
    version = rng.choice(("0", "-1", "99", "x", str(2**63), "1/infer", "%00"))
    paths = (
        f"/v2/models/{service}/versions/{version}/infer",
        "/v2/models/nobody/infer",
        "/v2/models//infer",
        "/v2/nothing",
    )
    return HttpCase("path", rng.choice(paths), {}, body)


HTTP_MAKERS = (json_case, json_case, json_case, bytes_case, binary_case, binary_case, encoded_case, path_case)


def send_http(port: int, case: HttpCase, timeout_s: float = ANSWER_S) -> tuple[int, str]:
    """The status of the answer, and what it says.

    Raises:
        OSError, http.client.HTTPException: there is none.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("POST", case.path, case.body, case.headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    finally:
        connection.close()


def hazards(service: str) -> dict[str, HttpCase]:
    """Requests that end tritonserver or are never answered, by name; only a server of one's own should get them."""

    def case(name: str, model: str, content: dict[str, Any] | bytes) -> HttpCase:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return HttpCase(name, f"/v2/models/{model}/infer", {}, body)

    def ids(shape: list[int], data: list[Any]) -> dict[str, Any]:
        return {"inputs": [entry("input_ids", "INT32", shape, data)]}

    label = [{"name": "label", "parameters": {"classification": 1}}]
    cases = (
        case("classification", service, {"inputs": [entry("text", "BYTES", [1, 1], [["a"]])], "outputs": label}),
        case("nesting", service, b'{"inputs":' + b"[" * 300_000 + b"]" * 300_000 + b"}"),
        case("overflow", service, {"inputs": [entry("text", "INT32", [2**63 - 1, 2], [[1, 2]])]}),
        case("no rows", f"{service}_model", ids([0, 0], [])),
    )
    return {made.kind: made for made in cases}
