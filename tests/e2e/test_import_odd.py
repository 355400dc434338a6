"""What is at the edge of what people have is imported and served as well, or refused; and it harms nobody else."""

import io
import json
import os
import struct
import subprocess
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import odd_models
import pytest
from conftest import TRIDENT, RunTrident
from leftovers import leftovers
from numpy.typing import NDArray
from odd_models import HEIGHT, WIDTH
from patience import until
from PIL import Image, ImageOps
from trident.errors import ServiceError
from trident.importing import ImportOptions, import_model
from trident.repository import build
from trident.server.lifecycle import Server
from trident.service import load_service
from trident_client import Client, InvalidRequest, NotFound, ServerError

pytestmark = pytest.mark.timeout(300)  # `world` imports eleven models and starts as many Pythons

Arrays = Mapping[str, NDArray[Any]]

BATCHED = ("roberta", "eye", "stages")  # whose requests are sent at once to meet in one batch
COLUMNS = [
    {"name": "rooms", "type": "number", "mean": 3, "scale": 2},
    {"name": "city", "type": "category", "values": ["Rome", "Oslo"]},
]
# A stage behind the model: it gives what the model gives, as it is.
RAW_STAGE = """
INPUTS = {"pixels_seen": ("FP32", [-1])}
OUTPUTS = {"raw": ("FP32", [-1])}


class InvalidInput(Exception):
    pass


def run(pixels_seen):
    return {"raw": pixels_seen}
"""


@dataclass
class World:
    """What was imported and serves.

    Attributes:
        server: with all services but `broken`.
        client: of the server.
        folder: of the models' files.
        services: of the service folders.
    """

    server: Server
    client: Client
    folder: Path
    services: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("odd")
    services, repository = folder / "services", folder / "repository"
    odd_models.write_all(folder)
    for name, file, options in _imports(folder):
        import_model(folder / file, name, services, options)
        if name in BATCHED:
            toml = services / name / "service.toml"
            text = toml.read_text(encoding="utf-8")
            toml.write_text(text.replace("queue_delay_ms = 0.0", "queue_delay_ms = 50.0"), encoding="utf-8")
        build(load_service(services / name), repository)
    (variables,) = (repository / "broken_model").rglob("variables.data-*")
    os.truncate(variables, variables.stat().st_size // 2)
    with (
        Server(repository, http_port=0, grpc_port=0, metrics_port=0, keep_going=True, exit_timeout_s=2) as server,
        Client(server.grpc_url, timeout_s=30) as client,
    ):
        yield World(server, client, folder, services)
    assert leftovers(server) == []


def _imports(folder: Path) -> Iterator[tuple[str, str, ImportOptions]]:
    """Name, model and options of each import."""
    roberta, colours = folder / "roberta.json", folder / "colours.json"
    options = ImportOptions("text-classification", tokenizer=roberta, labels=_lines(folder / "abc.txt", "abc"))
    yield "roberta", "roberta.keras", replace(options, postprocess={"top_k": 3})
    tagged = ImportOptions("token-classification", labels=_lines(folder / "tags.txt", odd_models.TAGS))
    yield "bytes", "tagger.keras", replace(tagged, tokenizer=roberta)
    yield "pieces", "wordpiece_tagger.keras", replace(tagged, tokenizer=folder / "vocab.txt")

    raw = folder / "raw.py"
    raw.write_text(RAW_STAGE, encoding="utf-8")
    options = ImportOptions("image-classification", preprocess={"max_pixels": 10_000}, stages={"postprocess": raw})
    yield "eye", "eye.keras", options

    embedding = ImportOptions("text-embedding", tokenizer=colours)
    before = {"padding": "pre", "max_length": 6}
    yield "cls", "vectors.keras", replace(embedding, preprocess=before, postprocess={"pooling": "cls"})
    yield "max", "vectors.keras", replace(embedding, postprocess={"pooling": "max"})
    yield "mean", "vectors.keras", replace(embedding, postprocess={"pooling": "mean"})

    tabular = ImportOptions("tabular", features=_features(folder / "features.json"))
    yield "columns", "sum.keras", tabular
    yield "records", "sum.keras", replace(tabular, preprocess={"request": "record"})
    ids = folder / "ids.json"
    ids.write_text('{"columns": [{"name": "id", "type": "number"}]}', encoding="utf-8")
    yield "ids", "ids.keras", ImportOptions("tabular", features=ids)
    yield "broken", "sum.keras", ImportOptions("tensors")

    stage = folder / "stage.py"
    stage.write_text(odd_models.MISBEHAVING_STAGE, encoding="utf-8")
    options = ImportOptions("text-classification", labels=_lines(folder / "no_yes.txt", ["no", "yes"]))
    yield (
        "stages",
        "scores.keras",
        replace(options, stages={"preprocess": stage}, postprocess={"activation": "softmax"}),
    )
    yield "tensors", "scores.keras", ImportOptions("tensors")


def _lines(path: Path, lines: Sequence[str]) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _features(path: Path) -> Path:
    path.write_text(json.dumps({"columns": COLUMNS}), encoding="utf-8")
    return path


def texts(*values: str | bytes) -> NDArray[np.object_]:
    return np.array([[value.encode() if isinstance(value, str) else value] for value in values], object)


def together(client: Client, service: str, requests: Sequence[Arrays]) -> list[Any]:
    """The answers, or what was raised, of requests sent at once."""

    def ask(inputs: Arrays) -> Any:
        try:
            return client.infer_tensors(service, inputs)
        except (InvalidRequest, ServerError) as error:
            return error

    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(ask, requests))


