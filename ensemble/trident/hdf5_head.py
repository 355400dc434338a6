"""Says what an HDF5 file is, in a process of its own: on a damaged one libhdf5 may hang, crash, or take all memory.

`read_head(path)` starts this file as a program, which prints one JSON object.
"""

import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIMEOUT_S = 30
MEMORY_BYTES = 2 * 2**30  # of the process; a description of 32 MB takes far less


@dataclass(frozen=True)
class Hdf5Head:
    """An HDF5 file without its weights.

    Attributes:
        model_config: Keras' description of the model as JSON, if it has one.
        keras_version: the Keras that wrote it, if it says so.
        groups: names at the top.
        has_layer_names: whether it holds weights as Keras 2 wrote them.
        outside: something in it that lies in another file, if there is any.
        stored_bytes: sum of the arrays, unpacked.
    """

    model_config: str | None
    keras_version: str | None
    groups: list[str]
    has_layer_names: bool
    outside: str | None
    stored_bytes: int


def read_head(path: Path) -> Hdf5Head:
    """Read an HDF5 file's structure.

    Raises:
        ValueError: it is damaged; the message says how it showed.
    """
    command = [sys.executable, "-I", __file__, str(path)]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # each of numpy's threads would reserve memory
    try:
        result = subprocess.run(command, env=environment, capture_output=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise ValueError(f"reading its structure took more than {TIMEOUT_S} s") from None
    if result.returncode < 0:
        raise ValueError(f"reading its structure was ended by signal {-result.returncode}")
    if result.returncode > 0:
        raise ValueError(result.stderr.decode(errors="replace").strip().rpartition("\n")[2])
    answer: dict[str, Any] = json.loads(result.stdout)
    if "fault" in answer:
        raise ValueError(answer["fault"])
    return Hdf5Head(**answer)


def _read(path: str) -> dict[str, Any]:
    import h5py  # type: ignore[import-untyped]

    total = 0

    def outside(name: str, item: Any) -> str | None:
        nonlocal total
        if isinstance(item, h5py.Dataset):
            total += item.nbytes
        external = isinstance(item, h5py.Dataset) and (item.external or item.is_virtual)
        return name if external or isinstance(item, h5py.ExternalLink) else None

    with h5py.File(path) as file:
        config, version = (file.attrs.get(key) for key in ("model_config", "keras_version"))
        stray = file.visititems_links(outside) or file.visititems(outside)
        return {
            "model_config": _text(config),
            "keras_version": _text(version),
            "groups": sorted(file),
            "has_layer_names": "layer_names" in file.attrs,
            "outside": stray,
            "stored_bytes": total,
        }


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return value if isinstance(value, str) else None


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    try:
        print(json.dumps(_read(sys.argv[1])))
    except Exception as error:  # of a damaged file h5py raises whatever it stumbles over
        print(json.dumps({"fault": str(error) or type(error).__name__}))
