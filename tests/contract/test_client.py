"""A client that is forked, shared by threads, closed, or used for what is no service."""

import os
import threading
import time

import numpy as np
import pytest
from trident.server.lifecycle import Server
from trident_client import Client, ClientError, InvalidRequest

ROUNDS = 40


def _echoes(client: Client, word: bytes) -> bool:
    """Whether the model `identity` answers this word each time."""
    inputs = {"x": np.array([[word]], dtype=object)}
    return all(client.infer_tensors("identity", inputs)["y"].tolist() == [[word]] for _ in range(ROUNDS))


def test_a_forked_process_is_told_to_make_a_client_of_its_own(server: Server) -> None:
    with Client(server.http_url, timeout_s=5) as client:
        assert client.is_server_live()
        child = os.fork()
        if child == 0:
            try:
                client.is_server_live()
            except ClientError as error:
                os._exit(0 if "made before a fork" in str(error) else 2)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert client.is_server_live()


def test_threads_share_a_client(client: Client) -> None:
    right: list[bool] = []
    threads = [
        threading.Thread(target=lambda word=word: right.append(_echoes(client, word)))
        for word in (b"one", b"two", b"three", b"four")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert right == [True] * 4


def test_a_closed_client_says_so_and_holds_no_thread_up(server: Server) -> None:
    for url in (server.http_url, server.grpc_url):
        client = Client(url, timeout_s=5)
        ended = threading.Event()

        def call_until_closed(client: Client = client, ended: threading.Event = ended) -> None:
            try:
                while True:
                    client.is_server_live()
            except ClientError:
                ended.set()

        thread = threading.Thread(target=call_until_closed, daemon=True)
        thread.start()
        time.sleep(0.3)
        client.close()
        assert ended.wait(10)
        with pytest.raises(ClientError, match="closed"):
            client.is_server_live()


def test_a_model_that_is_no_service_is_named(client: Client) -> None:
    with pytest.raises(InvalidRequest, match=r"'tiny_preprocess' answers \['input_ids'\]; a classification service"):
        client.infer("tiny_preprocess", ["hello"])
