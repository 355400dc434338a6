"""Images, spans, embeddings and records: what goes over the wire, and what is refused before."""

import asyncio
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from trident_client import AsyncClient, Client, InvalidRequest, Prediction, ServerError, Span
from trident_client.png import encode_png
from trident_client.tasks import labels_of_records
from trident_client.testing import FakeServer

COLUMNS = {"rooms": "TYPE_FP32", "city": "TYPE_STRING"}


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as running:
        yield running


@pytest.fixture
def client(server: FakeServer) -> Iterator[Client]:
    with Client(server.url) as connected:
        yield connected


def mode_and_size(file: bytes) -> Prediction:
    image = Image.open(io.BytesIO(file))
    return Prediction((f"{image.format} {image.mode} {image.width}x{image.height}",), (1.0,))


# -- images ----------------------------------------------------------------------------------------------------------


def test_images_are_paths_bytes_or_arrays(server: FakeServer, client: Client, tmp_path: Path) -> None:
    server.add("shapes", mode_and_size, takes="image", max_batch_size=2)
    picture = Image.new("RGB", (7, 5), "red")
    picture.save(tmp_path / "red.jpg")
    picture.save(tmp_path / "red.webp")
    images: list[Any] = [
        *(tmp_path / "red.jpg", str(tmp_path / "red.webp"), (tmp_path / "red.jpg").read_bytes()),
        *(np.zeros((5, 7), np.uint8), np.zeros((5, 7, 1), np.uint8), np.zeros((5, 7, 4), np.uint8)),
    ]
    found = [prediction.label for prediction in client.infer_images("shapes", images)]
    assert found == [f"{kind} 7x5" for kind in ("JPEG RGB", "WEBP RGB", "JPEG RGB", "PNG L", "PNG L", "PNG RGBA")]


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (4, 6, 1), (31, 17, 3), (2, 9, 4)])
def test_arrays_are_encoded_without_loss(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    for view in (pixels, pixels[::-1, ::-1]):
        decoded = np.asarray(Image.open(io.BytesIO(encode_png(view))))
        assert np.array_equal(decoded.reshape(shape), view)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([b"", 7], "image 1 is int; expected a path, a file's bytes or an array"),
        ([np.zeros((5, 7))], r"image 0 is float64 \[5, 7\]; expected uint8"),
        ([np.zeros((5, 7, 2), np.uint8)], r"image 0 is uint8 \[5, 7, 2\]; expected uint8 \[H, W\]"),
        ([np.zeros((0, 7), np.uint8)], r"image 0 has the shape \[0, 7\]; expected at least one pixel"),
        (np.zeros((5, 7), np.uint8), r"image 0 is uint8 \[7\]"),
        (b"GIF", "images is one bytes object; expected a list of them"),
        (["nowhere.png"], "image 0 cannot be read from nowhere.png: No such file or directory"),
        (["a\0b.png"], "image 0 cannot be read from a\0b.png: embedded null byte"),
    ],
)
def test_what_is_no_image_is_refused(server: FakeServer, client: Client, images: Any, message: str) -> None:
    server.add("shapes", mode_and_size, takes="image")
    with pytest.raises(InvalidRequest, match=message):
        client.infer_images("shapes", images)
    assert server.requests == []


# -- embeddings and spans --------------------------------------------------------------------------------------------


def test_embeddings_are_one_float32_array_in_the_order_asked(server: FakeServer, client: Client) -> None:
    server.add("meanings", lambda text: np.array([float(text), 1.0]), max_batch_size=3)
    found = client.embed("meanings", [str(number) for number in range(10)])
    assert found.dtype == np.float32
    assert found.tolist() == [[number, 1] for number in range(10)]
    assert [row.tolist() for row in client.embed_stream("meanings", iter("12"))] == [[1, 1], [2, 1]]
    assert client.embed("meanings", []).shape == (0, 0)


def test_spans_come_with_their_places(server: FakeServer, client: Client) -> None:
    def names(text: str) -> list[Span]:
        return [Span("NAME", 0.5, text.index("Ada"), text.index("Ada") + 3, "Ada")] if "Ada" in text else []

    server.add("names", names)
    assert client.infer_spans("names", ["I met Ada", "nobody"], threshold=0.1, aggregation="max") == [
        [Span("NAME", 0.5, 6, 9, "Ada")],
        [],
    ]
    assert server.requests[0].parameters == {"threshold": 0.1, "aggregation": "max"}


@pytest.mark.parametrize("spans", [b"no JSON", b"7", b'[{"label": "NAME"}]', b"[7]"])
def test_spans_that_are_none_are_the_servers_error(server: FakeServer, client: Client, spans: bytes) -> None:
    server.add_model("names", lambda inputs: {"spans": np.array([[spans]], dtype=object)})
    with pytest.raises(ServerError, match="'names' answers what cannot be read"):
        client.infer_spans("names", ["I met Ada"])


