"""Malformed requests over both protocols: the server lives, good answers are right, bad requests are refused."""

import random

import fuzzing
import grpc
import numpy as np
import pytest
from trident.server.lifecycle import Server
from trident_client import Client, InvalidRequest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

REQUESTS, SEED = 600, 20241


def test_malformed_requests_are_refused_and_harm_nobody(server: Server) -> None:
    findings = fuzzing.fuzz(server, "tiny", REQUESTS, SEED)
    assert findings.faults == []
    assert findings.codes["good answers"] == REQUESTS // fuzzing.GOOD_EVERY
    assert findings.codes["gRPC INVALID_ARGUMENT"] > findings.codes["gRPC OK"]


def test_the_same_seed_makes_the_same_requests() -> None:
    def some() -> list[object]:
        made = fuzzing.cases(random.Random(SEED), "tiny")
        return [next(made) for _ in range(200)]

    assert some() == some()


def test_a_shape_without_rows_over_the_bytes_of_one_is_refused_by_a_stage(server: Server) -> None:
    """Triton lets it through over gRPC, and hands the tensor over without its first axis."""
    message = pb.ModelInferRequest(model_name="tiny_postprocess")
    message.inputs.add(name="logits", datatype="FP32", shape=[0, 2])
    message.raw_input_contents.append(np.zeros(2, np.float32).tobytes())
    with grpc.insecure_channel(server.grpc_url.removeprefix("grpc://")) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError, match=r"input 'logits' has the shape \[2\]; expected 2 axes") as caught:
            stub.ModelInfer(message, timeout=20)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_requests_without_rows_are_refused_at_once(client: Client) -> None:
    for model, inputs in (
        ("tiny", {"text": np.zeros((0, 1), object)}),
        ("tiny_model", {"input_ids": np.zeros((0, 4), np.int32)}),
    ):
        with pytest.raises(InvalidRequest, match=r"expected 1 string elements|byte size mismatch"):
            client.infer_tensors(model, inputs)


def test_a_text_of_more_bytes_than_the_limit_is_refused_with_both_numbers(client: Client) -> None:
    largest = "é" * 524_288
    assert client.infer("tiny", [largest])[0].labels
    with pytest.raises(InvalidRequest, match=r"text 1 has 1,048,578 bytes, and 1,048,576 are taken"):
        client.infer_tensors("tiny", {"text": np.array([[b"a"], [largest.encode() + "é".encode()]], object)})
