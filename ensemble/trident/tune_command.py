"""`trident tune`: the options, what is shown meanwhile, and what becomes of the winner."""

import json
import shlex
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from trident.bench_command import Column, Picture
from trident.errors import BenchError
from trident.options import AsJson, Repository, Services

if TYPE_CHECKING:
    from trident.service import Service
    from trident.tuning import Figures, Goal, Outcome, Trial

Aim = Literal["throughput", "latency"]


# ruff: noqa: E501  (an option a line, as in --help)
def tune(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the service.", show_default=False)],
    texts: Annotated[Path, typer.Option(metavar="FILE", help="Your own: a text a line; or .csv, .tsv, .jsonl.", show_default=False)],
    column: Column = "text",
    aim: Annotated[Aim, typer.Option("--for", help="throughput of all callers; latency of a lone one.")] = "throughput",
    p99_ms: Annotated[float | None, typer.Option(metavar="N", min=0.001, help="Latency that all callers must stay within.", show_default="any")] = None,
    concurrency: Annotated[int, typer.Option(metavar="N", min=1, max=1024, help="Callers at once.")] = 32,
    minutes: Annotated[float, typer.Option(metavar="N", min=0.001, help="That it may take, about.")] = 10.0,
    seconds: Annotated[float, typer.Option(metavar="S", min=0.3, help="Of each measurement.")] = 3.0,
    differing: Annotated[float, typer.Option(metavar="X", min=0, max=1, help="Share of texts that bf16 may answer otherwise.")] = 0.002,
    services: Services = Path("services"),
    model_repository: Repository = Path("model_repository"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing.")] = False,
    picture: Picture = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Find the best [serving] settings for your texts.

    \b
    trident tune spam --texts messages.tsv
    trident tune spam --texts messages.tsv --for latency --p99-ms 50 --dry-run

    It serves the service with one setting changed after the other, on a server of its own, and measures each with
    perf_analyzer: accelerator and precision, instances and threads, queue delay, batch size. The best two and the
    service as it is then take turns twice. What wins by 5 % or more both times is written into service.toml and built.
    """  # noqa: D301 - click's mark for lines that stay as they are
    from trident.bench_picture import check_picture, draw_trials
    from trident.machine import title
    from trident.service import load_service
    from trident.tuning import Goal

    if picture is not None:
        check_picture(picture)
    service = load_service(services / name)
    goal = Goal(aim == "latency", p99_ms, concurrency)
    outcome, shares = _search(service, texts, column, goal, 60 * minutes, seconds, differing)
    if picture is not None:
        draw_trials(outcome, f"{name}, {title()}", concurrency, picture)
    changes = outcome.best.candidate.changes(outcome.untuned.candidate) if outcome.pays(goal) else {}
    done = _apply(service.folder, changes, model_repository) if changes and not dry_run else []
    if as_json:
        print(json.dumps(_record(name, goal, outcome, shares, changes) | {"written": bool(done)}, indent=2))
        return
    _print_trials(outcome, goal, shares)
    print(_verdict(outcome, goal))
    if changes and dry_run:
        print(f"--dry-run: {services / name / 'service.toml'} stays as it is")
    for line in done:
        print(line)


def _search(
    service: "Service", texts: Path, column: str, goal: "Goal", seconds: float, each: float, differing: float
) -> "tuple[Outcome, dict[Any, float]]":
    from trident.candidates import Candidate
    from trident.perf_inputs import read_texts, write_texts
    from trident.service import TextPreprocess
    from trident.trials import Trials, this_machine
    from trident.tuning import Refused, Search

    if not isinstance(service.spec.preprocess, TextPreprocess):
        raise BenchError(f"'{service.spec.name}' is a service of {service.spec.task}; only services of texts are tuned")
    sent = read_texts(texts, column)
    with tempfile.TemporaryDirectory(prefix="trident-tune-") as folder:
        data = Path(folder) / "texts.json"
        write_texts(sent, data)
        trials = Trials(service, sent, data, Path(folder), goal, each, differing)
        trials.prepare()
        start = Candidate.of(service.spec.serving)
        shown = _Progress(start, goal)
        search = Search(trials.measure, goal, this_machine(), time.monotonic, seconds, shown.show)
        try:
            return search.run(start), trials.differing
        except Refused as error:
            raise BenchError(f"the service as it is cannot be measured: {error}") from None


class _Progress:
    """A line on stderr for each measurement."""

    def __init__(self, start: Any, goal: "Goal") -> None:
        self._start = start
        self._goal = goal
        self._began = time.monotonic()

    def show(self, trial: "Trial", figures: "Figures | None") -> None:
        passed = time.monotonic() - self._began
        told = trial.refused if figures is None else _described(figures, self._goal)
        print(f"{passed:5.0f} s  {trial.candidate.described(self._start)}: {told}", file=sys.stderr, flush=True)


def _described(figures: "Figures", goal: "Goal") -> str:
    all_of_them = f"{goal.concurrency} callers {figures.throughput:,.1f} requests/s, p99 {figures.p99_ms:.1f} ms"
    return f"{all_of_them}; alone {figures.alone_ms:.2f} ms"


def _apply(folder: Path, changes: dict[str, Any], repository: Path) -> list[str]:
    """Build what is in the folder now with the settings, and write them down; returns what was done, in lines."""
    from trident.repository import build
    from trident.service import load_service
    from trident.service_edit import set_serving

    service = load_service(folder).with_serving(changes)
    result = build(service, repository)
    set_serving(service.toml, changes)
    lines = [f"wrote {', '.join(changes)} into {service.toml}; built {result.name} in {repository}"]
    if result.pending:
        lines.append(
            f"a server goes on with the former settings until it is stopped and: trident release {result.name}"
        )
    return lines


def _verdict(outcome: "Outcome", goal: "Goal") -> str:
    if len(outcome.trials) < 2:
        return "nothing else could be tried; the settings stay"
    best = outcome.best.candidate.described(outcome.untuned.candidate)
    gains = " and ".join(f"{gain:+.0%}" for gain in outcome.gains)
    skipped = f" There was no time for: {', '.join(outcome.skipped)}." if outcome.skipped else ""
    if not outcome.sure:
        return f"too little time to measure the best again, so the settings stay; allow more --minutes.{skipped}"
    if not outcome.pays(goal):
        found = "nothing is better" if outcome.best is outcome.untuned else f"{best} gains {gains} in two rounds"
        return f"{found}; what does not gain 5 % in both is not taken: the settings stay.{skipped}"
    what = "latency of a lone caller" if goal.latency else f"requests/s of {goal.concurrency} callers"
    bound = (
        "" if goal.keeps(outcome.best.figures) else f" No settings keep p99 within {goal.p99_ms:g} ms; this is nearest."
    )
    return f"{best}: {gains} in two rounds ({what}).{bound}{skipped}"


def _print_trials(outcome: "Outcome", goal: "Goal", shares: dict[Any, float]) -> None:
    table = Table("settings")
    for heading in ("requests/s", "p99 ms", "alone ms", "differ"):
        table.add_column(heading, justify="right", no_wrap=True)
    usable = sorted(
        (trial for trial in outcome.trials if not trial.refused), key=lambda trial: goal.rank(trial.figures)
    )
    for trial in reversed(usable):
        figures = trial.figures
        cells = (f"{figures.throughput:,.1f}", f"{figures.p99_ms:.1f}", f"{figures.alone_ms:.2f}")
        name = escape(trial.candidate.described(outcome.untuned.candidate))
        table.add_row(name, *cells, f"{shares[trial.candidate]:.2%}", style="bold" if trial is outcome.best else None)
    Console().print(table)
    print(f"{goal.concurrency} callers; alone: median of a lone one; differ: texts that get another answer")
    for trial in outcome.trials:
        if trial.refused:
            print(f"refused: {trial.candidate.described(outcome.untuned.candidate)}: {trial.refused}")


def _record(
    name: str, goal: "Goal", outcome: "Outcome", shares: dict[Any, float], changes: dict[str, Any]
) -> dict[str, Any]:
    from trident.machine import describe
    from trident.perf_analyzer import version

    found = describe()
    found["versions"]["perf_analyzer"] = version()
    trials = [
        asdict(trial)
        | {"figures": None if trial.refused else asdict(trial.figures), "differing": shares.get(trial.candidate)}
        for trial in outcome.trials
    ]
    result = {"gains": outcome.gains, "sure": outcome.sure, "skipped": outcome.skipped, "changes": changes}
    return (
        found | {"service": name, "command": shlex.join(sys.argv), "goal": asdict(goal)} | result | {"trials": trials}
    )
