"""Model repositories of ours: one that `trident build` writes, and copies of it with other settings of the model."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from comparison.servers import Server


def build_repository(service: Path, folder: Path) -> Path:
    """The repository of a service, as `trident build` writes it; in a process of its own, which loads TensorFlow."""
    command = [sys.executable, "-m", "trident", "build", str(service), "--model-repository", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def variant(built: Path, service: str, server: Server, folder: Path) -> Path:
    """A copy with the instances, threads and accelerator of a server; as built if it asks for nothing.

    Args:
        built: the repository.
        service: its name.
        server: what asks.
        folder: of the copy; large files are links to the same content.
    """
    shutil.copytree(built, folder, copy_function=os.link)
    if server.processes:
        file, config = _config(folder, service)
        _change(config, server)
        file.unlink()
        file.write_text(text_format.MessageToString(config), encoding="utf-8")
    return folder


def instances(repository: Path, service: str) -> int:
    """How many processes have the model of a service."""
    return int(_config(repository, service)[1].instance_group[0].count)


def _config(repository: Path, service: str) -> tuple[Path, pb.ModelConfig]:
    file = repository / f"{service}_model" / "config.pbtxt"
    return file, text_format.Parse(file.read_text(encoding="utf-8"), pb.ModelConfig())


def _change(config: pb.ModelConfig, server: Server) -> None:
    config.instance_group[0].count = server.processes
    config.parameters["TF_NUM_INTRA_THREADS"].string_value = str(server.threads)
    if server.precision:
        del config.optimization.execution_accelerators.cpu_execution_accelerator[:]
        accelerator = config.optimization.execution_accelerators.cpu_execution_accelerator.add(name="openvino")
        accelerator.parameters["PRECISION"] = server.precision
        accelerator.parameters["NUM_THREADS"] = str(server.threads)
