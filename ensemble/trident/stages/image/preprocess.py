"""Image files to pixels: decode, turn upright, resize, scale.

Axis letters: B images of one request, H rows, W columns, C channels.
"""

import contextlib
import json
import struct
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

# Image.open itself refuses more: twice Image.MAX_IMAGE_PIXELS.
MOST_PIXELS = 178_956_970
# What a JPEG can have. A PNG may have 2³¹, and resampling takes up to 32 bytes of weights for each pixel of a side.
LONGEST_SIDE = 65_535

CHOICES: dict[str, tuple[Any, ...]] = {
    "channels": (1, 3),
    "resize": ("stretch", "crop", "pad"),
    "interpolation": ("nearest", "bilinear", "bicubic"),
    "scaling": ("none", "unit", "tf", "caffe", "torch"),
    "invert": (False, True),
}
DTYPES = {"TYPE_FP32": np.float32, "TYPE_FP16": np.float16, "TYPE_UINT8": np.uint8}

# Statistics of ImageNet, as Keras Applications have them.
CAFFE_MEAN = np.array([103.939, 116.779, 123.68], np.float32)  # blue, green, red
TORCH_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
TORCH_STD = np.array([0.229, 0.224, 0.225], np.float32)

# What a file is by its first bytes: offset, bytes, name.
_DECODED = ((0, b"\xff\xd8\xff", "JPEG"), (0, b"\x89PNG\r\n\x1a\n", "PNG"), (8, b"WEBP", "WEBP"))
_REFUSED = (
    (0, b"GIF8", "a GIF"),
    (0, b"BM", "a BMP"),
    (0, b"II*\x00", "a TIFF"),
    (0, b"MM\x00*", "a TIFF"),
    (0, b"%PDF", "a PDF"),
    (4, b"ftyp", "a HEIC, AVIF or MP4"),
)
_EXPECTED = "expected a JPEG, PNG or WebP file"
# What Pillow raises on broken files, which it does not document. A MemoryError is not the file's fault.
_BROKEN = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError),
    *(AssertionError, RuntimeError, struct.error, zlib.error),
)


class InvalidInput(Exception):
    """An image cannot be served; the message names its position in the request."""


