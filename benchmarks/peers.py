"""Compares a Trident service with what a user would pick instead: the same SavedModel, tokenizer, texts and machine.

Run `make demo` first, then `make bench-peers`; on a machine that does nothing else it takes about 25 minutes, and a few
more the first time, for the peers' environments. It prints a Markdown table with every point that Trident wants to
reach, and says on stderr how far it is. `--only mosec Trident` measures servers whose names have one of these words.

Servers take turns: in each round each is started, compared with the answers in process, warmed up, measured and ended.
"""

import argparse
import json
import shlex
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from comparison import texts
from comparison.bounds import Process
from comparison.environments import EnvironmentFailed, environment, versions
from comparison.picture import draw
from comparison.points import evaluate
from comparison.processes import adopt_orphans, memory_mb, with_descendants
from comparison.repositories import build_repository, instances, train_small, variant
from comparison.results import LOADS, MANY, TINY_LOADS, Bounds, Results, Row, without_nan
from comparison.rounds import BATCH_TEXTS, Bench, Model, ask
from comparison.servers import ACCELERATED, OURS, PEER, Server, ours, peers
from comparison.table import markdown
from comparison.trivial import measure_generator
from tokenizers import Tokenizer
from trident.datasets import read_dataset
from trident.machine import cores, describe, title

ROOT = Path(__file__).parent.parent
DATA = ROOT / "data" / "sms_spam.tsv"
CHECKED_SHORT, CHECKED_LONG = 24, 8
ACCURACY_TEXTS = 2000
TINY_PEERS = 2  # how many of the best peers serve the tiny model, too


def say(text: str) -> None:
    """Tell how far things are."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def make_model(service: Path, servers: list[Server], work: Path) -> Model:
    """Choose the texts, ask the model in process, and build the repositories of our servers."""
    messages = [example.text for example in _examples()]
    tokenizer = Tokenizer.from_file(str(service / "tokenizer.json"))
    tokenizer.no_truncation()
    counts: dict[str, int] = {}

    def count(text: str) -> int:
        if text not in counts:
            counts[text] = len(tokenizer.encode(text).ids)
        return counts[text]

    chosen = {"short": texts.short(messages, count), "mixed": texts.mixed(messages, count)}
    for kind, found in chosen.items():
        say(f"{service.name}, {kind}: {len(found.texts)} texts, {found.mean:.1f} tokens, {found.full:.0%} at the limit")
    checked = chosen["short"].texts[:CHECKED_SHORT] + chosen["mixed"].texts[1 : 2 * CHECKED_LONG : 2]
    with Process(service, cores()) as process:
        expected = {
            length: [(label, score) for label, score in process.ask("answers", texts=checked, max_length=length)]
            for length in {server.max_length for server in servers}
        }
    built = build_repository(service, work / "built")
    repositories = {
        server.name: variant(built, service, server, work / f"repository{number}")
        for number, server in enumerate(servers)
        if server.kind != PEER
    }
    return Model(service, service.name, chosen, checked, expected, repositories)


def measure_bounds(service: Path, model: Model, bounds: Bounds, seconds: float) -> None:
    """One round of what is possible in process."""
    short, mixed = (model.texts[kind].texts for kind in ("short", "mixed"))
    with Process(service, cores()) as process:
        bounds.start_s.append(process.start_s)
        bounds.memory_mb.append(memory_mb(with_descendants(process.pid)))
        one = process.ask("one by one", texts=short, seconds=seconds)
        bounds.one_rate.append(one["rate"])
        bounds.one_ms.append(one["p50_ms"])
        bounds.batch_rate.append(process.ask("batch", texts=short[:BATCH_TEXTS], seconds=seconds)["rate"])
        if bounds.accuracy != bounds.accuracy:  # it is always the same
            sample = _accuracy_sample()
            found = process.ask("answers", texts=[text for text, _ in sample], max_length=texts.LONGEST)
            bounds.accuracy = _accuracy([label for label, _ in found], sample)
    processes = [Process(service, 1) for _ in range(cores())]
    try:
        for kind, loaded in (("short", short), ("mixed", mixed)):
            for process in processes:
                process.order("windows", texts=loaded, seconds=2 * seconds)
            bounds.windows[kind].append(sum(process.answer()["rate"] for process in processes))
    finally:
        for process in processes:
            process.stop()
    say(f"  in process: {one['rate']:.0f} one by one, {bounds.windows['short'][-1]:.0f} in windows")


def measure_main(bench: Bench, model: Model, servers: list[Server], results: Results, rounds: int) -> None:
    """All rounds of all servers with the service."""
    sample = _accuracy_sample()

    def extra(server: Server, port: int) -> None:
        if server.kind == ACCELERATED and server.name not in results.accuracy:
            batches = [sample[place : place + BATCH_TEXTS] for place in range(0, len(sample), BATCH_TEXTS)]
            found = [label for batch in batches for label, _ in ask(server, port, [text for text, _ in batch])]
            results.accuracy[server.name] = _accuracy(found, sample)

    for number in range(1, rounds + 1):
        say(f"round {number} of {rounds}")
        measure_bounds(model.service, model, results.bounds, bench.seconds)
        for server, row in zip(servers, results.rows, strict=True):
            if not row.failure:
                bench.round(server, model, LOADS, row, extra)


def measure_tiny(bench: Bench, servers: list[Server], results: Results, rounds: int) -> None:
    """Ours and the best peers with a model that costs next to nothing: what is left is the servers' own cost."""
    say("training a tiny model ...")
    services = bench.work / "tiny"
    service = train_small("spam", services)
    measured = [row for row in results.rows if row.kind == PEER and row.values(MANY.name, lambda sample: sample.rate)]
    best = {row.name for row in sorted(measured, key=lambda row: -row.rate(MANY.name))[:TINY_PEERS]}
    chosen = [
        (server, row)
        for server, row in zip(servers, results.rows, strict=True)
        if (server.kind == OURS or server.name in best) and not row.failure
    ]
    model = make_model(service, [server for server, _ in chosen], services)
    for number in range(1, rounds + 1):
        say(f"tiny model, round {number} of {rounds}")
        for server, row in chosen:
            tiny = Row(row.name, row.kind)
            bench.round(server, model, TINY_LOADS, tiny, lambda server, port: None)
            row.failure = tiny.failure and f"tiny model: {tiny.failure}"
            for name, samples in tiny.samples.items():
                row.samples.setdefault(name, []).extend(samples)


