"""Which settings of [serving] are worth trying on a machine: one kind of setting after the other."""

from collections.abc import Generator
from dataclasses import dataclass, fields, replace
from typing import Any

from trident.configs import PARALLEL_CALLS
from trident.service import Serving

DELAYS_MS = (0.0, 1.0, 5.0)
SMALL_BATCHES = (8, 16, 32)
INSTANCES_PER_GPU = (1, 2, 3, 4)


@dataclass(frozen=True)
class Candidate:
    """The keys of [serving] that tuning may change; their meaning and defaults are `Serving`'s."""

    accelerator: str
    precision: str
    model_instances: int
    parallel_calls: int
    threads: int
    preprocess_instances: int
    queue_delay_ms: float
    max_batch_size: int

    @classmethod
    def of(cls, serving: Serving) -> "Candidate":
        """What a service.toml says."""
        return cls(**{key.name: getattr(serving, key.name) for key in fields(cls)})

    def changes(self, other: "Candidate") -> dict[str, Any]:
        """Key → value, of those that differ from another's."""
        return {
            key.name: getattr(self, key.name)
            for key in fields(self)
            if getattr(self, key.name) != getattr(other, key.name)
        }

    def described(self, other: "Candidate") -> str:
        """What differs from another, in a line."""
        return ", ".join(f"{key} = {_toml(value)}" for key, value in self.changes(other).items()) or "untuned"


@dataclass(frozen=True)
class Machine:
    """What there is to be used.

    Attributes:
        cores: that processes may use.
        gpus: that processes see.
        bf16: whether the CPU multiplies bfloat16 in hardware.
        openvino: whether it is installed.
    """

    cores: int
    gpus: int
    bf16: bool
    openvino: bool


def stages(
    best: Candidate, machine: Machine, concurrency: int
) -> Generator[tuple[str, list[Candidate]], Candidate, None]:
    """One kind of setting after the other: its name, and the candidates that differ from the best so far.

    Args:
        best: where the first begins; for the next one `send` the best that was found.
        machine: to run on.
        concurrency: callers at once; with one, nothing is gained by gathering requests.

    Yields:
        Those that matter most first: what computes, on how many processes, then how requests are gathered.
    """
    best = yield "accelerator and precision", _computing(best, machine)
    best = yield "instances and threads", _instances(best, machine)
    delays = DELAYS_MS if concurrency > 1 else DELAYS_MS[:1]
    best = yield "queue delay", [replace(best, queue_delay_ms=delay) for delay in delays]
    if concurrency > 1:
        best = yield "instances of the stage in front", _stage_instances(best, machine)
        yield "batch size", _batches(best, concurrency)


def _computing(best: Candidate, machine: Machine) -> list[Candidate]:
    kinds = [("", "f32")]
    if machine.gpus:
        kinds += [("", "bf16"), ("xla", "f32"), ("xla", "bf16")]
    else:
        precisions = ["f32", "bf16"] if machine.bf16 else ["f32"]
        kinds += [("openvino", precision) for precision in precisions] if machine.openvino else []
        kinds += [("", "bf16")] if machine.bf16 else []
        kinds += [("xla", "f32")]  # compiles for each shape, which may take all its time
    return [replace(best, accelerator=accelerator, precision=precision) for accelerator, precision in kinds]


def _instances(best: Candidate, machine: Machine) -> list[Candidate]:
    """On the CPU 1, 2, 4, ... that share the cores, as processes or in one, and a lone thread, which may be enough."""
    if machine.gpus:
        return [replace(best, model_instances=count, threads=0) for count in INSTANCES_PER_GPU]
    automatic = 1 if best.accelerator else PARALLEL_CALLS

    def shape(instances: int, calls: int, threads: int = 0) -> Candidate:
        calls = 0 if calls == automatic else calls
        return replace(best, model_instances=instances, parallel_calls=calls, threads=threads)

    counts = [1 << power for power in range(machine.cores.bit_length()) if 1 << power < machine.cores]
    shared = [one for count in (*counts, machine.cores) for one in (shape(1, count), shape(count, 1))]
    return list(dict.fromkeys([*shared, shape(1, 1, threads=1)]))


def _stage_instances(best: Candidate, machine: Machine) -> list[Candidate]:
    return [replace(best, preprocess_instances=count) for count in (1, 2) if count <= machine.cores]


def _batches(best: Candidate, concurrency: int) -> list[Candidate]:
    """Smaller ones than all callers could fill, and a larger one if they would fill the present one."""
    if best.max_batch_size == 0:
        return []
    sizes = [size for size in SMALL_BATCHES if size < min(concurrency, best.max_batch_size)]
    sizes += [2 * best.max_batch_size] if best.max_batch_size < concurrency else []
    return [replace(best, max_batch_size=size) for size in sizes if size <= 4096]


def _toml(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else f"{value:g}"