# -- texts ------------------------------------------------------------------------------------------------------------


def test_a_tokenizer_of_robertas_kind_pads_with_1(world: World) -> None:
    """The model takes no mask: to it, whatever is not 1 is a token."""
    sentences = ["the night train to Tokyo is late again", "x", "", "🦕 left for home", "was seen from " * 20]
    alone = [world.client.infer_tensors("roberta", {"text": texts(sentence)}) for sentence in sentences]
    one_request = world.client.infer_tensors("roberta", {"text": texts(*sentences)})
    one_batch = together(world.client, "roberta", [{"text": texts(sentence)} for sentence in sentences])
    for row, expected in enumerate(alone):
        assert (
            one_request["label"][row].tolist() == one_batch[row]["label"][0].tolist() == expected["label"][0].tolist()
        )
        np.testing.assert_allclose(one_request["score"][row], expected["score"][0], atol=1e-6)
        np.testing.assert_allclose(one_batch[row]["score"], expected["score"], atol=1e-6)
    (statistics,) = world.client.get_inference_statistics("roberta_model")["model_stats"]
    assert max(entry["batch_size"] for entry in statistics["batch_stats"]) > 1  # of one_batch: requests were padded
    assert statistics["execution_count"] < statistics["inference_count"]


@pytest.mark.parametrize("service", ["bytes", "pieces"])
@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("🦕 left for Tokyo 東京", ["🦕", "Tokyo", "東京"]),
        ("to 東京, seen from 🗼🗼", ["東京", "🗼🗼"]),
        ("the night train to Zu\u0308rich, to Zürich\u0301", ["Zu\u0308rich", "Zürich\u0301"]),
        ("seen from 👩🏽‍🚀 शלום ירושלים", ["👩🏽‍🚀", "ירושלים"]),
        ("\u200fمرحبا\u200f القاهرة\u200e x", ["القاهرة"]),
        ("\ufeff to Tokyo\r\n\t to\u3000東京 \x00", ["Tokyo", "東京"]),
        ("İstanbul ﬁn ǅ to Tokyo", ["Tokyo"]),
        ("", []),
    ],
)
def test_spans_are_counted_in_the_characters_of_the_callers_own_text(
    world: World, service: str, text: str, places: list[str]
) -> None:
    (answer,) = world.client.infer_tensors(service, {"text": texts(text)})["spans"].ravel()
    spans = json.loads(answer)
    assert [text[span["start"] : span["end"]] for span in spans] == [span["text"] for span in spans]
    assert [span["text"].rstrip("\u0301") for span in spans] == [place.rstrip("\u0301") for place in places]


@pytest.mark.parametrize(
    ("service", "text", "expected"),
    [
        ("cls", "green red", (0, 2, -2)),
        ("cls", "blue", (-3, 4, 1)),
        ("cls", "red green blue blue blue blue blue blue", (1, 0, 4)),
        ("max", "green red", (1, 2, 4)),
        ("max", "green", (0, 2, -2)),
        ("mean", "green red blue", (-2, 6, 3)),
        ("mean", "[PAD] [PAD]", (5, 5, 5)),
        ("mean", "", (5, 5, 5)),
    ],
)
def test_padding_on_either_side_is_no_token_to_any_pooling(
    world: World, service: str, text: str, expected: tuple[float, ...]
) -> None:
    for beside in ([], ["red red red red red"]):
        answer = world.client.infer_tensors(service, {"text": texts(text, *beside)})["embedding"]
        np.testing.assert_allclose(answer[0], np.array(expected) / np.linalg.norm(expected), atol=1e-6)