def report(options: argparse.Namespace, work: Path) -> tuple[Results, dict[str, Any]]:
    """Measure everything; returns it, and what it was measured with."""
    servers = [*peers(cores()), *ours(options.service.name, cores())]
    if options.only:
        servers = [server for server in servers if any(word.lower() in server.name.lower() for word in options.only)]
    generator = measure_generator()
    say(_told(generator))
    bench = Bench(work, options.seconds, options.wait_ms, say)
    model = make_model(options.service, servers, work)
    results = Results([_row(server, model) for server in servers])
    measure_main(bench, model, servers, results, options.rounds)
    if options.tiny:
        measure_tiny(bench, servers, results, options.rounds)
    described = describe() | {
        "peers": {server.folder: versions(server.folder) for server in servers if server.folder},
        "command": shlex.join(sys.argv),
        "generator": generator,
        "texts": {kind: {"tokens": found.mean, "full": found.full} for kind, found in model.texts.items()},
    }
    return results, described


def _row(server: Server, model: Model) -> Row:
    """A server without figures yet; a peer's environment is made if there is none."""
    if server.kind != PEER:
        return Row(server.name, server.kind, instances(model.repositories[server.name], model.name))
    row = Row(server.name, server.kind, server.processes)
    try:
        environment(server.folder, say)
    except EnvironmentFailed as error:
        row.failure = str(error)
    return row


def _told(generator: dict[str, float]) -> str:
    rate, cost = generator["requests/s"], generator["µs/request"]
    return (
        f"The load generator makes {rate:.0f} requests a second of a server that does nothing, at {cost:.0f} µs each."
    )


def _examples() -> Any:
    return read_dataset(DATA, text_column="text", label_column="label", skip_bad_rows=False).examples


def _accuracy_sample() -> list[tuple[str, str]]:
    """Texts with their labels, evenly spaced."""
    examples = _examples()
    step = max(1, len(examples) // ACCURACY_TEXTS)
    return [(example.text, example.label) for example in examples[::step][:ACCURACY_TEXTS]]


def _accuracy(labels: list[str], sample: list[tuple[str, str]]) -> float:
    return sum(found == label for found, (_, label) in zip(labels, sample, strict=True)) / len(sample)


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--service", type=Path, default=ROOT / "services" / "spam", help="a text classification")
    parser.add_argument("--rounds", type=int, default=3, help="of each server")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each load in a round; mixed takes twice that")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="servers whose names have one of these")
    parser.add_argument("--wait-ms", type=float, default=1.0, help="that batches wait to fill, where a peer's do")
    parser.add_argument("--no-tiny", dest="tiny", action="store_false", help="without the tiny model")
    parser.add_argument("--json", type=Path, help="also write all figures, the machine and the versions to this file")
    parser.add_argument("--picture", type=Path, help="draw the rates into this PNG file")
    options = parser.parse_args()
    adopt_orphans()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # servers are ended on the way out
    with tempfile.TemporaryDirectory() as work:
        results, described = report(options, Path(work))
    points = evaluate(results)
    heading = f"{title()}; {options.rounds} rounds of {options.seconds:g} s"
    print(f"{heading}\n\n{_told(described['generator'])}\n")
    print(markdown(results, points), flush=True)
    if options.json:
        figures = described | results.plain() | {"points": [asdict(point) for point in points]}
        options.json.write_text(json.dumps(without_nan(figures), indent=2) + "\n", encoding="utf-8")
    if options.picture:
        draw(results, heading, options.picture)


if __name__ == "__main__":
    main()
