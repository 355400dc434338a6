"""Reports what serving costs as work grows: callers, tokens of a text, services of a server, rows of a file.

Run `make demo` first, then `make bench-scaling`; nothing here gates a test. `--only callers files` picks parts. Callers
are in a closed loop over HTTP, one text a request; those of several services ask them in turn.
"""

import argparse
import itertools
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from comparison.growth import Row, draw, table
from comparison.load import Sample, measure, post
from comparison.repositories import build_repository, train_small, with_setting
from comparison.results import without_nan
from comparison.servers import triton_body
from comparison.texts import short
from processes import held
from tokenizers import Tokenizer
from trident.datasets import read_dataset
from trident.machine import describe, title
from trident.server.lifecycle import Server
from trident.service import STEPS

ROOT = Path(__file__).parent.parent
DATA = ROOT / "data" / "sms_spam.tsv"
SPAM = ROOT / "services" / "spam"
CALLERS = [1, 2, 4, 8, 16, 32, 64, 128, 256]
TOKENS = [8, 16, 32, 64, 128, 256, 512]
TOKEN_CALLERS = {"alone": 1, "8 callers": 8}
SERVICES = [1, 2, 4, 8]
SERVICE_CALLERS = 32
ROWS = [10_000, 100_000, 1_000_000]
WORD = "free"  # one token
WARM_S = 2.0

# A process of its own starts the command and prints the kilobytes that it held at most. Linux counts what the parent
# held when it started a process as that process's, and this one would have more than `trident infer`.
PEAK = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""


@dataclass(frozen=True)
class Bench:
    """What all parts need.

    Attributes:
        work: a folder for what they write.
        seconds: of each load.
        max_rows: of a file.
    """

    work: Path
    seconds: float
    max_rows: int

    def load(self, server: Server, services: Sequence[str], texts: Sequence[str], callers: int) -> Sample:
        """Ask the services in turn, so that each gets as many requests as the others."""
        port = server.ports["http"]
        requests = []
        for text, service in zip(texts, itertools.cycle(services)):
            requests.append(post(f"/v2/models/{service}/infer", triton_body([text]), port))
        sample = measure(port, requests, [True] * len(requests), callers, WARM_S, self.seconds)
        if sample.failure:  # a request failed, or none was answered within the seconds
            say(f"{callers} callers of {', '.join(services)}: {sample.failed} requests failed: {sample.failure}")
        return sample

    def tiny(self, count: int) -> tuple[Path, list[str]]:
        """A repository with so many services of one small model, trained here, and their names."""
        trained, repository = self.work / "services" / "tiny", self.work / "tiny"
        if not trained.is_dir():
            train_small(trained.name, trained.parent)
        names = [f"tiny{number}" for number in range(1, count + 1)]
        for name in names:
            if not (repository / name).is_dir():
                build_repository(with_setting(trained, self.work / name, "name", json.dumps(name)), repository)
        return repository, names


def say(line: str) -> None:
    """Progress."""
    print(line, file=sys.stderr, flush=True)


def serve(repository: Path, services: Sequence[str]) -> Server:
    """A server of some of a repository's services."""
    models = [model for name in services for model in (name, *(f"{name}_{step}" for step in STEPS))]
    return Server(repository, models=models, http_port=0, grpc_port=0, metrics_port=0)


def messages() -> list[str]:
    """The texts of the data set."""
    data = read_dataset(DATA, text_column="text", label_column="label", skip_bad_rows=False)
    return [example.text for example in data.examples]


def short_texts(tokenizer: Tokenizer) -> list[str]:
    """Short messages of the data set."""
    return short(messages(), lambda text: len(tokenizer.encode(text).ids)).texts


def text_of(tokens: int, tokenizer: Tokenizer) -> str:
    """A text of so many tokens, those that the tokenizer adds included."""
    text = " ".join([WORD] * (tokens - len(tokenizer.encode("").ids)))
    if (found := len(tokenizer.encode(text).ids)) != tokens:
        raise SystemExit(f"a text has {found} tokens, expected {tokens}; WORD = '{WORD}' must be one token of {SPAM}")
    return text


def grow_callers(bench: Bench) -> Iterator[Row]:
    """Throughput must stay flat once the service is busy; then latency grows with the callers."""
    texts = short_texts(Tokenizer.from_file(str(SPAM / "tokenizer.json")))
    with serve(ROOT / "model_repository", ["spam"]) as server:
        for callers in CALLERS:
            sample = bench.load(server, ["spam"], texts, callers)
            yield {
                "callers": callers,
                "requests/s": sample.rate,
                "p50, ms": sample.p50_ms,
                "p95, ms": sample.p95_ms,
                "failed": sample.failed,
            }


