"""Whether the resident set stays where it is under requests of random shapes."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from trident_client import Client

from sections.common import Figure, Options, Result, Tensors, at_most, config, entry, put, say, serving, tensorflow

FIRST = 5_000  # requests after which the resident set is what it is compared with
SAMPLES = 20
CALLERS = 8
LONGEST, ROWS, WORDS, WIDTH = 200, 8, 1000, 16
LIMIT = 10
NOTES = [
    f"requests of 1 to {ROWS} rows and 1 to {LONGEST} ids each, {CALLERS} at once, batched raggedly; the model",
    f"  embeds them, multiplies by a matrix, answers [N, {WIDTH}] and the states [N, L, {WIDTH}]; VmRSS of /proc/PID",
]


def measure(options: Options) -> Result:
    """Resident sets of the stub and of tritonserver."""
    repository = options.work / "memory"
    inputs = [entry("ids", "INT32", -1, ragged=True)]
    outputs = [entry("mean", "FP32", WIDTH), entry("states", "FP32", -1, WIDTH)]
    put(repository, "small", _write_model(options), config(inputs, outputs, options.threads))
    samples: list[dict[str, Any]] = []
    with serving(repository) as (server, client):
        processes = _processes(server.shm_prefix)
        started = perf_counter()
        for done in _send_all(client, options.requests):
            sets = {name: _resident_kib(pid) for name, pid in processes.items()}
            samples.append({"requests": done, "seconds": perf_counter() - started} | sets)
            shown = ", ".join(f"{name} {value / 1024:.1f} MiB" for name, value in sets.items())
            say(f"  {done} requests, {samples[-1]['seconds']:.0f} s: {shown}")
    return Result(_figures(samples, list(processes)), NOTES, {"samples": samples})


def _figures(samples: list[dict[str, Any]], processes: list[str]) -> list[Figure]:
    first = next(sample for sample in samples if sample["requests"] >= FIRST)
    last = samples[-1]
    figures = [
        Figure("requests", last["requests"], ""),
        Figure("requests/s", last["requests"] / last["seconds"], "1/s"),
    ]
    for name in processes:
        change = 100 * (last[name] / first[name] - 1)
        figures.append(Figure(f"{name}: VmRSS after {first['requests']}", first[name] / 1024, "MiB"))
        figures.append(Figure(f"{name}: VmRSS at the end", last[name] / 1024, "MiB"))
        figures.append(at_most(f"{name}: change", change, "%", LIMIT))
    return figures


def _write_model(options: Options) -> Path:
    tf = tensorflow(options.threads)
    folder = options.work / "small.savedmodel"
    module = tf.Module()
    module.table = tf.Variable(tf.random.normal((WORDS, WIDTH), seed=0))
    module.matrix = tf.Variable(tf.random.normal((WIDTH, WIDTH), seed=1))

    def call(ids):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        states = tf.nn.relu(tf.matmul(tf.gather(module.table, ids), module.matrix))
        mask = tf.cast(ids > 0, tf.float32)[..., None]
        return {"mean": tf.reduce_sum(states * mask, 1) / tf.reduce_sum(mask, 1), "states": states}

    function = tf.function(call, input_signature=[tf.TensorSpec((None, None), tf.int32, "ids")])
    tf.saved_model.save(module, str(folder), signatures=function.get_concrete_function())
    return folder


def _send_all(client: Client, requests: int) -> Any:
    """Send requests, and say now and then how many were answered."""
    done, step = 0, max(FIRST // 5, requests // SAMPLES)
    with ThreadPoolExecutor(CALLERS) as pool:
        while done < requests:
            numbers = range(done, min(requests, done + step, FIRST if done < FIRST else requests))
            for _ in pool.map(lambda number: client.infer_tensors("small", _request(number)), numbers):
                pass
            done = numbers.stop
            yield done


def _request(number: int) -> Tensors:
    generator = np.random.default_rng(number)
    shape = (generator.integers(1, ROWS + 1), generator.integers(1, LONGEST + 1))
    return {"ids": generator.integers(1, WORDS, shape, np.int32)}


def _processes(shm_prefix: str) -> dict[str, int]:
    """Name → process id of a server and its stubs; all have the prefix of its shared memory in their arguments."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has ended
            continue
        program = Path(arguments[0]).name
        if program in ("tritonserver", "triton_python_backend_stub") and any(shm_prefix in word for word in arguments):
            name = program if program == "tritonserver" else "stub"
            found[name if name not in found else f"{name} {folder.name}"] = int(folder.name)
    return dict(sorted(found.items()))


def _resident_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])
