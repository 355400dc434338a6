"""Sends malformed requests to a server of its own, good ones in between, and says what it did.

Run `make demo` first, then `make fuzz`. Exit status 1: an answer was not as it should be; the same seed makes the same
requests. `--hazards` sends instead, each to a fresh server, what Triton 24.10 is known not to survive. `--gateway`
sends all to `trident gateway` before the server; then each refusal must be a 4xx.
"""

import argparse
import contextlib
import http.client
import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import fuzzing  # noqa: E402
from fuzzing_http import hazards, send_http  # noqa: E402
from gateways import gateway_before  # noqa: E402
from trident.server.health import read_health  # noqa: E402
from trident.server.lifecycle import Server  # noqa: E402

HAZARD_S = 5.0  # without an answer for so long, there will be none


def serve(repository: Path) -> Server:
    """A server on free ports that stops soon, whatever is under way."""
    return Server(repository, http_port=0, grpc_port=0, metrics_port=0, exit_timeout_s=2)


def target_of(server: Server, options: argparse.Namespace) -> contextlib.AbstractContextManager[fuzzing.Target]:
    """What gets the requests."""
    return gateway_before(server.http_url) if options.gateway else contextlib.nullcontext(server)


def fuzz(options: argparse.Namespace) -> int:
    """Send them, and print what became of them."""
    started = time.perf_counter()
    with serve(options.model_repository) as server, target_of(server, options) as target:
        findings = fuzzing.fuzz(
            target, options.service, options.requests, options.seed, print, front=not options.gateway
        )
    print(f"seed {options.seed}, {time.perf_counter() - started:.0f} s")
    for code, count in sorted(findings.codes.items()):
        print(f"{code:<24} {count:>6}")
    print(*findings.faults, sep="\n")
    if options.json:
        figures = {"seed": options.seed, "codes": dict(findings.codes), "faults": findings.faults}
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 1 if findings.faults else 0


def try_hazards(options: argparse.Namespace) -> int:
    """Send each hazard, and print what happens."""
    for name, case in hazards(options.service).items():
        with serve(options.model_repository) as server, target_of(server, options) as target:
            try:
                said = str(send_http(int(target.http_url.rpartition(":")[2]), case, HAZARD_S))
            except (OSError, http.client.HTTPException) as error:
                said = repr(error)
            time.sleep(HAZARD_S)  # until its death is noticed, if it dies
            began = time.perf_counter()
            while not (told := read_health(server.ports["health"], HAZARD_S))["ready"]:
                time.sleep(0.1)
            back_s = HAZARD_S + time.perf_counter() - began
        lives = "the server was started again" if "tritonserver" in told["restarts"] else "the server lives"
        print(f"{name:<16} {lives}, ready {back_s:.0f} s later at most: {said[:100]}")
    return 0


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--service", default="spam", help="a text classification in it whose model takes input_ids")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hazards", action="store_true", help="send what ends tritonserver, or is never answered")
    parser.add_argument("--gateway", action="store_true", help="through `trident gateway`")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    sys.exit(try_hazards(options) if options.hazards else fuzz(options))


if __name__ == "__main__":
    main()