def grow_tokens(bench: Bench) -> Iterator[Row]:
    """The service of `spam`, built anew so that all tokens count."""
    tokenizer = Tokenizer.from_file(str(SPAM / "tokenizer.json"))
    tokenizer.no_truncation()
    longest = with_setting(SPAM, bench.work / "long", "max_length", str(max(TOKENS)))
    with serve(build_repository(longest, bench.work / "long_repository"), ["spam"]) as server:
        for tokens in TOKENS:
            row: Row = {"tokens": tokens}
            failed = 0
            for name, callers in TOKEN_CALLERS.items():
                sample = bench.load(server, ["spam"], [text_of(tokens, tokenizer)], callers)
                row |= {f"texts/s, {name}": sample.rate, f"p50 in ms, {name}": sample.p50_ms}
                failed += sample.failed
            yield row | {"failed": failed}


def grow_services(bench: Bench) -> Iterator[Row]:
    """Copies of one small service; memory is what all processes hold after the loads."""
    repository, names = bench.tiny(max(SERVICES))
    texts = short_texts(Tokenizer.from_file(str(SPAM / "tokenizer.json")))
    for count in SERVICES:
        started = time.perf_counter()
        with serve(repository, names[:count]) as server:
            start_s = time.perf_counter() - started
            together = bench.load(server, names[:count], texts, SERVICE_CALLERS)
            first = bench.load(server, names[:1], texts, SERVICE_CALLERS)
            yield {
                "services": count,
                "start, s": start_s,
                "memory, MB": held(server).memory_mb,
                "requests/s of all": together.rate,
                "requests/s of the first alone": first.rate,
                "failed": together.failed + first.failed,
            }


def grow_files(bench: Bench) -> Iterator[Row]:
    """`trident infer --input` with the small service; seconds include the start of its process."""
    repository, names = bench.tiny(1)
    texts, file = messages(), bench.work / "texts.jsonl"
    with serve(repository, names) as server:
        for rows in sorted({min(rows, bench.max_rows) for rows in ROWS}):
            with file.open("w", encoding="utf-8") as lines:
                for text in itertools.islice(itertools.cycle(texts), rows):
                    lines.write(json.dumps({"text": text}) + "\n")
            started = time.perf_counter()
            scored, peak_mb = score(file, names[0], server.http_url)
            seconds = time.perf_counter() - started
            if scored != rows:
                raise SystemExit(f"`trident infer` scored {scored} rows of {file}, expected {rows}")
            yield {"rows": rows, "rows/s": rows / seconds, "seconds": seconds, "peak of the client, MB": peak_mb}


def score(file: Path, service: str, url: str) -> tuple[int, float]:
    """Rows that `trident infer --input` scored, and the megabytes (10^6 bytes) that its process held at most."""
    command = ["infer", service, "--input", str(file), "--output", str(file.with_name("out.jsonl")), "--overwrite"]
    program = [sys.executable, "-c", PEAK, sys.executable, "-m", "trident", *command, "--json", "--url", url]
    done = subprocess.run(program, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{shlex.join(program[3:])} ended with {done.returncode}, expected 0; its message is above")
    *_, summary, kilobytes = done.stdout.splitlines()
    return int(json.loads(summary)["rows"]), int(kilobytes) * 1024 / 1e6


PARTS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "callers": grow_callers,
    "tokens": grow_tokens,
    "services": grow_services,
    "files": grow_files,
}


def main() -> None:
    """Print a Markdown table for each part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load")
    parser.add_argument("--max-rows", type=int, default=max(ROWS), help="of a file")
    parser.add_argument("--json", type=Path, help="also write all figures, the machine and the versions to this file")
    parser.add_argument("--picture", type=Path, help="draw throughput and latency over callers into this PNG file")
    options = parser.parse_args()
    if options.picture and "callers" not in options.only:
        parser.error("--picture draws the part 'callers', which --only leaves out; add it")
    found: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory() as work:
        bench = Bench(Path(work), options.seconds, options.max_rows)
        for part in dict.fromkeys(options.only):
            found[part] = []
            for row in PARTS[part](bench):
                found[part].append(row)
                say(f"{part}: " + "; ".join(f"{name}: {value:.5g}" for name, value in row.items()))
    print(f"{title()}; {shlex.join(['benchmarks/scaling.py', *sys.argv[1:]])}")
    for part, rows in found.items():
        print(f"\n{part.capitalize()}\n\n{table(rows)}")
    if options.json:
        figures = describe() | {"command": shlex.join(sys.argv), "seconds": options.seconds, "parts": found}
        options.json.write_text(json.dumps(without_nan(figures), indent=2) + "\n", encoding="utf-8")
    if options.picture:
        draw(found["callers"], title(), options.picture)


if __name__ == "__main__":
    main()
