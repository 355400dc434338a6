"""SavedModels as users have them: three from PyPI, never imported, and three made here in the manner of each era."""

import math
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from trident.errors import DownloadError
from trident.paths import cache_dir
from trident.wheels import Wheel, unpack

MADE = ("encoder", "keras3", "prices")

_GUESSLANG = Wheel(
    "guesslang==2.2.1", "36bd12130515ee0e637f7255340ba92ea919d53423743f4c1b0c73727a5499cb", "guesslang/data/model"
)
_BASIC_PITCH = Wheel(
    "basic-pitch==0.4.0",
    "738adb503aae7fdfc7d1e1511aa0ce35052315f260a19531ef4c356708425db0",
    "basic_pitch/saved_models/icassp_2022/nmp",
)
# Reads the .h5 files of Keras 2, which Keras 3 refuses. On the path of one process only: were it installed,
# tf.saved_model.load would import it, and basic-pitch would load where most users see it fail.
_TF_KERAS = Wheel("tf-keras==2.21.0", "f858bf3d97f892304e7fbcf5eb0942ed91674e27204f940a85de8c93cf07fe62", "tf_keras")
# Its author uploaded no wheel.
_DGAINTEL = "dgaintel==2.3"
_DGAINTEL_SHA256 = "9d72715d6c07a069dd817cfd4f2b94c4acc8af65c15fe65bd0f9f5266e274646"
_DGAINTEL_FILE = "dgaintel-2.3/dgaintel/domain_classifier_model.h5"

_DOMAIN_CHARACTERS = "-.0123456789_abcdefghijklmnopqrstuvwxyz"
_DOMAIN_LENGTH = 82
_SAMPLE_RATE = 22_050
_SAMPLES = 2 * _SAMPLE_RATE - 256


def write_guesslang(folder: Path) -> Path:
    """Write FOLDER/model.savedmodel: which of 54 programming languages a text is (an estimator of TensorFlow 1's kind).

    Raises:
        DownloadError: pip could not fetch it.
    """
    return _copy(unpack(_GUESSLANG, _cached("guesslang-2.2.1")), folder)


def write_basic_pitch(folder: Path) -> Path:
    """Write FOLDER/model.savedmodel: the notes in two seconds of sound (saved by Keras 2 with its optimizer).

    Raises:
        DownloadError: pip could not fetch it.
    """
    return _copy(unpack(_BASIC_PITCH, _cached("basic-pitch-0.4.0")), folder)


def write_dgaintel(folder: Path) -> Path:
    """Write FOLDER/model.savedmodel: is a domain's name made by an algorithm (an LSTM, saved by Keras 2).

    Raises:
        DownloadError: pip could not fetch it, or the Keras 2 that reads it.
    """
    model = _cached("dgaintel-2.3-savedmodel")
    if not model.is_dir():
        keras = unpack(_TF_KERAS, _cached("tf-keras-2.21.0") / "tf_keras").parent
        model.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".dgaintel-", dir=model.parent) as staging:
            saved = Path(staging) / "saved"
            file = _dgaintel_file(Path(staging))
            _tensorflow("keras2", file, saved, PYTHONPATH=str(keras), TF_USE_LEGACY_KERAS="1")
            saved.rename(model)
    return _copy(model, folder)


def write_made(repository: Path) -> None:
    """Write `NAME/1/model.savedmodel` for each of `MADE`.

    - `encoder`: a keras-hub backbone in a tf.Module, with random weights; TensorFlow 1's loader cannot run it.
    - `keras3`: what `keras.Model.export` writes.
    - `prices`: TensorFlow 1's SavedModelBuilder, a table with an asset, the tags `serve` and `sale`.
    """
    _tensorflow("made", repository)


def sine(hertz: float) -> npt.NDArray[np.float32]:
    """An input for basic-pitch: one tone as long as its window, 1 × 43,844 × 1."""
    seconds = np.arange(_SAMPLES) / _SAMPLE_RATE
    return np.asarray(np.sin(2 * np.pi * hertz * seconds), np.float32).reshape(1, -1, 1)


def piano_key(hertz: float) -> int:
    """The place of a tone among the 88 columns of basic-pitch's `note`, of which the lowest is 27.5 Hz."""
    return round(12 * math.log2(hertz / 27.5))


def domain_codes(*domains: str) -> npt.NDArray[np.int32]:
    """An input for dgaintel: a row of 82 character codes for each domain in lower case, zeros after its end."""
    codes = np.zeros((len(domains), _DOMAIN_LENGTH), np.int32)
    for row, domain in zip(codes, domains, strict=True):
        row[: len(domain)] = [_DOMAIN_CHARACTERS.index(character) for character in domain]
    return codes


def _cached(name: str) -> Path:
    return cache_dir() / "test-models" / name


def _copy(model: Path, folder: Path) -> Path:
    return Path(shutil.copytree(model, folder / "model.savedmodel"))


def _dgaintel_file(folder: Path) -> Path:
    # To name the archive, pip runs its setup.py; no isolation, so that no unpinned setuptools is fetched for that.
    options = ["--no-deps", "--no-binary=:all:", "--no-build-isolation", "--require-hashes", "--quiet"]
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{_DGAINTEL} --hash=sha256:{_DGAINTEL_SHA256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", *options, "-d", str(folder), "-r", str(requirements)]
    if subprocess.run(command, check=False).returncode != 0:
        raise DownloadError(f"pip could not fetch {_DGAINTEL}; its message is above. Check the network or proxy.")
    (archive,) = folder.glob("*.tar.gz")
    file = folder / "model.h5"
    with tarfile.open(archive) as members:
        content = members.extractfile(_DGAINTEL_FILE)
        assert content is not None
        file.write_bytes(content.read())
    return file


def _tensorflow(*arguments: object, **environment: str) -> None:
    """Run `real_models_writer.py`, which imports TensorFlow, in a process of its own without a GPU."""
    writer = Path(__file__).with_name("real_models_writer.py")
    result = subprocess.run(
        [sys.executable, str(writer), *map(str, arguments)],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