# -- images -----------------------------------------------------------------------------------------------------------

PIXELS = np.random.default_rng(5).integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)
RGBA, RGB = Image.fromarray(PIXELS), Image.fromarray(PIXELS[..., :3].copy())


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _turned(kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = RGB if orientation < 5 else RGB.transpose(Image.Transpose.TRANSPOSE)
    return _encoded(image, kind, exif=exif.tobytes(), **({"lossless": True} if kind == "WEBP" else {}))


GOOD = {
    "WebP, lossy": _encoded(RGB, "WEBP", quality=50),
    "WebP, lossless": _encoded(RGB, "WEBP", lossless=True),
    "WebP, lossy, alpha": _encoded(RGBA, "WEBP", quality=50),
    "WebP, lossless, alpha": _encoded(RGBA, "WEBP", lossless=True, exact=True),
    "PNG, alpha": _encoded(RGBA, "PNG"),
    "PNG, grey, alpha": _encoded(RGBA.convert("LA"), "PNG"),
    "PNG, palette": _encoded(RGB.quantize(16), "PNG"),
    "PNG, palette, transparent": _encoded(RGB.quantize(16), "PNG", transparency=3),
    "PNG, palette, 1 bit": _encoded(RGB.quantize(2), "PNG", bits=1),
    "PNG, black and white": _encoded(RGB.convert("1"), "PNG"),
    "PNG, 16 bits": _encoded(Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 256 + 77), "PNG"),
    "JPEG": _encoded(RGB, "JPEG", progressive=True),
    "JPEG, CMYK": _encoded(RGB.convert("CMYK"), "JPEG", quality=95),
    "JPEG, grey": _encoded(RGB.convert("L"), "JPEG"),
    **{f"{kind}, turned {way}": _turned(kind, way) for kind in ("JPEG", "PNG", "WEBP") for way in range(1, 9)},
}


