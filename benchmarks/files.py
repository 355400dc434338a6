"""Reports how fast `trident infer --input` scores a file, beside perf_analyzer on the same server and texts.

Run `make demo` first, then `make bench-files`; nothing here gates a test. Both send requests of max_batch_size texts,
8 at once, over the same protocol; they take turns, each round gives a ratio, and the median of these counts.
"""

import argparse
import json
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from trident.datasets import read_dataset
from trident.machine import title
from trident.server.lifecycle import Server
from trident_client import Client

ROOT = Path(__file__).parent.parent
DATA = ROOT / "data" / "sms_spam.tsv"
CALLERS = 8
WINDOWS = 3  # perf_analyzer measures as many, at least
GOAL = 0.9


def write_inputs(folder: Path, count: int) -> None:
    """The same texts as a file of rows and as perf_analyzer reads them."""
    examples = read_dataset(DATA, text_column="text", label_column="label", skip_bad_rows=False).examples
    texts = [examples[number % len(examples)].text for number in range(count)]
    (folder / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    data = {"data": [{"text": [text]} for text in texts]}
    (folder / "texts.json").write_text(json.dumps(data), encoding="utf-8")


def score(folder: Path, service: str, url: str) -> float:
    """Rows a second of `trident infer --input`, start of the process included."""
    command = ["trident", "infer", service, "--input", "texts.jsonl", "--output", "out.jsonl", "--overwrite", "--json"]
    result = _run([*command, "--concurrency", str(CALLERS), "--url", url], folder)
    summary: dict[str, Any] = json.loads(result.splitlines()[-1])
    return float(summary["rows"] / summary["duration_s"])


def analyze(folder: Path, service: str, url: str, size: int, count: int) -> float:
    """Rows a second of perf_analyzer, which goes about once through the texts in its windows."""
    protocol, _, address = url.partition("://")
    command = ["trident", "perf-analyzer", "-m", service, "-i", protocol, "-u", address, "-b", str(size)]
    command += ["--input-data", "texts.json", "--shape", "text:1", "--concurrency-range", str(CALLERS)]
    command += [
        "--measurement-mode",
        "count_windows",
        "--measurement-request-count",
        str(max(1, count // size // WINDOWS)),
    ]
    result = _run([*command, "--stability-percentage", "100", "--max-trials", str(WINDOWS)], folder)
    return float(re.findall(r"Throughput: ([\d.]+) infer/sec", result)[-1])


def _run(command: list[str], folder: Path) -> str:
    program = [str(Path(sys.executable).with_name(command[0])), *command[1:]]
    result = subprocess.run(program, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SystemExit(f"{shlex.join(command)} failed:\n{result.stdout}{result.stderr}")
    return result.stdout


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-repository", type=Path, default=ROOT / "model_repository", help="has the service")
    parser.add_argument("--service", default="spam", help="a text classification")
    parser.add_argument("--texts", type=int, default=1536, help="in a round")
    parser.add_argument("--rounds", type=int, default=5, help="of each")
    options = parser.parse_args()
    print(f"{title()}; {shlex.join(sys.argv)}")
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        write_inputs(folder, options.texts)
        models = [path.name for path in options.model_repository.glob(f"{options.service}*")]
        with Server(options.model_repository, models=models, http_port=0, grpc_port=0, metrics_port=0) as server:
            with Client(server.http_url) as client:
                size = int(client.get_model_config(options.service)["max_batch_size"])
            for url in (server.http_url, server.grpc_url):
                ours, theirs = [], []
                for _ in range(options.rounds):
                    theirs.append(analyze(folder, options.service, url, size, options.texts))
                    ours.append(score(folder, options.service, url))
                ratios = sorted(rows / reached for rows, reached in zip(ours, theirs, strict=True))
                ratio = statistics.median(ratios)
                rows, reached = statistics.median(ours), statistics.median(theirs)
                print(f"{url.partition(':')[0]}: trident infer --input {rows:.0f} rows/s, perf_analyzer {reached:.0f}")
                verdict = "met" if ratio >= GOAL else "MISSED"
                print(f"  ratio {ratio:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}), goal {GOAL}: {verdict}", flush=True)


if __name__ == "__main__":
    main()
