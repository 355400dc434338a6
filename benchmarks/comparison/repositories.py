"""Model repositories of ours: one that `trident build` writes, and copies of services or of it with other settings."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from google.protobuf import text_format
from trident.releasing import release
from trident.repository import build
from trident.service import load_service
from tritonclient.grpc import model_config_pb2 as pb

from comparison.servers import Server

ROOT = Path(__file__).parents[2]


def trident(*arguments: str | Path) -> None:
    """Run a command in a process of its own, which may load TensorFlow.

    Raises:
        RuntimeError: it failed.
    """
    words = [str(argument) for argument in arguments]
    done = subprocess.run([sys.executable, "-m", "trident", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"trident {shlex.join(words)}: {done.stderr}")


def train_small(name: str, services: Path) -> Path:
    """A service of a small model that is trained from scratch, in seconds."""
    trident("train", ROOT / "data" / "sms_spam.tsv", "--name", name, "--encoder", "none", "--services", services)
    return services / name


def build_repository(service: Path, folder: Path) -> Path:
    """The repository of a service, as `trident build` writes it."""
    trident("build", service, "--model-repository", folder)
    return folder


def with_setting(service: Path, folder: Path, key: str, value: str) -> Path:
    """A copy of a service folder with another value of one key, which is TOML.

    Raises:
        SystemExit: its service.toml does not have the key once.
    """
    shutil.copytree(service, folder)
    file = folder / "service.toml"
    text, found = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", file.read_text(encoding="utf-8"))
    if found != 1:
        raise SystemExit(f"{service / file.name} has {found} lines '{key} = ...', expected 1; make the service anew")
    file.write_text(text, encoding="utf-8")
    return folder


def variant(built: Path, service: Path, server: Server, folder: Path) -> Path:
    """A copy with the [serving] of a server; as built if it asks for nothing.

    Args:
        built: the repository.
        service: the service folder that it was built from.
        server: what asks.
        folder: of the copy; its files are links to the same content, and builds replace files whole.
    """
    shutil.copytree(built, folder, copy_function=os.link)
    if server.serving:
        changed = load_service(service).with_serving(server.serving)
        if build(changed, folder).pending:
            release(changed.spec.name, folder)
    return folder


def instances(repository: Path, service: str) -> int:
    """How many processes have the model of a service."""
    file = repository / f"{service}_model" / "config.pbtxt"
    config = text_format.Parse(file.read_text(encoding="utf-8"), pb.ModelConfig())
    return int(config.instance_group[0].count)
