"""Reports what the `tensorflow` backend costs and gains, side by side in one run; nothing here gates a test.

`--only overhead ragged` leaves sections out, `--json FILE` keeps the figures, `--picture FILE` draws them. The model
is the service `spam`: `--service FOLDER`, else services/spam, else it is trained once (two minutes) and kept.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import sections.loading
import sections.memory
import sections.openvino
import sections.overhead
import sections.ragged
from sections.common import Figure, Options, Result, say
from sections.picture import draw
from trident.datasets import read_dataset
from trident.machine import bf16_flags, cores, describe
from trident.service import load_service
from trident.stages.text.preprocess import Settings, TextPreprocessor

ROOT = Path(__file__).parent.parent
DATA = ROOT / "data" / "sms_spam.tsv"
KEPT = Path(tempfile.gettempdir()) / "trident-benchmarks"
TRITON = "2.51.0 (24.10)"  # of nvidia-pytriton 0.7.0
SECTIONS: dict[str, Callable[[Options], Result]] = {
    "loading": sections.loading.measure,
    "overhead": sections.overhead.measure,
    "ragged": sections.ragged.measure,
    "openvino": sections.openvino.measure,
    "memory": sections.memory.measure,
}


def service_folder(named: Path | None) -> Path:
    """The service to measure with; trained if there is none."""
    for folder in filter(None, (named, ROOT / "services" / "spam", KEPT / "services" / "spam")):
        if folder == named or (folder / "service.toml").is_file():
            return folder
    say("Training `spam` ...")
    command = [sys.executable, "-m", "trident", "train", str(DATA), "--name", "spam"]
    subprocess.run([*command, "--services", str(KEPT / "services")], check=True, stdout=sys.stderr)
    return KEPT / "services" / "spam"


def model_and_texts(arguments: argparse.Namespace) -> tuple[Path, list[list[int]]]:
    """The SavedModel, and real texts as token ids, in an order that is random and always the same."""
    savedmodel, tokenizer = arguments.savedmodel, arguments.tokenizer
    if savedmodel is None or tokenizer is None:
        service = load_service(service_folder(arguments.service))
        savedmodel, tokenizer = savedmodel or service.savedmodel, tokenizer or service.folder / "tokenizer.json"
    dataset = read_dataset(DATA, text_column="text", label_column="label", skip_bad_rows=False)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tokenizer.json").symlink_to(tokenizer.resolve())
        ids = TextPreprocessor(Path(folder) / "tokenizer.json", Settings()).encode(
            [example.text for example in dataset.examples]
        )
    return savedmodel, [ids[index] for index in np.random.default_rng(0).permutation(len(ids))]


@contextmanager
def prepared(arguments: argparse.Namespace) -> Iterator[Options]:
    """What the sections are run with, in a folder that goes away."""
    savedmodel, ids = model_and_texts(arguments)
    with tempfile.TemporaryDirectory(prefix="trident-bench-") as work:
        yield Options(
            savedmodel=savedmodel,
            ids=ids,
            work=Path(work),
            threads=arguments.threads,
            repetitions=arguments.repetitions,
            rounds=arguments.rounds,
            texts=arguments.texts,
            callers=arguments.callers,
            requests=arguments.requests,
        )


def surroundings() -> dict[str, Any]:
    """The machine, the versions and the command line."""
    found = describe()
    found["machine"]["load"] = os.getloadavg()[0]
    found["versions"]["triton"] = TRITON
    return found | {"bf16 flags": bf16_flags(), "command": shlex.join(sys.argv)}


def show(section: str, result: Result) -> None:
    """Print a section's table."""
    print(f"\n{section}")
    width = max((len(figure.name) for figure in result.figures), default=0)
    for figure in result.figures:
        print(f"  {figure.name:<{width}} {figure.value:>10.{_decimals(figure)}f} {figure.unit:<8}{_verdict(figure)}")
    for note in result.notes:
        print(f"  # {note}")
    sys.stdout.flush()


def _decimals(figure: Figure) -> int:
    size = abs(figure.value)
    return 0 if size >= 1000 or float(size).is_integer() else 1 if size >= 100 else 2 if size >= 0.01 else 6


def _verdict(figure: Figure) -> str:
    return "" if figure.met is None else f"goal {figure.goal}: {'met' if figure.met else 'MISSED'}"


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="sections; all by default")
    parser.add_argument("--service", type=Path, help="service folder with the model and its tokenizer")
    parser.add_argument("--savedmodel", type=Path, help="another SavedModel: input_ids INT32 [B, L] → logits [B, 2]")
    parser.add_argument("--tokenizer", type=Path, help="another tokenizer.json")
    parser.add_argument("--threads", type=int, default=cores(), help="of TensorFlow and OpenVINO; all cores by default")
    parser.add_argument("--repetitions", type=int, default=60, help="of a MiniLM call (25 times that of a tiny one)")
    parser.add_argument("--rounds", type=int, default=8, help="of each variant of `ragged`")
    parser.add_argument("--texts", type=int, default=256, help="in a round of `ragged`")
    parser.add_argument("--callers", type=int, default=32, help="at once, in `ragged`")
    parser.add_argument("--requests", type=int, default=100_000, help="of `memory`, more than 5000")
    parser.add_argument("--json", type=Path, help="write the figures, the machine and the versions to this file")
    parser.add_argument("--picture", type=Path, help="draw the figures into this PNG")
    arguments = parser.parse_args()
    if arguments.requests <= sections.memory.FIRST:
        parser.error(f"--requests is {arguments.requests}; expected more than {sections.memory.FIRST}")
    return arguments


def main() -> None:
    """Print the report."""
    arguments = parse()
    around = surroundings()
    machine, versions = around["machine"], around["versions"]
    print(f"{machine['cpu']}, {machine['cores']} cores, load {machine['load']:.1f} when it began; {around['command']}")
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    results: dict[str, Result] = {}
    with prepared(arguments) as options:
        for name in dict.fromkeys(arguments.only):
            say(f"{name} ...")
            results[name] = SECTIONS[name](options)
            show(name, results[name])
    if arguments.json:
        found = {name: _as_json(result) for name, result in results.items()}
        arguments.json.write_text(json.dumps(around | {"sections": found}, indent=2) + "\n", encoding="utf-8")
    if arguments.picture:
        draw(results, f"{machine['cpu']}, {machine['cores']} cores", arguments.picture)


def _as_json(result: Result) -> dict[str, Any]:
    return {
        "figures": [vars(figure) for figure in result.figures],
        "notes": result.notes,
        "details": result.details,
    }


if __name__ == "__main__":
    main()
