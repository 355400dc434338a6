"""Models as people have them are imported, built, and answer right through the ensemble on a real tritonserver."""

import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import import_models
import numpy as np
import pytest
import real_models
from conftest import DATA, RunTrident
from leftovers import leftovers
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from trident import encoders
from trident.importing import ImportOptions, ImportReport, import_model
from trident.paths import cache_dir
from trident.pretrained import MINILM, find_weights
from trident.repository import build
from trident.server.lifecycle import Server
from trident.service import load_service
from trident.stages.classification.postprocess import softmax
from trident.stages.text.preprocess import Settings, TextPreprocessor
from trident_client import Client, InvalidRequest

pytestmark = pytest.mark.timeout(600)  # `world` imports fourteen models and starts as many Pythons

SNIPPETS = {
    "Python": "def area(radius):\n    import math\n    return math.pi * radius ** 2\n\nprint(area(2))\n",
    "C": '#include <stdio.h>\n\nint main(void) {\n    printf("%d\\n", 42);\n    return 0;\n}\n',
    "SQL": "SELECT name, COUNT(*) FROM orders\nWHERE paid = TRUE\nGROUP BY name ORDER BY 2 DESC;\n",
    "HTML": "<!DOCTYPE html>\n<html>\n<head><title>Hello</title></head>\n<body><p>Hi</p></body>\n</html>\n",
    "Shell": '#!/bin/bash\nset -e\nfor file in "$@"; do\n  echo "$file"\n  grep -c foo "$file" | sort\ndone\n',
    "Java": "public class Main {\n    public static void main(String[] args) {\n"
    '        System.out.println("hello");\n    }\n}\n',
}
LANGUAGES = {"Python": "py", "C": "c", "SQL": "sql", "HTML": "html", "Shell": "sh", "Java": "java"}
SENTENCES = ["How do I reset my password?", "The cat sleeps on the sofa.", "Shares fell sharply on Monday."]
PARAPHRASES = ["I forgot my password, how can I change it?", "A kitten naps on the couch.", "Stocks dropped on Monday."]
DOMAIN_STAGE = f'''
import numpy as np

INPUTS = {{"domain": ("STRING", [1])}}
OUTPUTS = {{"codes": ("INT32", [82])}}
CHARACTERS = "{real_models._DOMAIN_CHARACTERS}"


class InvalidInput(Exception):
    pass


def run(domain):
    codes = np.zeros((len(domain), 82), np.int32)
    for row, raw in zip(codes, domain.ravel(), strict=True):
        name = raw.decode().lower()
        if len(name) > 82 or not set(name) <= set(CHARACTERS):
            raise InvalidInput(f"{{name[:82]!r}} is no domain; expected 82 letters, digits, '-', '.' or '_' at most")
        row[: len(name)] = [CHARACTERS.index(character) for character in name]
    return {{"codes": codes}}
'''


BEST_STAGE = """
INPUTS = {"logits": ("FP32", [2])}
OUTPUTS = {"best": ("INT64", [1]), "raw": ("FP32", [2])}


class InvalidInput(Exception):
    pass


def run(logits):
    return {"best": logits.argmax(axis=1, keepdims=True), "raw": logits}
"""


@dataclass
class World:
    """What was imported and serves.

    Attributes:
        client: of the server.
        reports: name of a service → what its import reported.
        known: what the models themselves answer.
        folder: of the models' files.
        fashion: of Fashion-MNIST.
        trained: a service that `trident train --encoder none` wrote.
    """

    client: Client
    reports: dict[str, ImportReport]
    known: dict[str, Any]
    folder: Path
    fashion: Path
    trained: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, trident: RunTrident, tiny_service: Path) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("models")
    fashion = import_models.fetch_fashion(cache_dir() / "test-models")
    known = import_models.write_all(folder, fashion)
    services, repository = folder / "services", folder / "repository"
    reports = {
        name: import_model(path, name, services, options)
        for name, path, options in _imports(folder, fashion, tiny_service)
    }
    _import_domains(folder, services, trident)
    for name in (*reports, "domains"):
        build(load_service(services / name), repository)
    with (
        Server(repository, http_port=0, grpc_port=0, metrics_port=0, exit_timeout_s=2) as server,
        Client(server.http_url, timeout_s=60) as client,
    ):
        yield World(client, reports, known, folder, fashion, tiny_service)
    assert leftovers(server) == []


