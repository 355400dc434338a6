"""What the gateway lets through, and what it says to the rest."""

import json
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from trident.gateway import checks
from trident.gateway.checks import Malformed, check_grpc, check_http
from tritonclient.grpc import service_pb2 as pb


def body(binary: bytes = b"", **changes: Any) -> bytes:
    """A good request with one input, `changes` made to that."""
    tensor = {"name": "x", "datatype": "INT32", "shape": [1, 2], "data": [[1, 2]]} | changes
    return json.dumps({"inputs": [tensor]}).encode() + binary


def test_good_requests_pass() -> None:
    check_http(body(), None)
    check_http(body(datatype="BYTES", data=["NaN", "é\0"], shape=[2]), None)
    check_http(b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [], "data": [1.5]}]}', None)
    packed = body(b"\0" * 8, parameters={"binary_data_size": 8})
    check_http(packed, str(len(packed) - 8))
    asked = json.loads(body()) | {"id": "7", "parameters": {"top_k": 2}, "outputs": [{"name": "y"}]}
    check_http(json.dumps(asked).encode(), None)


@pytest.mark.parametrize(
    ("request_body", "said"),
    [
        (b"", "is no JSON"),
        (b"\xff", "is no JSON"),
        (b"[1]", r"the request is \[1\]; expected an object"),
        (b"{}", "'inputs' must be a list of at least one tensor"),
        (b'{"inputs": []}', "'inputs' must be a list of at least one tensor"),
        (b'{"inputs": {"name": "x"}}', "'inputs' must be a list of at least one tensor"),
        (b'{"inputs": [1]}', "1 is no tensor"),
        (b'{"inputs": [{"name": 1}]}', "is no tensor"),
        (b'{"inputs": [], "inputs": []}', "two members of one name"),
        (b'{"inputs": [NaN]}', "it has no NaN"),
        (b'{"inputs":' + b"[" * 100_000, "maximum recursion depth"),
        (b'{"inputs": [' + b"9" * 10_000 + b"]}", "is no JSON"),
        (body(datatype="FLOAT"), "input 'x' has the datatype FLOAT"),
        (body(datatype=None), "input 'x' has the datatype None"),
        (body(shape=None), "input 'x' has the shape None"),
        (body(shape=[True]), r"input 'x' has the shape \[True\]"),
        (body(shape=[-1, 2]), r"input 'x' has the shape \[-1, 2\]; expected"),
        (body(shape=[2**63]), "expected a list of lengths"),
        (body(shape=[0, 2]), "which has no elements"),
        (body(shape=[0, 2**62, 2**62]), "which has no elements"),
        (body(shape=[2**62, 0]), "which has more elements than"),
        (body(shape=[2**62, 4]), "which has more elements than the request has bytes"),
        (body(parameters=[]), "the parameters of 'x' are"),
        (body(parameters={"binary_data_size": -1}), "has the binary_data_size -1"),
        (body(parameters={"binary_data_size": 4}), "0 bytes follow the JSON, and binary_data_size says 4"),
        (body(parameters={"shared_memory_region": "a"}), "'shared_memory_region' of 'x' is not offered here"),
        (b'{"id": 1, ' + body()[1:], "'id' is 1; expected str"),
        (b'{"parameters": [], ' + body()[1:], "'parameters' is .*; expected dict"),
        (b'{"outputs": {}, ' + body()[1:], "'outputs' is .*; expected list"),
        (body(shape=[1] * 33), "input 'x' has more than 32 axes"),
        (body(name="x" * 1025), "the name of a tensor has 1,025 characters, and 1,024 are taken"),
        (b'{"id": "' + b"i" * 1025 + b'", ' + body()[1:], "id has 1,025 characters"),
        (
            b'{"outputs": [' + b'{"name": "a"},' * 1000 + b'{"name": "a"}],' + body()[1:],
            "the request has 1,002 tensors",
        ),
        (b'{"inputs": [' + b"[]," * 2**18 + b"[]]}", "the JSON has 524,291 parts, and 524,288 are taken"),
        (b'{"outputs": [{}], ' + body()[1:], "is no tensor"),
        (
            b'{"outputs": [{"name": "y", "parameters": {"classification": 0}}], ' + body()[1:],
            "'classification' of 'y' is not offered here: sort the output yourself",
        ),
    ],
)
def test_malformed_requests_are_told_what_is_wrong(request_body: bytes, said: str) -> None:
    with pytest.raises(Malformed, match=said) as caught:
        check_http(request_body, None)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("length", ["-1", "1.5", "", "٣", "9" * 30, "1_0", "1000"])
def test_a_length_of_the_json_that_is_none_is_refused(length: str) -> None:
    with pytest.raises(Malformed, match="Inference-Header-Content-Length is"):
        check_http(body(), length)


def test_the_json_ends_where_its_length_says() -> None:
    with pytest.raises(Malformed, match="is no JSON"):
        check_http(body(), str(len(body()) - 1))
    with pytest.raises(Malformed, match="1 bytes follow the JSON, and binary_data_size says 0"):
        check_http(body(b" "), str(len(body())))