def test_another_task_is_named(server: FakeServer, client: Client) -> None:
    server.add("spam", Prediction(("ham",), (1.0,)))
    with pytest.raises(InvalidRequest, match=r"^'spam' answers \['label', 'score'\]; an embedding service answers emb"):
        client.embed("spam", ["a"])


# -- records ---------------------------------------------------------------------------------------------------------


def test_records_travel_as_json_where_the_service_wants_that(server: FakeServer, client: Client) -> None:
    server.add("houses", lambda house: 2.0 * (house["rooms"] or 0), takes="record", max_batch_size=2)
    houses: list[Any] = [
        {"rooms": 1, "city": "Oslo"},
        {"rooms": None, "city": None},
        {"rooms": np.float32(4), "city": ""},
    ]
    assert client.infer_values("houses", houses).tolist() == [2, 0, 8]
    assert client.infer_values("houses", []).shape == (0,)
    server.add("customers", lambda record: Prediction((record["city"],), (1.0,)), takes="record")
    assert client.infer_records("customers", [{"city": "Bergen"}])[0].label == "Bergen"


def test_records_travel_as_columns_where_the_service_wants_those() -> None:
    task = labels_of_records(COLUMNS)
    rows = task.check_all([{"city": "Oslo", "rooms": 5}, {"rooms": None, "city": None}])
    tensors = task.stack(rows)
    assert tensors["city"].tolist() == [[b"Oslo"], [b""]]
    rooms: NDArray[Any] = tensors["rooms"]
    assert rooms.dtype == np.float32
    assert rooms[0].tolist() == [5]
    assert np.isnan(rooms[1, 0])


def test_numbers_travel_with_the_digits_that_the_service_takes() -> None:
    task = labels_of_records({"id": "TYPE_FP64", "rooms": "TYPE_FP32"})
    tensors = task.stack(task.check_all([{"id": 2**24 + 1, "rooms": 2**24 + 1}]))
    assert {name: (str(array.dtype), array.item()) for name, array in tensors.items()} == {
        "id": ("float64", 2**24 + 1),
        "rooms": ("float32", 2**24),
    }


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (7, "record 0 is int; expected {column: value}"),
        (
            {"rooms": 5},
            r"record 0 has the columns \['rooms'\]; expected \['city', 'rooms'\], None where one is missing",
        ),
        ({"rooms": 5, "city": "a", "x": 1}, "record 0 has the columns"),
        ({"rooms": "5", "city": "Oslo"}, "record 0: 'rooms' is str; expected a number or None"),
        ({"rooms": True, "city": "Oslo"}, "record 0: 'rooms' is bool; expected a number or None"),
        ({"rooms": 10**309, "city": "Oslo"}, "record 0: 'rooms' is an integer that is too large for FP32"),
        ({"rooms": -(10**5000), "city": "Oslo"}, "record 0: 'rooms' is an integer that is too large for FP32"),
        ({"rooms": 5, "city": 7}, "record 0: 'city' is int; expected a string or None"),
        ({"rooms": 5, "city": "\ud800"}, "record 0: 'city' cannot be encoded as UTF-8"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(record: Any, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        labels_of_records(COLUMNS).check_all([record])


@pytest.mark.parametrize("value", [float("nan"), object(), b"bytes"])
def test_a_record_that_is_no_json_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"record 0 is no JSON: .*expected strings, numbers and None"):
        labels_of_records({"record": "TYPE_STRING"}).check_all([{"rooms": value}])


def test_the_async_client_knows_all_tasks(server: FakeServer) -> None:
    server.add("meanings", np.array([1.0, 2.0]))
    server.add("names", [Span("NAME", 0.5, 0, 3, "Ada")])
    server.add("shapes", mode_and_size, takes="image")
    server.add("houses", 7.0, takes="record")
    server.add("customers", Prediction(("stays",), (1.0,)), takes="record")

    async def main() -> list[Any]:
        async with AsyncClient(server.url) as client:
            return [
                (await client.embed("meanings", ["a"])).tolist(),
                (await client.infer_spans("names", ["Ada"]))[0][0].text,
                (await client.infer_images("shapes", [np.zeros((1, 2), np.uint8)]))[0].label,
                (await client.infer_values("houses", [{"rooms": 1}])).tolist(),
                (await client.infer_records("customers", [{"age": 1}]))[0].label,
                [row.tolist() async for row in client.embed_stream("meanings", ["a"])],
            ]

    assert asyncio.run(main()) == [[[1, 2]], "Ada", "PNG L 2x1", [7], "stays", [[1, 2]]]
    assert json.loads(server.requests[3].inputs["record"][0, 0]) == {"rooms": 1}
