"""What a figure depends on beside the code: the machine and the versions of what runs on it."""

import os
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "trident-serving",
    "tensorflow",
    "keras",
    "openvino",
    "nvidia-pytriton",
    "tritonclient",
    "tokenizers",
    "numpy",
)
BF16_FLAGS = ("amx_bf16", "avx512_bf16")


def describe() -> dict[str, Any]:
    """Machine and versions, for a file of figures."""
    return {
        "machine": {"cpu": cpu_model(), "cores": cores(), "gpus": gpus(), "system": platform.platform()},
        "versions": {"python": platform.python_version()} | versions(PACKAGES),
    }


def title() -> str:
    """The machine in a few words."""
    return f"{cpu_model()}, {cores()} cores"


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


def bf16_flags() -> list[str]:
    """The processor's flags for matrices of bfloat16; without any it has no hardware for them."""
    flags = _cpuinfo("flags").split()
    return [flag for flag in BF16_FLAGS if flag in flags]


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