def _imports(folder: Path, fashion: Path, trained: Path) -> Iterator[tuple[str, Path, ImportOptions]]:
    """Name, model and options of each import but that of `domains`."""
    guesslang = real_models.write_guesslang(folder / "guesslang")
    yield "language", guesslang, ImportOptions("text-classification")
    yield "guesslang", guesslang, ImportOptions("tensors", signature="predict", inputs={"code": "content"})
    yield "notes", real_models.write_basic_pitch(folder / "pitch"), ImportOptions("tensors")

    labels = _lines(folder / "fashion.txt", [str(number) for number in range(10)])
    yield "fashion", folder / "cnn.keras", ImportOptions("image-classification", labels=labels)

    features = folder / "houses.json"
    columns = [
        {"name": "rooms", "type": "number", "mean": 3, "scale": 2},
        {"name": "city", "type": "category", "values": ["Rome", "Oslo"]},
    ]
    features.write_text(json.dumps({"columns": columns}), encoding="utf-8")
    yield "houses", folder / "houses.keras", ImportOptions("tabular", features=features)
    record = {"request": "record"}
    yield "records", folder / "houses_savedmodel", ImportOptions("tabular", features=features, preprocess=record)

    words = _tokenizer(folder / "words.json", ["sports", "cash", "both", "a", "b", "c"])
    topics = _lines(folder / "topics.txt", import_models.TOPICS)
    options = ImportOptions("text-classification", tokenizer=words, labels=topics, multi_label=True)
    yield "topics", folder / "topics.keras", options

    names = _tokenizer(folder / "names.json", list(import_models.NAMES))
    tags = _lines(folder / "tags.txt", import_models.TAGS)
    yield "names", folder / "tagger.keras", ImportOptions("token-classification", tokenizer=names, labels=tags)

    ham = _lines(folder / "ham.txt", ["ham", "spam"])
    yield "words", folder / "words.keras", ImportOptions("text-classification", labels=ham)
    keras_tokenizer = _keras_tokenizer(folder / "keras.json")
    options = ImportOptions("text-classification", tokenizer=keras_tokenizer, labels=ham)
    yield "reviews", folder / "reviews.h5", options
    behind = replace(options, preprocess={"max_length": 100, "padding": "post"})
    yield "reviews_post", folder / "reviews_any.h5", behind

    _load_keras(trained).save(folder / "trained.h5")
    tokenizer, labels = trained / "tokenizer.json", trained / "labels.txt"
    seed = ImportOptions("text-classification", tokenizer=tokenizer)
    yield "trained", trained / "model.keras", replace(seed, labels=labels)
    best = folder / "best.py"
    best.write_text(BEST_STAGE, encoding="utf-8")
    yield "trained_h5", folder / "trained.h5", replace(seed, stages={"postprocess": best})

    minilm = find_weights(MINILM) / "tokenizer.json"
    savedmodel = _write_minilm(folder / "minilm")
    yield "minilm", savedmodel, ImportOptions("text-embedding", tokenizer=minilm)


def _load_keras(service: Path) -> Any:
    import keras

    return keras.models.load_model(service / "model.keras")


def _lines(path: Path, lines: Any) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _tokenizer(path: Path, words: list[str]) -> Path:
    """Words separated by blanks and lower-cased: `[PAD]` is 0, `[UNK]` 1, the others follow."""
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(path))
    return path


def _keras_tokenizer(path: Path) -> Path:
    """As `Tokenizer.to_json()` of Keras writes it: words w1, w2, ... up to w199."""
    index = {f"w{number}": number for number in range(1, 200)}
    config = {"num_words": None, "filters": ".,", "lower": True, "split": " ", "char_level": False, "oov_token": None}
    document = {"class_name": "Tokenizer", "config": config | {"word_index": json.dumps(index)}}
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def _write_minilm(folder: Path) -> Path:
    """A SavedModel of the encoder's token states, as an exporter of embeddings writes it."""
    import tensorflow as tf

    module = tf.Module()
    module.backbone = encoders.load_backbone(find_weights(MINILM))

    def states(input_ids: Any, attention_mask: Any) -> dict[str, Any]:
        inputs = {"token_ids": input_ids, "padding_mask": attention_mask, "segment_ids": tf.zeros_like(input_ids)}
        return {"last_hidden_state": module.backbone(inputs, training=False)["sequence_output"]}

    specs = [tf.TensorSpec((None, None), tf.int32, name) for name in ("input_ids", "attention_mask")]
    module.states = tf.function(states, input_signature=specs)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.states})
    return folder