def _seen(raw: bytes) -> NDArray[np.uint8]:
    """The pixels that Pillow gives, on white paper, with the high byte of 16 bits."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(raw)))
    if image.mode == "I;16":
        return np.repeat((np.asarray(image) // 256).astype(np.uint8)[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


def test_images_of_every_kind_reach_the_model_as_pillow_sees_them(world: World) -> None:
    answer = world.client.infer_tensors("eye", {"image": texts(*GOOD.values())})["raw"]
    for (name, raw), row in zip(GOOD.items(), answer, strict=True):
        np.testing.assert_array_equal(row.reshape(HEIGHT, WIDTH, 3), _seen(raw), err_msg=name)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


PNG = _encoded(RGB, "PNG")
HUGE = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
BAD = {
    "animated WebP": (_encoded(RGB, "WEBP", save_all=True, append_images=[Image.new("RGB", RGB.size)]), "animation"),
    "animated PNG": (_encoded(RGB, "PNG", save_all=True, append_images=[Image.new("RGB", RGB.size)]), "animation"),
    "GIF": (_encoded(RGB, "GIF"), "a GIF"),
    "truncated WebP": (GOOD["WebP, lossless"][:-20], "truncated or corrupt WEBP"),
    "truncated lossy WebP": (GOOD["WebP, lossy"][:-10], "truncated or corrupt WEBP"),
    "truncated JPEG": (GOOD["JPEG"][: len(GOOD["JPEG"]) // 2], "truncated or corrupt JPEG"),
    "truncated PNG": (PNG[:-30], "truncated or corrupt PNG"),
    "changed PNG": (PNG[:45] + bytes([PNG[45] ^ 255]) + PNG[46:], "truncated or corrupt PNG"),
    "bomb": (
        PNG[:8] + _chunk(b"IHDR", HUGE) + _chunk(b"IDAT", b""),
        "more than 178956970 pixels; expected at most 10000",
    ),
    "bomb of text": (PNG[:33] + _chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(10**8))) + PNG[33:], "corrupt PNG"),
    "too large": (_encoded(Image.new("1", (200, 51)), "PNG"), r"200×51 pixels; expected at most 10000"),
    "base64": (b"iVBORw0KGgoAAAANSUhEUgAAAAgAAAAG", "send the file's bytes, not its path or base64"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_image_is_named_and_its_neighbour_in_the_batch_answered(world: World, fault: str) -> None:
    raw, expected = BAD[fault]
    bad, good = together(world.client, "eye", [{"image": texts(PNG, raw)}, {"image": texts(PNG)}])
    assert isinstance(bad, InvalidRequest)
    assert "image 1 " in str(bad)
    assert expected in str(bad)
    np.testing.assert_array_equal(good["raw"].reshape(HEIGHT, WIDTH, 3), PIXELS[..., :3])


# -- stages of the user's own -----------------------------------------------------------------------------------------

FAILED = "Model 'stages_preprocess': failed; the server's log has the cause."
FAULTS = {
    **dict.fromkeys(("raise", "recurse", "import", "exit", "interrupt"), FAILED),
    **dict.fromkeys(("none", "list", "names", "fewer", "more", "numbers"), FAILED),
    **dict.fromkeys(("no array", "unlike an array", "no value"), FAILED),
    **dict.fromkeys(("float64", "int32", "texts", "str", "big-endian"), FAILED),
    **dict.fromkeys(("narrow", "wide", "flat", "deep", "two rows", "no rows"), FAILED),
    "nan": "Model 'stages_postprocess': failed; the server's log has the cause.",
}


@pytest.mark.parametrize("order", FAULTS)
def test_a_stage_that_fails_harms_nobody_else(world: World, order: str) -> None:
    bad, good = together(world.client, "stages", [{"text": texts(order)}, {"text": texts("good")}])
    assert isinstance(bad, ServerError)
    assert str(bad) == f"in ensemble 'stages', {FAULTS[order]}"
    assert good["label"].tolist() == [[b"no"]]
    assert world.client.infer("stages", ["good"])[0].label == "no"
    assert world.client.infer_tensors("tensors", {"x": np.ones((1, 2), np.float32)})["scores"].tolist() == [[1, 1]]


@pytest.mark.parametrize("order", ["print", "strided"])
def test_a_stage_may_be_odd_if_its_tensors_are_right(world: World, order: str) -> None:
    assert world.client.infer("stages", [order])[0].label == "no"


def test_what_a_stage_refuses_is_the_callers_on_one_line(world: World) -> None:
    bad, good = together(world.client, "stages", [{"text": texts("refuse")}, {"text": texts("good")}])
    assert isinstance(bad, InvalidRequest)
    assert str(bad).endswith("Model 'stages_preprocess': this text is no order; send another")
    assert good["label"].tolist() == [[b"no"]]


def test_the_log_says_why_a_stage_failed(world: World) -> None:
    with pytest.raises(ServerError):
        world.client.infer("stages", ["two rows"])
    line = "run gave 'x' in the shape [2, 2]; expected [1, 2], as OUTPUTS says"
    log = world.server.log
    until(lambda: line in log.read_text(encoding="utf-8", errors="replace"), "the log does not say it")


def test_a_stage_that_sleeps_keeps_only_its_own_service_waiting(world: World) -> None:
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(world.client.infer, "stages", ["sleep"])
        for _ in range(3):
            world.client.infer_tensors("tensors", {"x": np.ones((1, 2), np.float32)})
        assert not slow.done()
        assert slow.result()[0].label == "no"


# -- records ----------------------------------------------------------------------------------------------------------

ROOMS, CITY = np.array([[5]], np.float32), texts("Rome")


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        ({"rooms": ROOMS}, r"missing required input\(s\) \['city'\]"),
        ({}, r"missing required input\(s\) \['(rooms','city|city','rooms)'\]"),
        ({"rooms": ROOMS, "city": CITY, "price": ROOMS}, "expected 2 inputs but got 3"),
        ({"rooms": ROOMS * np.nan, "city": CITY}, "record 0: column 'rooms' is NaN; expected a finite number"),
        ({"rooms": ROOMS, "city": texts("")}, "record 0: column 'city' is ''; expected one of 'Rome', 'Oslo'"),
        ({"rooms": ROOMS, "city": texts(b"Z\xfcrich")}, r"column 'city' is not UTF-8 \(byte 0xfc at offset 1\)"),
        ({"rooms": ROOMS.astype(np.float64), "city": CITY}, "'rooms' data-type is 'FP64', but .* expects 'FP32'"),
        ({"rooms": texts("5"), "city": CITY}, "'rooms' data-type is 'BYTES', but .* expects 'FP32'"),
        ({"rooms": ROOMS, "city": ROOMS}, "'city' data-type is 'FP32', but .* expects 'BYTES'"),
        ({"rooms": ROOMS, "city": texts("Rome", "Rome")}, "batch size does not match"),
        ({"rooms": np.ones((1, 2), np.float32), "city": CITY}, r"shape for input 'rooms'.* got \[1,2\]"),
    ],
)
def test_columns_that_are_not_those_of_the_service_are_named(world: World, columns: Arrays, fault: str) -> None:
    with pytest.raises(InvalidRequest, match=fault):
        world.client.infer_tensors("columns", columns)
    assert world.client.infer_tensors("columns", {"rooms": ROOMS, "city": CITY})["value"].tolist() == [[2]]


def test_a_column_keeps_the_digits_that_the_model_takes(world: World) -> None:
    records = [{"id": odd_models.FIRST_ID + number} for number in (0, 1, 3)]
    assert world.client.infer_values("ids", records).tolist() == [0, 1, 3]


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        ('{"rooms": null, "city": "Rome"}', "record 1: column 'rooms' is null; expected a finite number"),
        ('{"rooms": 5, "city": null}', "record 1: column 'city' is null; expected one of 'Rome', 'Oslo'"),
        ('{"rooms": "5", "city": "Rome"}', "record 1: column 'rooms' is '5'; expected a finite number"),
        ('{"rooms": true, "city": "Rome"}', "record 1: column 'rooms' is true; expected a finite number"),
        ('{"rooms": [5], "city": "Rome"}', "record 1: column 'rooms' is a list; expected a finite number"),
        ('{"rooms": 1e999, "city": "Rome"}', "record 1: column 'rooms' is Infinity; expected a finite number"),
        ('{"rooms": 5, "city": 7}', "record 1: column 'city' is 7; expected a string"),
        ('{"rooms": 5, "rooms": 6, "city": "Rome"}', "record 1 has the key 'rooms' twice in one object"),
        ('{"rooms": 5, "city": "Rome"} {}', "record 1 is not JSON"),
        ("null", "record 1 is null; expected an object"),
        (b"\xff", "record 1 is not JSON in UTF-8"),
    ],
)
def test_values_that_do_not_suit_their_column_are_named(world: World, record: str | bytes, fault: str) -> None:
    good = '\ufeff{"city": "Rome", "rooms": 5}\r\n'
    with pytest.raises(InvalidRequest, match=fault):
        world.client.infer_tensors("records", {"record": texts(good, record)})
    assert world.client.infer_tensors("records", {"record": texts(good)})["value"].tolist() == [[2]]


ROOMS_TEXT = '{"name": "rooms", "type": "number", "mean": 3, "scale": 2}'
CITY_TEXT = '{"name": "city", "type": "category", "values": ["Rome", "Oslo"]}'


@pytest.mark.parametrize(
    "text",
    [
        f'\ufeff{{"columns": [{ROOMS_TEXT}, {CITY_TEXT}]}}',
        f'{{"columns": [\r\n{ROOMS_TEXT},\r\n{CITY_TEXT}]}}\r\n',
    ],
    ids=["BOM", "CRLF"],
)
def test_a_features_json_as_windows_writes_it_is_taken(world: World, tmp_path: Path, text: str) -> None:
    report = _import_features(world, tmp_path, text.encode())
    assert report.verified == 12


@pytest.mark.parametrize(
    ("rooms", "fault"),
    [
        ('{"name": "rooms", "type": "number", "mean": 3, "mean": 4}', "has the key 'mean' twice in one object"),
        ('{"name": "rooms", "type": "number", "scale": NaN}', "column 'rooms': scale is NaN; expected a finite number"),
        ('{"name": "rooms", "type": "number", "scale": 0}', "column 'rooms': scale is 0; expected another number"),
        ('{"name": "features", "type": "number"}', "'features'"),
        ('{"name": "output", "type": "number"}', "'output'"),
        ('{"name": "value", "type": "number"}', "'value'"),
        ('{"name": "record", "type": "number"}', "column 'record' has the name of the input that carries whole"),
        ('{"name": "city", "type": "number"}', "column 'city' is there twice"),
    ],
)
def test_a_features_json_that_cannot_be_served_is_refused(world: World, tmp_path: Path, rooms: str, fault: str) -> None:
    with pytest.raises(ServiceError, match=fault):
        _import_features(world, tmp_path, f'{{"columns": [{rooms}, {CITY_TEXT}]}}'.encode())
    assert list((tmp_path / "services").iterdir()) == []


def _import_features(world: World, folder: Path, content: bytes) -> Any:
    (folder / "features.json").write_bytes(content)
    options = ImportOptions("tabular", features=folder / "features.json")
    return import_model(world.folder / "sum.keras", "odd", folder / "services", options)


# -- disks and neighbours ---------------------------------------------------------------------------------------------


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def _import_other(world: World, services: Path, model: str) -> list[str | Path]:
    """The command that replaces the service `odd` by another model."""
    return [TRIDENT, "import", world.folder / model, "--task", "tensors", "--name", "odd", "--services", services]


def _refusal(services: Path, cause: str, stderr: str) -> bool:
    """Whether the last line says what could not be made, why, and what to do."""
    line = stderr.splitlines()[-1]
    return line.startswith(f"error: cannot make the service {services / 'odd'}: {cause}") and line.endswith(
        "; all is as it was. Free space or mend the path"
    )


@pytest.mark.parametrize("model", ["eye.keras", "services/tensors/model.savedmodel"])
def test_a_disk_that_takes_no_more_leaves_the_former_service(world: World, tmp_path: Path, model: str) -> None:
    """The kernel refuses files that grow beyond a limit as it refuses them on a full disk."""
    services = tmp_path / "services"
    import_model(world.folder / "sum.keras", "odd", services, ImportOptions("tensors"))
    before = _files(services)
    result = subprocess.run(
        ["prlimit", "--fsize=200", *_import_other(world, services, model)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (result.returncode, result.stdout) == (1, ""), result.stderr
    cause = "File too large: " if model.endswith(".keras") else "[Errno 27] File too large: "
    assert _refusal(services, cause, result.stderr), result.stderr
    assert _files(services) == before


def test_a_folder_that_cannot_be_written_is_named(world: World, tmp_path: Path) -> None:
    services = tmp_path / "services"
    import_model(world.folder / "sum.keras", "odd", services, ImportOptions("tensors"))
    before = _files(services)
    services.chmod(0o555)
    unprivileged = ["setpriv", "--bounding-set=-all"] if os.geteuid() == 0 else []  # root may write anywhere
    result = subprocess.run(
        [*unprivileged, *_import_other(world, services, "eye.keras")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    services.chmod(0o755)
    assert (result.returncode, result.stdout) == (1, ""), result.stdout
    assert _refusal(services, f"Permission denied: '{services}/", result.stderr), result.stderr
    assert _files(services) == before


def test_a_service_whose_model_is_damaged_keeps_no_other_from_serving(world: World) -> None:
    failed = [model for model in world.server.model_status() if model.state != "READY"]
    assert sorted(model.name for model in failed) == ["broken", "broken_model"]
    assert all(model.reason for model in failed)
    with pytest.raises(NotFound):
        world.client.infer_tensors("broken", {"x": np.ones((1, 2), np.float32)})
    assert world.client.infer_tensors("tensors", {"x": np.ones((1, 2), np.float32)})["scores"].tolist() == [[1, 1]]


NO_TEXTS = "expected a service that takes texts. Ask this one with Client"
NO_LABELS = "a classification service answers label and score. Ask this one with Client"


@pytest.mark.parametrize(
    ("service", "reason"),
    [
        ("eye", f"takes image BYTES [1] and gives raw FP32 [-1]; {NO_TEXTS}.infer_tensors('eye', {{'image': array}})"),
        ("columns", f"takes rooms FP32 [1], city BYTES [1] and gives value FP32 [1]; {NO_TEXTS}.infer_values"),
        ("records", f"takes record BYTES [1] and gives value FP32 [1]; {NO_TEXTS}.infer_values"),
        ("tensors", f"takes x FP32 [2] and gives scores FP32 [2]; {NO_TEXTS}.infer_tensors('tensors', {{'x': array}})"),
        ("mean", f"answers ['embedding']; {NO_LABELS}.embed"),
        ("bytes", f"answers ['spans']; {NO_LABELS}.infer_spans"),
    ],
)
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_infer_says_what_a_service_takes_that_does_not_classify_texts(
    world: World, protocol: str, service: str, reason: str
) -> None:
    url = world.server.http_url if protocol == "http" else world.server.grpc_url
    with Client(url, timeout_s=30) as client, pytest.raises(InvalidRequest) as refusal:
        client.infer(service, ["hello", "there"])
    assert str(refusal.value) == f"'{service}' {reason}"


def test_the_command_infer_says_so_too(world: World, trident: RunTrident) -> None:
    result = trident("infer", "eye", "hello", "--url", world.server.http_url)
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: 'eye' takes image BYTES [1] and gives raw FP32 [-1]; expected a service that")