@dataclass(frozen=True)
class Settings:
    """How an image file becomes pixels.

    Attributes:
        height: rows of the model's input, ≥ 1.
        width: columns of the model's input, ≥ 1.
        channels: 3 for red, green, blue; 1 for luma (ITU-R 601).
        resize: `stretch` to the model's size; `crop` to its shape around the centre; `pad` to its shape with black.
        interpolation: `nearest`, `bilinear` or `bicubic`; see `fit`.
        scaling: `none`, `unit`, `tf`, `caffe` or `torch`; see `scale`.
        invert: exchange light and dark, for a model trained on white drawings on black.
        max_pixels: largest image that is decoded, in 1..`MOST_PIXELS`.

    Raises:
        ValueError: a value is of the wrong type or out of its range, or the scaling needs 3 channels.
    """

    height: int
    width: int
    channels: int = 3
    resize: str = "stretch"
    interpolation: str = "bilinear"
    scaling: str = "none"
    invert: bool = False
    max_pixels: int = 50_000_000

    def __post_init__(self) -> None:
        """Refuse what no image could be served with."""
        for name in ("height", "width", "max_pixels"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_PIXELS:
                raise ValueError(f"setting {name} is {value!r}; expected a whole number from 1 to {MOST_PIXELS}")
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices or type(value) is not type(choices[0]):
                raise ValueError(f"setting {name} is {value!r}; expected one of {', '.join(map(repr, choices))}")
        if self.scaling in ("caffe", "torch") and self.channels != 3:
            remedy = "set channels to 3, or scaling to 'none', 'unit' or 'tf'"
            raise ValueError(f"scaling {self.scaling!r} is for 3 channels and channels is {self.channels}; {remedy}")


def read_folder(folder: Path) -> Settings:
    """The settings that lie in a version folder."""
    return Settings(**json.loads((folder / "settings.json").read_text(encoding="utf-8")))


def output_dtype(data_type: str, scaling: str) -> np.dtype[Any]:
    """The dtype of `pixels`.

    Args:
        data_type: Triton's name of it, such as TYPE_FP32.
        scaling: see `Settings`.

    Raises:
        ValueError: pixels do not come in this data type, or not with this scaling.
    """
    if data_type not in DTYPES:
        raise ValueError(f"output 'pixels' is {data_type}; expected one of {', '.join(DTYPES)}")
    if data_type == "TYPE_UINT8" and scaling != "none":
        remedy = "set scaling to 'none' or the output to TYPE_FP32"
        raise ValueError(f"output 'pixels' is TYPE_UINT8 and scaling {scaling!r} gives fractions; {remedy}")
    return np.dtype(DTYPES[data_type])


def preprocess(files: Sequence[bytes], settings: Settings, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Turn image files into what the model takes.

    Args:
        files: B encoded images, each a JPEG, PNG or WebP file.
        settings: see `Settings`.
        dtype: float32, float16 or uint8.

    Returns:
        dtype [B, H, W, C], in the range of the scaling.

    Raises:
        InvalidInput: a file is not one of these, is broken or animated, or has too many pixels.
    """
    tensor = np.empty((len(files), settings.height, settings.width, settings.channels), dtype)
    for position, raw in enumerate(files):
        image = recolour(decode(raw, position, settings.max_pixels), settings.channels)
        pixels = np.asarray(fit(image, settings), dtype=np.uint8).reshape(tensor.shape[1:])
        tensor[position] = scale(~pixels if settings.invert else pixels, settings.scaling)
    return tensor


def decode(raw: bytes, position: int, max_pixels: int) -> Image.Image:
    """Decode one element of a BYTES tensor and turn it upright as its EXIF data says.

    Args:
        raw: the file's bytes.
        position: its place in the request, for the message.
        max_pixels: largest image that is decoded.

    Returns:
        The image in the file's own mode. Of a JPEG with several pictures, the first.

    Raises:
        InvalidInput: it is not a JPEG, PNG or WebP file, is broken or animated, or has too many pixels.
    """
    kind = identify(raw, position)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about oddities of the file and about its size
        try:
            image = Image.open(BytesIO(raw), formats=[kind])
            _check(image, kind, position, max_pixels)
            image.load()
        except Image.DecompressionBombError:
            raise _too_large(position, f"more than {MOST_PIXELS}", max_pixels) from None
        except _BROKEN as error:
            reason = "its header cannot be read" if isinstance(error, UnidentifiedImageError) else str(error)
            advice = "send all bytes of the file, unchanged"
            raise InvalidInput(f"image {position} is a truncated or corrupt {kind} ({reason}); {advice}") from None
        # Broken EXIF data spoils no pixel. It fails before the image is turned, or after, when it is written anew.
        with contextlib.suppress(*_BROKEN):
            ImageOps.exif_transpose(image, in_place=True)
    return image


def identify(raw: bytes, position: int) -> str:
    """Pillow's name of a file's format, by its content.

    Raises:
        InvalidInput: it is none that is decoded; the message says what it looks like.
    """
    for offset, magic, kind in _DECODED:
        if raw.startswith(magic, offset):
            return kind
    if not raw:
        raise InvalidInput(f"image {position} is empty; {_EXPECTED}")
    for offset, magic, name in _REFUSED:
        if raw.startswith(magic, offset):
            raise InvalidInput(f"image {position} is {name}; {_EXPECTED}; convert it first")
    if raw[:16].isascii() and "".join(raw[:16].decode("ascii").split()).isprintable():
        raise InvalidInput(f"image {position} is text; {_EXPECTED}; send the file's bytes, not its path or base64")
    raise InvalidInput(f"image {position} is no image file (it starts with 0x{raw[:4].hex()}); {_EXPECTED}")


def _check(image: Image.Image, kind: str, position: int, max_pixels: int) -> None:
    if image.width * image.height > max_pixels or max(image.size) > LONGEST_SIDE:
        raise _too_large(position, f"{image.width}×{image.height}", max_pixels)
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and kind != "JPEG":  # phones put previews and gain maps behind a JPEG
        remedy = "send one frame, with Pillow: image.seek(0); image.convert('RGB').save('frame.png')"
        raise InvalidInput(f"image {position} is an animation of {frames} frames; expected a still image; {remedy}")


def _too_large(position: int, found: str, max_pixels: int) -> InvalidInput:
    limits = f"at most {max_pixels} (setting max_pixels) and {LONGEST_SIDE} a side"
    return InvalidInput(f"image {position} has {found} pixels; expected {limits}; scale it down first")


def recolour(image: Image.Image, channels: int) -> Image.Image:
    """Bring an image of any mode to 8 bits a channel: RGB, or L for 1 channel.

    What is transparent becomes white, as on paper. 16-bit levels keep their high byte. Colour profiles do not count.
    """
    if image.mode == "I;16":  # Pillow would clip it
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.new("RGB", rgba.size, "white")
        image.paste(rgba, mask=rgba)
    mode = "RGB" if channels == 3 else "L"
    return image if image.mode == mode else image.convert(mode)


def fit(image: Image.Image, settings: Settings) -> Image.Image:
    """Resize an image to the model's height and width.

    The resampling is Pillow's: it averages over all pixels it merges when it makes an image smaller, and rounds to
    whole levels. `tf.image.resize` does so only with `antialias=True`, and does not round, so a model trained
    behind it sees slightly other pixels here. `nearest` averages nothing.
    """
    size = (settings.width, settings.height)
    method = Image.Resampling[settings.interpolation.upper()]
    if settings.resize == "stretch":
        return image.resize(size, method)
    if settings.resize == "crop":
        return ImageOps.fit(image, size, method)
    # Not ImageOps.pad, which loses an image so thin that a side rounds to 0.
    ratio = min(settings.width / image.width, settings.height / image.height)
    inner = image.resize((max(1, round(image.width * ratio)), max(1, round(image.height * ratio))), method)
    canvas = Image.new(image.mode, size, "white" if settings.invert else "black")  # black once inverted
    canvas.paste(inner, ((settings.width - inner.width) // 2, (settings.height - inner.height) // 2))
    return canvas


def scale(pixels: NDArray[np.uint8], scaling: str) -> NDArray[Any]:
    """Levels to the numbers a model was trained on.

    `tf`, `caffe` and `torch` are the modes of `preprocess_input` in Keras Applications.

    Args:
        pixels: uint8 [H, W, C], channels in the order red, green, blue.
        scaling: `none` 0..255 as they are; `unit` 0..1; `tf` -1..1; `caffe` blue, green, red less ImageNet's mean;
            `torch` 0..1 less ImageNet's mean, by its standard deviation.

    Returns:
        uint8 [H, W, C] for `none`, else float32 [H, W, C].
    """
    levels = pixels.astype(np.float32)
    match scaling:
        case "unit":
            return levels / 255
        case "tf":
            return levels / 127.5 - 1
        case "caffe":
            return levels[..., ::-1] - CAFFE_MEAN
        case "torch":
            return (levels / 255 - TORCH_MEAN) / TORCH_STD
        case _:
            return pixels