def _import_domains(folder: Path, services: Path, trident: RunTrident) -> None:
    """A Keras 2 file that Keras 3 refuses; by the command, since tf-keras must not be seen by this process."""
    real_models.write_dgaintel(folder / "dgaintel")
    file = real_models._dgaintel_file(folder)
    stage = folder / "domain_stage.py"
    stage.write_text(DOMAIN_STAGE, encoding="utf-8")
    labels = _lines(folder / "domains.txt", ["known", "generated"])
    keras_2 = str(cache_dir() / "test-models" / "tf-keras-2.21.0")
    result = trident(
        *("import", file, "--task", "text-classification", "--name", "domains", "--services", services),
        *(
            "--labels",
            labels,
            "--preprocess",
            stage,
            "--requirement",
            "numpy",
        ),
        env=os.environ | {"PYTHONPATH": os.pathsep.join([keras_2, os.environ.get("PYTHONPATH", "")])},
    )
    assert result.returncode == 0, result.stderr
    assert "loaded by tf-keras 2.21.0" in result.stdout


def texts(*values: str) -> NDArray[np.object_]:
    return np.array([[value.encode()] for value in values], object)


# -- what each answers ----------------------------------------------------------------------------------------------


def test_every_export_agreed_with_its_original(world: World) -> None:
    assert all(report.difference <= 1e-5 and report.verified in (3, 12) for report in world.reports.values())
    assert world.reports["fashion"].parameters > 1000
    assert world.reports["minilm"].size_bytes > 80e6


def test_guesslang_names_six_languages_with_its_own_labels(world: World) -> None:
    predictions = world.client.infer("language", list(SNIPPETS.values()))
    assert [prediction.label for prediction in predictions] == list(LANGUAGES.values())


def test_guesslang_as_tensors_of_a_signature_that_was_named_and_an_input_renamed(world: World) -> None:
    code = np.array([[SNIPPETS["Python"].encode()]], object)
    answer = world.client.infer_tensors("guesslang", {"code": code}, outputs=["classes"])
    assert answer["classes"].tolist() == [[b"py"]]


def test_basic_pitch_hears_an_a(world: World) -> None:
    (note,) = world.client.infer_tensors("notes", {"input_2": real_models.sine(440.0)})["note"]
    assert 21 + int(note.mean(axis=0).argmax()) == 69


def test_dgaintel_tells_generated_domains_from_known_ones(world: World) -> None:
    names = ["google.com", "wikipedia.org", "microsoft.com", "xjqkwzvbnmplr.com", "qwkzjxvtrpsdfgh.net"]
    answer = world.client.infer_tensors("domains", {"domain": texts(*names)})
    assert answer["label"].ravel().tolist() == [b"known"] * 3 + [b"generated"] * 2
    with pytest.raises(InvalidRequest, match=r"'schön' is no domain"):
        world.client.infer_tensors("domains", {"domain": texts("schön")})


def test_fashion_mnist_is_as_accurate_as_in_process(world: World) -> None:
    images, classes = import_models.read_fashion(world.fashion, "t10k", import_models.TESTED_ON)
    hits = 0
    for start in range(0, len(images), 50):
        encoded = np.array([[_png(image)] for image in images[start : start + 50]], object)
        labels = world.client.infer_tensors("fashion", {"image": encoded})["label"]
        hits += sum(
            int(label) == number for label, number in zip(labels.ravel(), classes[start : start + 50], strict=True)
        )
    assert hits / len(images) == world.known["cnn accuracy"] > 0.7


def _png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_minilms_vectors_are_those_of_a_direct_call(world: World) -> None:
    weights = find_weights(MINILM)
    tokenizer = encoders.load_tokenizer(weights, 128)
    expected = encoders._encoder(weights)
    answer = world.client.infer_tensors("minilm", {"text": texts(*SENTENCES, *PARAPHRASES)})["embedding"]
    for text, vector in zip([*SENTENCES, *PARAPHRASES], answer, strict=True):
        (direct,) = expected(np.array([tokenizer.encode(text).ids], np.int32)).numpy()
        np.testing.assert_allclose(vector, direct, atol=1e-5)
    originals, paraphrases = answer[:3], answer[3:]
    assert (paraphrases @ originals.T).argmax(axis=1).tolist() == [0, 1, 2]


