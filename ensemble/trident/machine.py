"""What a figure depends on beside the code: the machine and the versions of what runs on it."""

import os
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("trident-serving", "tensorflow", "openvino", "nvidia-pytriton", "numpy")
BF16_FLAGS = {"avx512_bf16", "amx_bf16"}


def describe() -> dict[str, Any]:
    """Machine and versions, for a file of figures."""
    return {
        "machine": {"cpu": cpu_model(), "cores": cores(), "gpus": gpus(), "system": platform.platform()},
        "versions": {"python": platform.python_version()} | versions(PACKAGES),
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Of the packages that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def cpu_model() -> str:
    """The processor as Linux names it."""
    return _cpuinfo("model name") or "unknown"


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def has_bf16() -> bool:
    """Whether the processor multiplies matrices of bfloat16 in hardware."""
    return bool(BF16_FLAGS & {*_cpuinfo("flags").split()})


def gpus(devices: Path = Path("/dev")) -> int:
    """NVIDIA's GPUs that processes of this machine see; CUDA_VISIBLE_DEVICES may hide some."""
    found = sum(path.name.removeprefix("nvidia").isdecimal() for path in devices.glob("nvidia*"))
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    return (
        found if told is None else min(found, len([part for part in told.split(",") if part.strip() not in ("", "-1")]))
    )


def _cpuinfo(key: str) -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == key), "")
