"""Image files become the pixels a model was trained on; broken and hostile ones are refused, each by its position."""

import json
import math
import random
import struct
import time
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from trident.stages.image.preprocess import (
    LONGEST_SIDE,
    MOST_PIXELS,
    InvalidInput,
    Settings,
    output_dtype,
    preprocess,
    read_folder,
    scale,
)
from trident.stages.image.stage import Stage

FLOAT = np.dtype(np.float32)
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
# Two rows of three pixels, all different: no turn or flip leaves it as it is.
SMALL = np.array([[[10, 20, 30], [40, 50, 60], [70, 80, 90]], [[11, 21, 31], [41, 51, 61], [71, 81, 91]]], np.uint8)


def encoded(image: Image.Image | NDArray[Any], kind: str = "PNG", **options: Any) -> bytes:
    stream = BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, kind, **options)
    return stream.getvalue()


def settings(height: int = 2, width: int = 3, **others: Any) -> Settings:
    return Settings(height, width, **others)


def pixels(raw: bytes, height: int = 2, width: int = 3, **others: Any) -> Any:
    """The levels of one image, as a list [H, W, C]."""
    (image,) = preprocess([raw], settings(height, width, **others), np.dtype(np.uint8))
    return image.tolist()


def refusal(raw: bytes, **others: Any) -> str:
    """The message for a broken image that follows a good one."""
    with pytest.raises(InvalidInput) as caught:
        preprocess([encoded(SMALL), raw], settings(**others), FLOAT)
    message = str(caught.value)
    assert message.startswith("image 1 ")
    assert "\n" not in message
    return message