def message() -> pb.ModelInferRequest:
    made = pb.ModelInferRequest(model_name="a")
    made.inputs.add(name="x", datatype="INT32", shape=[1, 2]).contents.int_contents.extend([0, 0])
    return made


def test_good_messages_pass() -> None:
    check_grpc(message().SerializeToString())
    raw = message()
    raw.inputs[0].ClearField("contents")
    raw.raw_input_contents.append(b"\0" * 8)
    raw.outputs.add(name="y")
    check_grpc(raw.SerializeToString())


def test_malformed_messages_are_told_what_is_wrong() -> None:
    def said(change: Any) -> str:
        made = message()
        change(made)
        with pytest.raises(Malformed) as caught:
            check_grpc(made.SerializeToString())
        return str(caught.value)

    def shape(*axes: int) -> Any:
        def change(made: pb.ModelInferRequest) -> None:
            made.inputs[0].shape[:] = axes

        return change

    assert "no elements" in said(shape(0, 0))
    assert "more elements than the request has bytes" in said(shape(2**62, 2))
    assert "expected a list of lengths" in said(shape(-1, 2))
    assert "the datatype " in said(lambda made: setattr(made.inputs[0], "datatype", "int"))
    assert "at least one tensor" in said(lambda made: made.ClearField("inputs"))
    assert "'classification' of 'y'" in said(
        lambda made: made.outputs.add(name="y").parameters["classification"].__setattr__("int64_param", 1)
    )
    assert "'shared_memory_region' of 'x'" in said(
        lambda made: made.inputs[0].parameters["shared_memory_region"].__setattr__("string_param", "r")
    )
    assert "more than 32 axes" in said(shape(*[1] * 33))
    assert "id has 1,025 characters" in said(lambda made: setattr(made, "id", "i" * 1025))
    assert "the name of a tensor has 1,025" in said(lambda made: made.outputs.add(name="i" * 1025))
    many = "more than 1,000 tensors"
    assert many in said(lambda made: [made.inputs.add(name="a" * 200) for _ in range(4000)])
    assert "send the tensors in raw_input_contents" in said(
        lambda made: made.inputs[0].contents.bytes_contents.append(b"a" * 2**22)
    )
    with pytest.raises(Malformed, match=many):
        check_grpc(b"\x2a\x00" * 2**20)
    with pytest.raises(Malformed, match="is no ModelInferRequest"):
        check_grpc(b"\xff\xff")


def test_the_fields_of_a_request_all_have_a_length() -> None:
    kinds = {field.number: field.type for field in pb.ModelInferRequest.DESCRIPTOR.fields}
    delimited = {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_MESSAGE}
    assert set(kinds) == set(range(1, 8))
    assert set(kinds.values()) <= delimited


@pytest.mark.parametrize(
    ("begins", "said"),
    [
        (b"\x40\x00", "the message has a field 8 of wire type 0; a ModelInferRequest has the fields 1 to 7"),
        (b"\x42\x00", "a field 8 of wire type 2"),
        (b"\x02\x00", "a field 0 of wire type 2"),
        (b"\x28\x00", "a field 5 of wire type 0; .* all of wire type 2"),
        (b"\x2b\x2c", "a field 5 of wire type 3"),
        (b"\xc2\x3e\x00", "a field 1000 of wire type 2"),
        (b"\xaa\x80\x80\x80\x10\x00", "a field 536870917 of wire type 2"),
        (b"\xaa\x00\x00", "more than 1,000 tensors"),
        (b"\x2a\x80\x00", "more than 1,000 tensors"),
        (b"\x2a\x80\x80\x80\x80\x80\x00", "is no ModelInferRequest"),
        (b"\x3a\xff\xff\xff\x7f", "is no ModelInferRequest"),
    ],
)
def test_nothing_keeps_the_fields_of_a_message_from_being_counted(begins: bytes, said: str) -> None:
    """A parser skips what it does not know, and takes numbers that are longer than they need be."""
    with pytest.raises(Malformed, match=said):
        check_grpc(begins + b"\x2a\x00" * 5000)


def test_much_beside_the_raw_tensors_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = message()
    entry = made.outputs.add(name="y")
    for number in range(2**19):
        entry.parameters[str(number)].bool_param = True
    attacks = (made.SerializeToString(), pb.ModelInferRequest(id="i" * 2**23).SerializeToString())
    monkeypatch.setattr(checks, "service_pb2", None)
    for attack in attacks:
        with pytest.raises(Malformed, match="more than 4,194,304 bytes beside its raw tensors"):
            check_grpc(attack)


def test_raw_tensors_are_not_counted() -> None:
    large = pb.ModelInferRequest(model_name="a", raw_input_contents=[b"\0" * 2**23])
    large.inputs.add(name="x", datatype="UINT8", shape=[1, 2**23])
    check_grpc(large.SerializeToString())
