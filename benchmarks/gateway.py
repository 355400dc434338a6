"""Reports what `trident gateway` costs: a lone caller's latency and the requests a second of many, with and without.

Run `make demo` first, then `make bench-gateway`; nothing here gates a test. Both ways lead to the same server and take
turns; the figures are medians of the rounds. `--json FILE` keeps them.
"""

import argparse
import asyncio
import json
import statistics
import sys
from pathlib import Path

from overload import Ask, alone_ms, closed_loop
from trident.datasets import read_dataset
from trident.server.lifecycle import Server
from trident_client import AsyncClient

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from gateways import gateway_before  # noqa: E402

COLUMNS = ("http", "http, gateway", "grpc", "grpc, gateway")


async def measure(url: str, options: argparse.Namespace, texts: list[str]) -> tuple[float, float]:
    """Milliseconds of a lone request, and requests a second of many callers."""
    async with AsyncClient(url, retry=None, timeout_s=60) as client:
        ask: Ask = lambda: client.infer(options.service, texts)  # noqa: E731
        return await alone_ms(ask, options.requests), await closed_loop(ask, options.callers, options.seconds)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--service", default="spam", help="a text classification in it")
    parser.add_argument("--callers", type=int, default=16, help="at once")
    parser.add_argument("--requests", type=int, default=100, help="of the lone caller")
    parser.add_argument("--seconds", type=float, default=5.0, help="of the many callers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    data = ROOT / "data" / "sms_spam.tsv"
    dataset = read_dataset(data, text_column="text", label_column="label", skip_bad_rows=False)
    texts = [dataset.examples[0].text]
    with (
        Server(options.model_repository, http_port=0, grpc_port=0, metrics_port=0) as server,
        gateway_before(server.http_url) as gateway,
    ):
        urls = (server.http_url, gateway.http_url, server.grpc_url, gateway.grpc_url)
        rounds = [[asyncio.run(measure(url, options, texts)) for url in urls] for _ in range(options.rounds)]
    alone, many = ([statistics.median(one[way][what] for one in rounds) for way in range(4)] for what in range(2))
    print("| |" + "".join(f" {name} |" for name in COLUMNS))
    print("|---|" + "---|" * len(COLUMNS))
    print("| a lone request, ms |" + "".join(f" {value:.2f} |" for value in alone))
    print(f"| {options.callers} callers, requests a second |" + "".join(f" {value:.0f} |" for value in many))
    if options.json:
        figures = dict(zip(COLUMNS, zip(alone, many, strict=True), strict=True))
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