def noise(height: int = 40, width: int = 50) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, more: bytes = b"") -> bytes:
    """A PNG as its specification has it, for what Pillow does not write."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + more + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


# Formats and modes


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_lossless_formats_are_decoded_exactly(kind: str, options: dict[str, Any]) -> None:
    assert pixels(encoded(SMALL, kind, **options)) == SMALL.tolist()


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_formats_are_decoded(kind: str) -> None:
    solid = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    assert pixels(encoded(solid, kind, quality=95), 1, 1)[0][0] == [
        pytest.approx(level, abs=3) for level in (200, 100, 50)
    ]


def test_a_grey_image_has_three_equal_channels() -> None:
    assert pixels(encoded(SMALL[..., 0]))[0] == [[10] * 3, [40] * 3, [70] * 3]


def test_one_channel_is_the_luma_of_the_colours() -> None:
    row = np.array([[RED, GREEN, BLUE]], np.uint8)
    assert pixels(encoded(row), 1, 3, channels=1) == [[[76], [150], [29]]]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_what_is_transparent_becomes_white(mode: str, channels: int) -> None:
    image = Image.new("LA", (3, 1))
    image.putdata([(0, 0), (0, 128), (0, 255)])
    assert pixels(encoded(image.convert(mode)), 1, 3, channels=channels) == [
        [[255] * channels, [127] * channels, [0] * channels]
    ]


@pytest.mark.parametrize("transparency", [b"\x00\x80\xff", 0])
def test_a_palette_may_be_transparent(transparency: bytes | int) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([0, 0, 0, 0, 0, 0, *RED])
    image.putdata([0, 1, 2])
    first, middle, last = pixels(encoded(image, transparency=transparency), 1, 3)[0]
    assert first == [255] * 3
    assert middle == ([127] * 3 if isinstance(transparency, bytes) else [0] * 3)
    assert last == list(RED)


def test_one_grey_level_may_be_transparent() -> None:
    assert pixels(png(2, 1, 8, 0, b"\x00\x03\x04", chunk(b"tRNS", b"\x00\x03")), 1, 2, channels=1) == [[[255], [4]]]


@pytest.mark.parametrize("more", [b"", chunk(b"tRNS", b"\xff\xff")])
def test_16_bit_grey_is_scaled_not_clipped(more: bytes) -> None:
    rows = b"\x00" + struct.pack(">4H", 0, 0x1234, 0x80FF, 0xFFFF)
    assert pixels(png(4, 1, 16, 0, rows, more), 1, 4, channels=1) == [[[0], [0x12], [0x80], [0xFF]]]


@pytest.mark.parametrize("more", [b"", chunk(b"tRNS", bytes(6))])
def test_16_bit_colours_are_scaled_the_same(more: bytes) -> None:
    rows = b"\x00" + struct.pack(">3H", 0x1234, 0x80FF, 0xFFFF)
    assert pixels(png(1, 1, 16, 2, rows, more), 1, 1) == [[[0x12, 0x80, 0xFF]]]


def test_1_bit_is_black_and_white() -> None:
    assert pixels(png(2, 1, 1, 0, b"\x00\x40"), 1, 2) == [[[0] * 3, [255] * 3]]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_cmyk_jpeg_is_converted(channels: int) -> None:
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # red
    expected = list(RED) if channels == 3 else [76]
    assert pixels(encoded(image, "JPEG"), 1, 1, channels=channels)[0][0] == [pytest.approx(c, abs=3) for c in expected]


def test_of_a_jpeg_with_several_pictures_the_first_counts() -> None:
    """Phones put a preview or a gain map behind the picture."""
    first, second = (Image.new("RGB", (16, 16), colour) for colour in ("black", "white"))
    raw = encoded(first, "MPO", save_all=True, append_images=[second])
    assert raw.startswith(b"\xff\xd8\xff")
    assert pixels(raw, 1, 1) == [[[0, 0, 0]]]


# Upright


UPRIGHT: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: image[::-1].transpose(1, 0, 2),
    7: lambda image: image[::-1, ::-1].transpose(1, 0, 2),
    8: lambda image: image[:, ::-1].transpose(1, 0, 2),
}


def oriented(value: Any) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_image_is_turned_upright_as_its_exif_data_says(kind: str, orientation: int) -> None:
    raw = encoded(SMALL, kind, exif=oriented(orientation), lossless=True)
    expected = UPRIGHT[orientation](SMALL)
    assert pixels(raw, *expected.shape[:2]) == expected.tolist()


def test_a_jpeg_is_turned_too() -> None:
    halves = np.zeros((16, 32, 3), np.uint8)
    halves[:, 16:] = 255
    raw = encoded(halves, "JPEG", exif=oriented(6))
    assert pixels(raw, 2, 1, interpolation="nearest") == [[[0] * 3], [[255] * 3]]


def test_16_bit_grey_is_turned_too() -> None:
    deep = (SMALL[..., 0].astype(np.uint16)) << 8
    assert pixels(encoded(deep, exif=oriented(3)), channels=1) == SMALL[::-1, ::-1, :1].tolist()


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\x00\x00MM\x00\xff\x00\x00\x00\x08\x00\x00",
        b"Exif\x00\x00MM",
        b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff\x01\x12",
        oriented(99).tobytes(),
    ],
)
def test_broken_exif_data_spoils_no_image_and_warns_of_nothing(exif: bytes) -> None:
    assert pixels(encoded(SMALL, exif=exif)) == SMALL.tolist()


def test_exif_data_that_cannot_be_written_anew_still_turns_the_image() -> None:
    maker = struct.pack(">HHII", 0x010F, 5, 1, 0)  # a text by its tag, a fraction by its type
    orientation = struct.pack(">HHIHH", 0x0112, 3, 1, 3, 0)
    broken = b"Exif\x00\x00MM\x00*" + struct.pack(">IH", 8, 2) + maker + orientation + bytes(4)
    assert pixels(encoded(SMALL, exif=broken)) == SMALL[::-1, ::-1].tolist()


# Resizing


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_an_image_of_the_models_size_stays_as_it_is(resize: str, interpolation: str) -> None:
    assert pixels(encoded(SMALL), resize=resize, interpolation=interpolation) == SMALL.tolist()


def test_stretch_takes_the_whole_image() -> None:
    halves = np.zeros((4, 16), np.uint8)
    halves[:, 8:] = 200
    assert pixels(encoded(halves), 1, 2, channels=1, interpolation="nearest") == [[[0], [200]]]


def test_making_smaller_averages_all_pixels() -> None:
    """Without antialias a fine grid would come out black or white."""
    grid = np.indices((64, 64)).sum(axis=0) % 2 * np.uint8(255)
    assert set(np.ravel(pixels(encoded(grid.astype(np.uint8)), 4, 4, channels=1))) <= {127, 128}


def test_nearest_invents_no_level() -> None:
    assert set(np.ravel(pixels(encoded(SMALL[..., 0]), 7, 5, channels=1, interpolation="nearest"))) <= {
        10,
        40,
        70,
        11,
        41,
        71,
    }


@pytest.mark.parametrize("turned", [False, True])
def test_crop_keeps_the_centre(turned: bool) -> None:
    thirds = np.repeat(np.array([RED, GREEN, BLUE], np.uint8)[None], 8, axis=0).repeat(8, axis=1)
    raw = encoded(thirds.transpose(1, 0, 2) if turned else thirds)
    assert pixels(raw, 2, 2, resize="crop", interpolation="nearest") == [[list(GREEN)] * 2] * 2


def test_crop_scales_the_short_side_first() -> None:
    image = Image.fromarray(noise(20, 60))
    reference = np.asarray(image.resize((30, 10), Image.Resampling.BILINEAR))[:, 10:20]
    assert np.abs(np.array(pixels(encoded(image), 10, 10, resize="crop")) - reference).max() <= 1


@pytest.mark.parametrize(
    ("shape", "black"),
    [
        ((4, 8), [True, False, False, True]),
        ((2, 8), [True, False, True, True]),  # an odd row is left over below
        ((8, 8), [False] * 4),
    ],
)
def test_pad_puts_black_around_the_whole_image(shape: tuple[int, int], black: list[bool]) -> None:
    size = 4
    raw = encoded(np.full(shape, 200, np.uint8))
    rows = pixels(raw, size, size, channels=1, resize="pad")
    assert [row == [[0]] * size for row in rows] == black
    assert all(row in ([[0]] * size, [[200]] * size) for row in rows)


def test_pad_puts_black_beside_a_high_image() -> None:
    raw = encoded(np.full((8, 4), 200, np.uint8))
    assert pixels(raw, 4, 4, channels=1, resize="pad") == [[[0], [200], [200], [0]]] * 4


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (1, 1)])
def test_however_thin_an_image_something_of_it_is_seen(shape: tuple[int, int], resize: str) -> None:
    raw = encoded(np.full(shape, 200, np.uint8))
    assert np.max(pixels(raw, 16, 16, channels=1, resize=resize)) == 200


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_any_size_fits_any_size(resize: str) -> None:
    chance = random.Random(0)
    for _ in range(100):
        rows, columns, height, width = (chance.randint(1, 97) for _ in range(4))
        raw = encoded(np.full((rows, columns), 200, np.uint8), compress_level=1)
        levels = np.array(pixels(raw, height, width, channels=1, resize=resize))
        assert levels.shape == (height, width, 1)
        assert set(levels.ravel()) <= ({0, 200} if resize == "pad" else {200})


# Numbers


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        ("none", [0, 51, 255]),
        ("unit", [0.0, 0.2, 1.0]),
        ("tf", [-1.0, -0.6, 1.0]),
        ("caffe", [255 - 103.939, 51 - 116.779, 0 - 123.68]),
        ("torch", [-0.485 / 0.229, (0.2 - 0.456) / 0.224, (1 - 0.406) / 0.225]),
    ],
)
def test_scaling(scaling: str, expected: list[float]) -> None:
    tensor = preprocess([encoded(np.array([[[0, 51, 255]]], np.uint8))], settings(1, 1, scaling=scaling), FLOAT)
    assert tensor.dtype == np.float32
    assert tensor.ravel().tolist() == [pytest.approx(value, abs=1e-5) for value in expected]


def test_scaling_leaves_its_input_alone() -> None:
    for scaling in ("none", "unit", "tf", "caffe", "torch"):
        scale(SMALL, scaling)
    assert SMALL[0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize(
    ("data_type", "dtype"), [("TYPE_FP32", "float32"), ("TYPE_FP16", "float16"), ("TYPE_UINT8", "uint8")]
)
def test_levels_come_in_the_models_own_data_type(data_type: str, dtype: str) -> None:
    tensor = preprocess([encoded(SMALL)], settings(), output_dtype(data_type, "none"))
    assert tensor.dtype == dtype
    assert tensor[0].tolist() == SMALL.tolist()


def test_half_precision_is_close() -> None:
    tensor = preprocess([encoded(SMALL)], settings(scaling="torch"), output_dtype("TYPE_FP16", "torch"))
    reference = preprocess([encoded(SMALL)], settings(scaling="torch"), FLOAT)
    np.testing.assert_allclose(tensor, reference, rtol=1e-3, atol=1e-3)


def test_invert_exchanges_light_and_dark() -> None:
    assert pixels(encoded(SMALL), invert=True) == (255 - SMALL).tolist()


def test_padding_stays_black_when_the_image_is_inverted() -> None:
    raw = encoded(np.full((2, 4), 200, np.uint8))
    assert pixels(raw, 4, 4, channels=1, resize="pad", invert=True) == [[[0]] * 4, [[55]] * 4, [[55]] * 4, [[0]] * 4]


# Requests


def test_a_request_without_images_gives_an_empty_tensor() -> None:
    tensor = preprocess([], settings(), FLOAT)
    assert (tensor.shape, tensor.dtype) == ((0, 2, 3, 3), FLOAT)


def test_each_image_is_on_its_own() -> None:
    files = [encoded(SMALL), encoded(noise(), "JPEG"), encoded(255 - SMALL, "WEBP", lossless=True)]
    together = preprocess(files, settings(scaling="tf"), FLOAT)
    alone = [preprocess([raw], settings(scaling="tf"), FLOAT)[0] for raw in files]
    assert together.tolist() == [image.tolist() for image in alone]


def test_the_stage_answers_a_request(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"height": 2, "width": 3, "scaling": "unit"}', encoding="utf-8")
    config = {"output": [{"name": "pixels", "data_type": "TYPE_FP16", "dims": [2, 3, 3]}], "max_batch_size": 8}
    stage = Stage(tmp_path, config)
    answer = stage({"image": np.array([[encoded(SMALL)], [encoded(255 - SMALL)]], object)}, {"top_k": "x"})
    assert list(answer) == ["pixels"]
    assert answer["pixels"].dtype == np.float16
    np.testing.assert_allclose(answer["pixels"], np.stack([SMALL, 255 - SMALL]) / 255, atol=1e-3)


def test_the_stage_refuses_a_scaling_that_its_output_cannot_hold(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"height": 2, "width": 3, "scaling": "unit"}', encoding="utf-8")
    with pytest.raises(ValueError, match="TYPE_UINT8"):
        Stage(tmp_path, {"output": [{"name": "pixels", "data_type": "TYPE_UINT8", "dims": [2, 3, 3]}]})


# Refusals


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "image 1 is empty; expected a JPEG, PNG or WebP file"),
        (encoded(SMALL, "GIF"), "image 1 is a GIF; expected a JPEG, PNG or WebP file; convert it first"),
        (encoded(SMALL, "BMP"), "image 1 is a BMP; expected a JPEG, PNG or WebP file; convert it first"),
        (encoded(SMALL, "TIFF"), "image 1 is a TIFF; expected a JPEG, PNG or WebP file; convert it first"),
        (b"%PDF-1.7\n%\xe2\xe3", "image 1 is a PDF; expected a JPEG, PNG or WebP file; convert it first"),
        (
            b"\x00\x00\x00\x18ftypheic",
            "image 1 is a HEIC, AVIF or MP4; expected a JPEG, PNG or WebP file; convert it first",
        ),
        (
            b"\x00\x01\x02\x03\x04",
            "image 1 is no image file (it starts with 0x00010203); expected a JPEG, PNG or WebP file",
        ),
        (b"\xff", "image 1 is no image file (it starts with 0xff); expected a JPEG, PNG or WebP file"),
    ],
)
def test_what_is_no_decoded_format_is_named(raw: bytes, message: str) -> None:
    assert refusal(raw) == message


@pytest.mark.parametrize("raw", [b"/9j/4AAQSkZJRgABAQ==", b"/data/cat.jpg", b"<svg\n\txmlns='x'>", b"x", b" "])
def test_text_is_told_from_a_file(raw: bytes) -> None:
    expected = "expected a JPEG, PNG or WebP file; send the file's bytes, not its path or base64"
    assert refusal(raw) == f"image 1 is text; {expected}"


def test_no_other_format_is_opened_under_the_name_of_one() -> None:
    assert "corrupt WEBP (its header cannot be read)" in refusal(b"P6 1 1 #WEBP\n255\nabc")  # a valid PPM


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("WEBP", {}), ("WEBP", {"lossless": True})],
)
def test_a_truncated_file_is_refused_unless_no_pixel_is_missing(kind: str, options: dict[str, Any]) -> None:
    raw = encoded(noise(), kind, **options)
    whole = pixels(raw, 40, 50)
    refused = 0
    for length in range(12, len(raw), max(1, len(raw) // 300)):
        try:
            assert pixels(raw[:length], 40, 50) == whole, length
        except InvalidInput as error:
            refused += 1
            assert f"is a truncated or corrupt {kind} (" in str(error)  # noqa: PT017
    assert refused > 250


def test_a_truncated_file_is_refused_with_the_reason_and_the_remedy() -> None:
    raw = encoded(noise(), "JPEG")
    message = refusal(raw[: len(raw) // 2])
    assert message.startswith("image 1 is a truncated or corrupt JPEG (image file is truncated")
    assert message.endswith("); send all bytes of the file, unchanged")


def test_an_image_without_pixels_is_refused() -> None:
    assert "truncated or corrupt PNG" in refusal(png(0, 4, 8, 0, b""))


def mutated(raw: bytes, chance: random.Random) -> bytes:
    """A file with some bytes changed or cut off, mostly near its head."""
    changed = bytearray(raw)
    for _ in range(chance.choice([1, 1, 2, 5, 20])):
        changed[chance.randrange(12, min(len(changed), 700))] = chance.choice([0, 255, chance.randrange(256)])
    return bytes(changed[: chance.choice([len(changed), chance.randrange(len(changed))])])


def resealed(raw: bytes) -> bytes:
    """A PNG with checksums that fit, so that a change is not found by them."""
    sealed, place = raw[:8], 8
    while place + 12 <= len(raw):
        (length,) = struct.unpack_from(">I", raw, place)
        if place + 12 + length > len(raw):
            break
        sealed += chunk(raw[place + 4 : place + 8], raw[place + 8 : place + 8 + length])
        place += 12 + length
    return sealed + raw[place:]


def test_no_broken_file_fails_in_another_way_than_by_a_refusal() -> None:
    exif = oriented(6)
    exif[0x010F] = "Maker"
    turned = Image.fromarray(noise()).rotate(90)
    palette = Image.fromarray(noise()).convert("P")
    seeds = [
        encoded(noise(), "JPEG", exif=exif),
        encoded(noise(), "MPO", save_all=True, append_images=[turned]),
        encoded(noise(), exif=exif),
        encoded(palette, transparency=bytes(range(256))),
        encoded(noise(), save_all=True, append_images=[turned]),
        encoded(noise(), "WEBP", exif=exif),
        encoded(turned, "WEBP", save_all=True, append_images=[Image.fromarray(noise())]),
    ]
    chance = random.Random(0)
    outcomes = {"served": 0, "refused": 0}
    for turn in range(4000):
        raw = mutated(seeds[turn % len(seeds)], chance)
        try:
            pixels(resealed(raw) if raw.startswith(b"\x89PNG") else raw, max_pixels=100_000)
            outcomes["served"] += 1
        except InvalidInput as error:
            assert "\n" not in str(error)  # noqa: PT017
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 100


@pytest.mark.parametrize(("kind", "frames"), [("PNG", 2), ("WEBP", 3)])
def test_an_animation_is_refused_with_the_number_of_its_frames(kind: str, frames: int) -> None:
    first, *others = (Image.new("RGB", (3, 2), (60 * frame, 0, 0)) for frame in range(frames))
    message = refusal(encoded(first, kind, save_all=True, append_images=others))
    assert message.startswith(f"image 1 is an animation of {frames} frames; expected a still image; send one frame, ")


def test_the_remedy_for_an_animation_helps() -> None:
    frames = [Image.new("RGB", (3, 2), colour) for colour in (RED, BLUE)]
    image = Image.open(BytesIO(encoded(frames[0], save_all=True, append_images=frames[1:])))
    image.seek(0)
    assert pixels(encoded(image.convert("RGB"))) == [[list(RED)] * 3] * 2


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (png(9000, 9000, 8, 2, b""), "9000×9000"),
        (png(10_000, 10_000, 8, 2, b""), "10000×10000"),  # Pillow would warn
        (png(2**31 - 1, 2**31 - 1, 8, 2, b""), f"more than {MOST_PIXELS}"),
        (png(LONGEST_SIDE + 1, 1, 8, 0, b""), f"{LONGEST_SIDE + 1}×1"),
        (png(1, LONGEST_SIDE + 1, 8, 0, b""), f"1×{LONGEST_SIDE + 1}"),
    ],
)
def test_a_decompression_bomb_is_refused_before_it_is_decoded(raw: bytes, found: str) -> None:
    started = time.perf_counter()
    limits = f"at most 50000000 (setting max_pixels) and {LONGEST_SIDE} a side"
    assert refusal(raw) == f"image 1 has {found} pixels; expected {limits}; scale it down first"
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_image_may_have_just_max_pixels(kind: str) -> None:
    raw = encoded(SMALL, kind)
    assert np.shape(pixels(raw, max_pixels=6)) == SMALL.shape
    with pytest.raises(InvalidInput, match=r"^image 0 has 3×2 pixels; expected at most 5 "):
        pixels(raw, max_pixels=5)


# Settings


def test_a_version_folder_is_read(tmp_path: Path) -> None:
    document = {"height": 28, "width": 20, "channels": 1, "resize": "pad", "interpolation": "bicubic", "scaling": "tf"}
    (tmp_path / "settings.json").write_text(json.dumps({**document, "invert": True, "max_pixels": 9}), encoding="utf-8")
    assert read_folder(tmp_path) == Settings(28, 20, 1, "pad", "bicubic", "tf", True, 9)


def test_only_height_and_width_must_be_given(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"height": 28, "width": 20}', encoding="utf-8")
    assert read_folder(tmp_path) == Settings(28, 20, 3, "stretch", "bilinear", "none", False, 50_000_000)


@pytest.mark.parametrize("name", ["height", "width", "max_pixels"])
@pytest.mark.parametrize("value", [0, -1, 1.0, "1", True, None, math.nan, MOST_PIXELS + 1])
def test_a_wrong_size_is_refused_with_the_value(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^setting {name} is ") as caught:
        Settings(**{"height": 1, "width": 1, name: value})
    assert str(caught.value) == f"setting {name} is {value!r}; expected a whole number from 1 to {MOST_PIXELS}"


@pytest.mark.parametrize(
    ("name", "value", "choices"),
    [
        ("channels", 2, "1, 3"),
        ("channels", True, "1, 3"),
        ("channels", 3.0, "1, 3"),
        ("resize", "fit", "'stretch', 'crop', 'pad'"),
        ("interpolation", "LANCZOS", "'nearest', 'bilinear', 'bicubic'"),
        ("scaling", None, "'none', 'unit', 'tf', 'caffe', 'torch'"),
        ("invert", "false", "False, True"),
        ("invert", 0, "False, True"),
    ],
)
def test_a_wrong_choice_is_refused_with_what_there_is(name: str, value: Any, choices: str) -> None:
    with pytest.raises(ValueError, match=f"^setting {name} is ") as caught:
        Settings(**{"height": 1, "width": 1, name: value})
    assert str(caught.value) == f"setting {name} is {value!r}; expected one of {choices}"


@pytest.mark.parametrize("scaling", ["caffe", "torch"])
def test_a_scaling_for_colours_needs_three_channels(scaling: str) -> None:
    with pytest.raises(ValueError, match="3 channels") as caught:
        settings(channels=1, scaling=scaling)
    remedy = "set channels to 3, or scaling to 'none', 'unit' or 'tf'"
    assert str(caught.value) == f"scaling '{scaling}' is for 3 channels and channels is 1; {remedy}"


@pytest.mark.parametrize("data_type", ["TYPE_INT32", "TYPE_STRING", "FP32"])
def test_pixels_come_in_three_data_types(data_type: str) -> None:
    with pytest.raises(ValueError, match=r"^output 'pixels' is ") as caught:
        output_dtype(data_type, "none")
    assert str(caught.value) == f"output 'pixels' is {data_type}; expected one of TYPE_FP32, TYPE_FP16, TYPE_UINT8"


@pytest.mark.parametrize("scaling", ["unit", "tf", "caffe", "torch"])
def test_bytes_hold_no_fractions(scaling: str) -> None:
    with pytest.raises(ValueError, match=r"gives fractions; set scaling to 'none' or the output to TYPE_FP32$"):
        output_dtype("TYPE_UINT8", scaling)


def test_the_limit_is_pillows_own() -> None:
    assert Image.MAX_IMAGE_PIXELS is not None
    assert 2 * Image.MAX_IMAGE_PIXELS == MOST_PIXELS
