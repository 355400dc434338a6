"""Reports where a request's time goes: the processor time of each process, and the time in each model, per request.

Run `make demo` first, then `make bench-request`; nothing here gates a test. `--model-repository DIR` takes another
build of the service. Callers in a closed loop send one short text each over HTTP.
"""

import argparse
import shlex
import sys
from collections import Counter
from pathlib import Path

from comparison.load import closed_loop, post, summarize
from comparison.processes import cpu_s
from comparison.servers import triton_body
from comparison.texts import short
from processes import tritonserver_of
from tokenizers import Tokenizer
from trident.datasets import read_dataset
from trident.machine import title
from trident.server.lifecycle import Server
from trident.server.stubs import find_stubs
from trident.service import STEPS
from trident_client import Client

ROOT = Path(__file__).parent.parent
WARM_S = 3.0
QUEUE, COMPUTE = "queue", "compute_infer"


def processor_ms(server: Server) -> Counter[str]:
    """Milliseconds of processor time by process name; those of one model are added up."""
    tritonserver = tritonserver_of(server)
    spent: Counter[str] = Counter()
    spent["tritonserver"] = 1e3 * cpu_s([tritonserver])  # type: ignore[assignment]
    for stub in find_stubs(tritonserver, server.model_repository.resolve()):
        spent[stub.model] += 1e3 * cpu_s([stub.pid])  # type: ignore[assignment]
    return spent


def model_ms(client: Client, service: str) -> Counter[str]:
    """Milliseconds in queues and executions, and how many of these, as Triton counts them."""
    found: Counter[str] = Counter()
    for step in STEPS:
        for version in client.get_inference_statistics(f"{service}_{step}")["model_stats"]:
            stats = version["inference_stats"]
            for what in (QUEUE, COMPUTE):
                found[f"{step} {what}"] += int(stats.get(what, {}).get("ns", 0)) / 1e6  # type: ignore[assignment]
            found[f"{step} executions"] += int(version.get("execution_count", 0))
    return found


def measure(server: Server, service: str, texts: list[str], callers: int, seconds: float) -> dict[str, float]:
    """Figures of one number of callers, in milliseconds a request."""
    port = server.ports["http"]
    requests = [post(f"/v2/models/{service}/infer", triton_body([text]), port) for text in texts]
    closed_loop(port, requests, callers, 0.0, WARM_S)
    with Client(server.http_url) as client:
        before, counted = processor_ms(server), model_ms(client, service)
        run = closed_loop(port, requests, callers, 0.0, seconds)
        spent, counts = processor_ms(server) - before, model_ms(client, service) - counted
    answers = len(run.events)
    sample = summarize(run.events, run.until - seconds, run.until, [True] * len(texts))
    figures = {"requests/s": sample.rate, "p50, ms": sample.p50_ms, "failed": float(sample.failed)}
    figures |= {f"processor of {name}, ms": spent[name] / answers for name in sorted(spent)}
    figures["processor of the callers, ms"] = 1e3 * run.cpu_s / answers
    for step in STEPS:
        figures[f"{step}: requests an execution"] = answers / max(1, counts[f"{step} executions"])
        figures[f"{step}: queue, ms"] = counts[f"{step} {QUEUE}"] / answers
        figures[f"{step}: execution, ms"] = counts[f"{step} {COMPUTE}"] / answers
    return figures


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--service", default="spam", help="a text classification in it")
    parser.add_argument("--tokenizer", type=Path, default=ROOT / "services" / "spam" / "tokenizer.json")
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 64], help="at once")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each")
    options = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(options.tokenizer))
    data = read_dataset(ROOT / "data" / "sms_spam.tsv", text_column="text", label_column="label", skip_bad_rows=False)
    texts = short([example.text for example in data.examples], lambda text: len(tokenizer.encode(text).ids)).texts
    with Server(options.model_repository, http_port=0, grpc_port=0, metrics_port=0) as server:
        found = [measure(server, options.service, texts, callers, options.seconds) for callers in options.callers]
    print(f"{title()}; {shlex.join(['benchmarks/request.py', *sys.argv[1:]])}\n")
    print("| |" + "".join(f" {callers} callers |" for callers in options.callers))
    print("|---|" + "---|" * len(found))
    for name in found[0]:
        print(f"| {name} |" + "".join(f" {figures[name]:.4g} |" for figures in found))


if __name__ == "__main__":
    main()
