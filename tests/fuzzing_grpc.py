"""Malformed gRPC calls, made at random but with structure."""

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
from fuzzing_http import ANSWER_S, DATATYPES, SHAPES, TEXTS
from tritonclient.grpc import service_pb2 as pb


@dataclass(frozen=True)
class GrpcCase:
    """One ModelInfer call; the attributes are those of `fuzzing_http.HttpCase`."""

    kind: str
    message: Any = field(repr=False)
    bad: bool = True


def message_of(rng: random.Random, service: str) -> Any:
    """A good ModelInferRequest, to the service or its model."""
    if rng.random() < 0.7:
        texts = [rng.choice(TEXTS).encode() for _ in range(rng.randint(1, 3))]
        message = pb.ModelInferRequest(model_name=service)
        message.inputs.add(name="text", datatype="BYTES", shape=[len(texts), 1])
        message.raw_input_contents.append(b"".join(struct.pack("<I", len(text)) + text for text in texts))
    else:
        message = pb.ModelInferRequest(model_name=f"{service}_model")
        message.inputs.add(name="input_ids", datatype="INT32", shape=[1, 4])
        message.raw_input_contents.append(struct.pack("<4i", 1, 2, 3, 4))
    return message


def raw_contents(rng: random.Random, message: Any) -> None:
    raw = message.raw_input_contents[0]
    other = rng.choice((b"", raw[:-1], raw + b"\0", raw * 2, raw[:3], b"\xff" * len(raw)))
    del message.raw_input_contents[:]
    message.raw_input_contents.extend(rng.choice(([], [raw, raw], [other], [other], [other])))


def datatype(rng: random.Random, message: Any) -> None:
    tensor = message.inputs[0]
    tensor.datatype = rng.choice([name for name in DATATYPES if name != tensor.datatype])


def shape(rng: random.Random, message: Any) -> None:
    tensor = message.inputs[0]
    other = rng.choice([one for one in SHAPES if one != list(tensor.shape)])
    del tensor.shape[:]
    tensor.shape.extend(other)


def no_rows(rng: random.Random, message: Any) -> None:
    message.inputs[0].shape[0] = 0


def both_contents(rng: random.Random, message: Any) -> None:
    message.inputs[0].contents.bytes_contents.append(b"x")


def typed_contents(rng: random.Random, message: Any) -> None:
    del message.raw_input_contents[:]
    contents = message.inputs[0].contents
    field_name = rng.choice(("bool_contents", "uint_contents", "fp32_contents", "fp64_contents", "uint64_contents"))
    getattr(contents, field_name).extend([1] * rng.randint(1, 5))


def names(rng: random.Random, message: Any) -> None:
    rng.choice((message.inputs[0], message.outputs.add(name="label"))).name = rng.choice(("nothing", "", "\0"))


def doubled(rng: random.Random, message: Any) -> None:
    message.inputs.add().CopyFrom(message.inputs[0])
    message.inputs[1].name = "other"
    message.raw_input_contents.append(message.raw_input_contents[0])


def nobody(rng: random.Random, message: Any) -> None:
    message.model_name, message.model_version = rng.choice((("nobody", ""), ("", ""), (message.model_name, "99")))


def memory(rng: random.Random, message: Any) -> None:
    tensor = message.inputs[0]
    tensor.parameters["shared_memory_region"].string_param = "nothing"
    tensor.parameters["shared_memory_byte_size"].int64_param = rng.choice((8, 0, -8, 2**40))


def parameter(rng: random.Random, message: Any) -> None:
    names = ("top_k", "threshold", "priority", "timeout", "sequence_id", "sequence_start", "x", "")
    chosen = message.parameters[rng.choice(names)]
    kinds: tuple[tuple[str, Any], ...] = (
        *(
            ("bool_param", True),
            ("int64_param", -1),
            ("int64_param", 2**62),
            ("string_param", "x" * rng.randint(0, 999)),
        ),
        *(("double_param", float("nan")), ("uint64_param", 2**64 - 1)),
    )
    setattr(chosen, *rng.choice(kinds))


GRPC_FAULTS: dict[Callable[[random.Random, Any], None], bool] = {
    **dict.fromkeys((datatype, shape, both_contents, typed_contents, names, doubled, nobody, memory), True),
    **dict.fromkeys((raw_contents, parameter, no_rows), False),
}


def grpc_case(rng: random.Random, service: str) -> GrpcCase:
    """A call with something wrong in its message."""
    message = message_of(rng, service)
    fault = rng.choice(list(GRPC_FAULTS))
    fault(rng, message)
    return GrpcCase(fault.__name__, message, GRPC_FAULTS[fault])


def send_grpc(stub: Any, case: GrpcCase) -> grpc.StatusCode:
    """The code of the answer."""
    try:
        stub.ModelInfer(case.message, timeout=ANSWER_S)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK
