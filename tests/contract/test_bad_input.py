"""Bad input gets the right error class over both protocols, and harms no neighbour."""

import http.client
import json
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from trident.server.lifecycle import Server
from trident_client import (
    Client,
    ClientError,
    InvalidRequest,
    NotFound,
    Prediction,
    RequestTimeout,
    ServerError,
    Unavailable,
)
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc


def _bytes(*values: bytes) -> "np.ndarray[tuple[int, int], np.dtype[np.object_]]":
    return np.array([[value] for value in values], dtype=object)


@pytest.mark.parametrize(
    "text",
    ["", "   \t\n", "\x00", "a\x00b", "🎉🥳" * 50, "مرحبا بالعالم", "\u202etxet", "word " * 200_000, "x" * 1_000_000],
    ids=["empty", "blank", "NUL alone", "NUL", "emoji", "right to left", "override", "1 MB", "1 MB in a word"],
)
def test_any_text_is_answered(client: Client, text: str) -> None:
    (prediction,) = client.infer("tiny", [text], top_k=2)
    assert sorted(prediction.labels) == ["ham", "spam"]
    assert sum(prediction.scores) == pytest.approx(1, abs=1e-5)


def test_a_nul_byte_changes_nothing(client: Client) -> None:
    plain, with_nul = client.infer("tiny", ["free prize", "free\x00 prize"])
    assert plain == with_nul


def test_text_that_is_not_utf8_is_refused_with_its_position(client: Client) -> None:
    with pytest.raises(InvalidRequest, match=r"text 1 is not UTF-8 \(byte 0xff at offset 2\)"):
        client.infer_tensors("tiny", {"text": _bytes(b"good", b"ab\xff")})


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"text": np.zeros((1, 1), np.float32)}, "FP32"),
        ({"text": np.array([[b"a", b"b"]], dtype=object)}, "shape"),
        ({"text": np.array([b"a"], dtype=object)}, "shape"),
        ({"words": _bytes(b"a")}, "words"),
        ({}, "input"),
        ({"text": np.array([[b"a"]] * 65, dtype=object)}, "65|64"),
    ],
    ids=["datatype", "shape", "rank", "name", "no input", "batch above the limit"],
)
def test_a_wrong_tensor_is_an_invalid_request(
    client: Client, inputs: dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.generic]]"], message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        client.infer_tensors("tiny", inputs)


@pytest.mark.parametrize("parameters", [{"top_k": 0}, {"top_k": "two"}, {"threshold": 1.5}, {"top_k": True}])
def test_a_parameter_out_of_range_is_an_invalid_request(
    client: Client, parameters: dict[str, int | str | float]
) -> None:
    with pytest.raises(InvalidRequest, match=f"parameter {next(iter(parameters))} is .*expected"):
        client.infer_tensors("tiny", {"text": _bytes(b"a")}, parameters=parameters)


def test_nan_and_infinity_pass_as_they_are(client: Client) -> None:
    x = np.array([[np.nan, np.inf, -np.inf]], np.float32)
    (answer,) = client.infer_tensors("bare", {"x": x}).values()
    assert np.array_equal(answer, 2 * x, equal_nan=True)


def test_a_batch_of_many_megabytes_passes(client: Client) -> None:
    (answer,) = client.infer_tensors("identity", {"x": _bytes(b"x" * 20_000_000)}).values()
    assert len(answer[0, 0]) == 20_000_000


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_compressed_requests_are_answered(server: Server, compression: str) -> None:
    for url in (server.http_url, server.grpc_url):
        with Client(url, compression=compression) as client:
            x = {"x": _bytes(b"x" * 1_000_000)}
            assert client.infer_tensors("identity", x)["y"].tolist() == x["x"].tolist()
            with pytest.raises(InvalidRequest, match="batch-size must be <= 8"):
                client.infer_tensors("identity", {"x": _bytes(*[b"x"] * 9)})


def test_an_unknown_model_or_version_is_not_found(client: Client) -> None:
    with pytest.raises(NotFound, match="nobody"):
        client.infer("nobody", ["a"])
    with pytest.raises(NotFound, match="7"):
        client.infer_tensors("tiny", {"text": _bytes(b"a")}, version="7")
    with pytest.raises(NotFound, match="nobody"):
        client.get_model_metadata("nobody")


def test_a_model_that_raises_is_a_server_error(client: Client) -> None:
    with pytest.raises(ServerError, match="always fails"):
        client.infer_tensors("always_fails", {"x": _bytes(b"a")})


def test_a_call_that_takes_too_long_is_a_timeout(client: Client) -> None:
    with pytest.raises(RequestTimeout, match=r"within 0\.3 s"):
        client.infer_tensors("slow", {"x": _bytes(b"a")}, timeout_s=0.3)


def test_texts_that_are_no_strings_are_refused_before_they_are_sent(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="text 1 is int"):
        client.infer("tiny", ["a", 7])  # type: ignore[list-item]
    with pytest.raises(InvalidRequest, match="one string"):
        client.infer("tiny", "one text")
    with pytest.raises(InvalidRequest, match="surrogates"):
        client.infer("tiny", ["\ud800"])


def test_a_request_without_rows_spoils_a_batch_only_until_the_others_try_again(server: Server) -> None:
    """Triton counts one of shape [0, 4] as one row when it puts a batch together, and as four afterwards."""
    vandal = pb.ModelInferRequest(model_name="uneven", raw_input_contents=[bytes(16)])
    vandal.inputs.add(name="x", datatype="INT32", shape=[0, 4])

    def ask(client: Client, rows: int) -> int:
        return len(client.infer_tensors("uneven", {"x": np.ones((rows, 4), np.int32)})["y"])

    with (
        Client(server.http_url, timeout_s=20) as patient,
        Client(server.grpc_url, timeout_s=20, retry=None) as impatient,
        grpc.insecure_channel(server.grpc_url.removeprefix("grpc://")) as channel,
        ThreadPoolExecutor(3) as pool,
    ):
        first = pool.submit(ask, patient, 1)
        time.sleep(0.2)  # the model takes half a second; what comes now shares the next batch
        spoiled = pool.submit(ask, impatient, 5)
        bad = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer.future(vandal, timeout=20)
        again = pool.submit(ask, patient, 1)
        assert (first.result(), again.result()) == (1, 1)
        with pytest.raises(Unavailable, match=r"batch size 10 for 'uneven_0_0', max allowed is 8"):
            spoiled.result()
        assert bad.code() is grpc.StatusCode.INTERNAL


def test_strings_that_are_laid_out_wrong_fail_alone(server: Server) -> None:
    """Triton's Python backend fails all requests of a batch if the bytes of one are no strings."""
    stop = threading.Event()
    refused: list[int] = []

    def ask_badly() -> None:
        strings = struct.pack("<I", 55) + b"x" * 51
        tensor = {"name": "text", "shape": [1, 1], "datatype": "BYTES", "parameters": {"binary_data_size": 55}}
        head = json.dumps({"inputs": [tensor]}).encode()
        headers = {"Inference-Header-Content-Length": str(len(head))}
        connection = http.client.HTTPConnection("127.0.0.1", server.ports["http"], timeout=30)
        while not stop.is_set():
            connection.request("POST", "/v2/models/tiny/infer", head + strings, headers)
            answer = connection.getresponse()
            answer.read()
            refused.append(answer.status)
        connection.close()

    bad = [threading.Thread(target=ask_badly) for _ in range(4)]
    for thread in bad:
        thread.start()
    try:
        with Client(server.grpc_url, retry=None) as client, ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: client.infer("tiny", ["free prize"]), range(400)))
    finally:
        stop.set()
        for thread in bad:
            thread.join()
    assert len(answers) == 400
    assert set(refused) == {400}


def test_a_bad_parameter_fails_alone_in_its_batch(client: Client) -> None:
    def ask(position: int) -> Prediction | ClientError:
        try:
            if position == 3:
                client.infer_tensors("batching", {"text": _bytes(b"hello")}, parameters={"top_k": 0})
            return client.infer("batching", ["You won a free prize, call 09061701461 now to claim"])[0]
        except ClientError as error:
            return error

    before = client.get_inference_statistics("batching_postprocess")["model_stats"][0].get("execution_count", 0)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    after = client.get_inference_statistics("batching_postprocess")["model_stats"][0]["execution_count"]
    assert after - before < 8, "the requests did not meet in a batch"
    assert isinstance(answers[3], InvalidRequest)
    assert [answer.label for answer in answers if isinstance(answer, Prediction)] == ["spam"] * 7


def test_ids_that_tensorflow_refuses_fail_alone_in_their_batch(client: Client) -> None:
    def ask(position: int) -> int | ClientError:
        ids = np.array([[999 if position == 3 else 1] * (position + 1)], dtype=np.int32)
        try:
            return int(client.infer_tensors("ragged", {"ids": ids})["total"][0, 0])
        except ClientError as error:
            return error

    before = client.get_inference_statistics("ragged")["model_stats"][0].get("execution_count", 0)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    after = client.get_inference_statistics("ragged")["model_stats"][0]["execution_count"]
    assert after - before < 8, "the requests did not meet in a batch"
    assert isinstance(answers[3], InvalidRequest)
    assert "999" in str(answers[3])
    assert answers[:3] + answers[4:] == [1, 2, 3, 5, 6, 7, 8]