def test_columns_become_a_value(world: World) -> None:
    columns = {"rooms": np.array([[5], [3]], np.float32), "city": texts("Rome", "Oslo")}
    assert world.client.infer_tensors("houses", columns)["value"].tolist() == [[13], [21]]
    records = texts('{"rooms": 5, "city": "Rome"}', '{"city": "Oslo", "rooms": 3}')
    assert world.client.infer_tensors("records", {"record": records})["value"].tolist() == [[13], [21]]


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        ('{"rooms": 5}', "city"),
        ('{"rooms": 5, "city": "Rome", "price": 1}', "price"),
        ('{"rooms": "five", "city": "Rome"}', "rooms"),
        ('{"rooms": 5, "city": "Paris"}', "Paris"),
        ("[5]", "list"),
        ("{", "JSON"),
    ],
)
def test_a_bad_record_is_named(world: World, record: str, fault: str) -> None:
    with pytest.raises(InvalidRequest, match=fault):
        world.client.infer_tensors("records", {"record": texts(record)})


def test_any_number_of_labels_may_be_right(world: World) -> None:
    both, money, none = world.client.infer("topics", ["both a", "cash", "a b"])
    assert (set(both.labels), money.labels, none.labels) == ({"sport", "money"}, ("money",), ())


def test_tokens_become_spans_of_the_text_as_it_came(world: World) -> None:
    text = "  so  ada lovelace met\ngrace hopper"
    (spans,) = world.client.infer_tensors("names", {"text": texts(text)})["spans"].ravel()
    found = json.loads(spans)
    assert [(span["label"], span["text"]) for span in found] == [("NAME", "ada lovelace"), ("NAME", "grace hopper")]
    assert all(text[span["start"] : span["end"]] == span["text"] for span in found)


def test_a_model_with_text_vectorization_takes_text(world: World) -> None:
    once, twice = world.client.infer("words", ["free prize", "FREE, prize!"], top_k=2)
    assert once.labels == twice.labels
    assert once.scores == pytest.approx(twice.scores)


@pytest.mark.parametrize("service", ["reviews", "reviews_post"])
def test_keras_tokenizer_and_padding_give_what_predict_gives(world: World, service: str) -> None:
    """Texts shorter and longer than the model's length, and an empty one, on either side of the padding."""
    sentences = [" ".join(f"W{number}," for number in row) for row in world.known["reviews rows"]]
    known = world.known["reviews answers"][service]
    for prediction, expected in zip(world.client.infer(service, sentences, top_k=2), known, strict=True):
        scores = dict(zip(prediction.labels, prediction.scores, strict=True))
        assert [scores["ham"], scores["spam"]] == pytest.approx(expected, abs=1e-5)


def test_what_trident_trained_answers_as_keras_predict_does_text_by_text(world: World) -> None:
    """The .keras file through the built-in postprocessing, the .h5 file through a stage of the user's own."""
    messages = [line.split("\t")[1] for line in DATA.read_text(encoding="utf-8").splitlines()[1:201]]
    padded = TextPreprocessor(world.trained / "tokenizer.json", Settings(clean=False))(messages)
    logits = _load_keras(world.trained).predict(padded, verbose=0)
    labels = (world.trained / "labels.txt").read_text(encoding="utf-8").split()
    predictions = []
    raw = []
    for start in range(0, len(messages), 50):
        chunk = messages[start : start + 50]
        predictions += world.client.infer("trained", chunk, top_k=2)
        raw.append(world.client.infer_tensors("trained_h5", {"text": texts(*chunk)}, outputs=["raw"])["raw"])
    np.testing.assert_allclose(np.concatenate(raw), logits, atol=1e-5)
    for prediction, scores in zip(predictions, softmax(logits), strict=True):
        found = dict(zip(prediction.labels, prediction.scores, strict=True))
        assert [found[label] for label in labels] == pytest.approx(scores.tolist(), abs=1e-5)


@pytest.mark.parametrize("damage", ["empty", "text", "truncated"])
def test_a_bad_image_is_named_and_harms_no_other(world: World, damage: str) -> None:
    whole = _png(np.zeros((28, 28), np.uint8))
    bad = {"empty": b"", "text": b"not an image", "truncated": whole[: len(whole) // 2]}[damage]
    with pytest.raises(InvalidRequest, match="image 1 "):
        world.client.infer_tensors("fashion", {"image": np.array([[whole], [bad]], object)})
    assert world.client.infer_tensors("fashion", {"image": np.array([[whole]], object)})["label"].shape == (1, 1)
