"""A built service answers through the ensemble as the wire contract says."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import DATA
from trident.datasets import read_dataset
from trident.server.lifecycle import Server
from trident.service import load_service
from trident_client import Client

SPAM = "WINNER!! You have been selected to receive a £900 prize, call 09061701461 now to claim"
HAM = "Ok, see you at home after the lecture"


@pytest.fixture(scope="session")
def messages() -> list[str]:
    """Real messages, of very different lengths."""
    dataset = read_dataset(DATA, text_column="text", label_column="label", skip_bad_rows=False)
    return [example.text for example in dataset.examples[:200]]


def test_labels_come_best_first_with_scores_that_sum_to_one(client: Client) -> None:
    spam, ham = client.infer("tiny", [SPAM, HAM], top_k=2)
    assert spam.labels == ("spam", "ham")
    assert ham.labels == ("ham", "spam")
    for prediction in (spam, ham):
        assert prediction.scores[0] > 0.9
        assert sum(prediction.scores) == pytest.approx(1, abs=1e-5)


def test_the_service_answers_one_label_if_not_told_otherwise(client: Client) -> None:
    (prediction,) = client.infer("tiny", [SPAM])
    assert (prediction.label, len(prediction.labels)) == ("spam", 1)


def test_top_k_above_the_number_of_labels_gives_all_of_them(client: Client) -> None:
    (prediction,) = client.infer("tiny", [SPAM], top_k=7)
    assert sorted(prediction.labels) == ["ham", "spam"]


def test_labels_below_the_threshold_are_left_out(client: Client) -> None:
    (prediction,) = client.infer("tiny", [SPAM], top_k=2, threshold=0.5)
    assert prediction.labels == ("spam",)


def test_on_the_wire_a_threshold_fills_rows_with_empty_labels(client: Client) -> None:
    text = np.array([[SPAM.encode()]], dtype=object)
    answer = client.infer_tensors("tiny", {"text": text}, parameters={"top_k": 2, "threshold": 0.5})
    assert answer["label"].tolist() == [[b"spam", b""]]
    assert answer["score"].dtype == np.float32
    assert answer["score"][0, 1] == 0


def test_more_texts_than_a_request_may_hold_come_back_in_order(client: Client, messages: list[str]) -> None:
    together = client.infer("tiny", messages, top_k=2)
    alone = [client.infer("tiny", [text], top_k=2)[0] for text in messages[:20]]
    assert len(together) == len(messages) > 64
    for one, same in zip(alone, together, strict=False):
        assert one.labels == same.labels
        assert one.scores == pytest.approx(same.scores, abs=1e-5)


def test_no_texts_give_no_predictions(client: Client) -> None:
    assert client.infer("tiny", []) == []


def test_the_ensemble_answers_what_the_saved_model_gives_in_process(
    client: Client, messages: list[str], tiny_service: Path, server: Server
) -> None:
    from trident.savedmodel import load_model
    from trident.stages.classification.postprocess import softmax
    from trident.stages.text.preprocess import Settings, TextPreprocessor

    service = load_service(tiny_service)
    model = load_model(service)
    ids = TextPreprocessor(tiny_service / "tokenizer.json", Settings())(messages[:50])
    expected = softmax(model({"input_ids": ids})["logits"])
    for prediction, row in zip(client.infer("tiny", messages[:50], top_k=2), expected, strict=True):
        scores = dict(zip(prediction.labels, prediction.scores, strict=True))
        assert [scores[label] for label in service.labels] == pytest.approx(row.tolist(), abs=1e-5)


def test_requests_of_different_lengths_share_a_batch_and_get_their_own_answers(
    client: Client, messages: list[str]
) -> None:
    alone = [client.infer("tiny", [text], top_k=2)[0] for text in messages[:16]]
    before = _executions(client, "batching_model")
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda text: client.infer("batching", [text], top_k=2)[0], messages[:16]))
    inferences, executions = (
        now - then for now, then in zip(_executions(client, "batching_model"), before, strict=True)
    )
    assert inferences == 16
    assert executions < 16
    for one, same in zip(alone, together, strict=True):
        assert one.labels == same.labels
        assert one.scores == pytest.approx(same.scores, abs=1e-5)


def _executions(client: Client, model: str) -> tuple[int, int]:
    statistics = client.get_inference_statistics(model)["model_stats"][0]
    return statistics.get("inference_count", 0), statistics.get("execution_count", 0)


def test_metadata_states_the_wire_contract(client: Client) -> None:
    metadata = client.get_model_metadata("tiny")
    assert metadata["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1, 1]}]
    assert sorted(metadata["outputs"], key=lambda tensor: str(tensor["name"])) == [
        {"name": "label", "datatype": "BYTES", "shape": [-1, -1]},
        {"name": "score", "datatype": "FP32", "shape": [-1, -1]},
    ]


def test_server_and_model_say_that_they_are_ready(client: Client) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert not client.is_model_ready("nobody")
    assert client.get_server_metadata()["version"]
