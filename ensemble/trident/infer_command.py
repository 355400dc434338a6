"""`trident infer`: the options, and what is printed."""

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from trident_client import Client, Prediction, Retry

from trident.addresses import address
from trident.options import Timeout, Url
from trident.output import print_predictions
from trident.texts import read_texts

if TYPE_CHECKING:
    from trident.scoring.job import Job, Summary
    from trident.scoring.journal import Done
    from trident.scoring.loop import OnProgress

PATIENT = Retry(attempts=100, base_s=0.5, max_s=4.0, lost_answers=True)  # until --timeout: scoring again does no harm
InputKind = Literal["csv", "tsv", "jsonl", "parquet", "images"]
OutputKind = Literal["csv", "tsv", "jsonl", "parquet"]
OF_FILES = {"format_", "column", "output", "output_format", "prefix", "resume", "overwrite", "concurrency", "progress"}


# ruff: noqa: E501  (an option a line, as in --help)
def infer(
    context: typer.Context,
    service: Annotated[str, typer.Argument(help="Name of the service.", show_default=False)],
    texts: Annotated[list[str] | None, typer.Argument(help="Texts; - reads stdin, a line a text.", show_default=False)] = None,
    url: Url = None,
    top_k: Annotated[int | None, typer.Option(metavar="N", min=1, help="Labels per text.", show_default="the service's; the best, for files")] = None,
    threshold: Annotated[float | None, typer.Option(metavar="X", min=0, max=1, help="Leave out labels below it.", show_default="the service's")] = None,
    timeout: Timeout = 30.0,
    input_: Annotated[str | None, typer.Option("--input", metavar="FILE", help="Rows instead of texts; - is stdin. For images a folder or a 'pattern'.", show_default=False)] = None,
    format_: Annotated[InputKind | None, typer.Option("--format", metavar="KIND", help="csv, tsv, jsonl, parquet, images.", show_default="by the name")] = None,
    column: Annotated[str, typer.Option(metavar="NAME", help="Where the texts are.")] = "text",
    output: Annotated[str, typer.Option(metavar="FILE", help="The rows with label and score, or value; - is stdout.")] = "-",
    output_format: Annotated[OutputKind | None, typer.Option(metavar="KIND", help="csv, tsv, jsonl, parquet.", show_default="by the name")] = None,
    prefix: Annotated[str, typer.Option(metavar="TEXT", help="Before the names label and score.", show_default=False)] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was interrupted.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output, or begin anew.")] = False,
    concurrency: Annotated[int, typer.Option(metavar="N", min=1, max=256, help="Requests under way, for files.")] = 8,
    progress: Annotated[bool, typer.Option("--progress", help="Where stderr is no terminal: a line every 5 s instead of the bar.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print an object for each text, or a file's summary.")] = False,
) -> None:  # fmt: skip
    """Classify texts, or a file's rows, with a running service.

    \b
    trident infer spam "You won a free prize, call now"
    trident infer spam --input messages.csv --column text --output scored.parquet
    trident infer digits --input 'scans/*.png' --output digits.csv --top-k 3

    A tabular service takes the columns that have the names of its inputs. Rows that cannot be scored go to
    OUTPUT.errors.jsonl, and the exit status is 1.
    """  # noqa: D301 - click's mark for lines that stay as they are
    if (input_ is None) == (not texts):
        raise typer.BadParameter("give either texts or --input FILE", param_hint="TEXTS")
    if input_ is None:
        _check_no_option_of_files(context)
        with Client(address(url), timeout_s=timeout) as client:
            _infer_texts(client, service, texts or (), top_k, threshold, as_json)
        return
    with Client(address(url), timeout_s=timeout, retry=PATIENT) as client:
        from trident.scoring.job import Job

        job = Job(
            service=service,
            input=input_,
            output=output,
            column=column,
            input_kind=format_,
            output_kind=output_format,
            prefix=prefix,
            top_k=top_k,
            threshold=threshold,
            resume=resume,
            overwrite=overwrite,
            concurrency=concurrency,
        )
        _infer_file(client, job, progress, as_json)


def _check_no_option_of_files(context: typer.Context) -> None:
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if option.name in OF_FILES and source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter("it is for files; give --input FILE (- is stdin)", param_hint=option.opts[0])


def _infer_texts(
    client: Client, service: str, texts: Sequence[str], top_k: int | None, threshold: float | None, as_json: bool
) -> None:
    for number, chunk in enumerate(read_texts(texts)):
        predictions = client.infer(service, chunk, top_k=top_k, threshold=threshold)
        if as_json:
            for text, prediction in zip(chunk, predictions, strict=True):
                print(_as_json(text, prediction))
        else:
            print_predictions(chunk, predictions, header=number == 0)
        sys.stdout.flush()


def _infer_file(client: Client, job: "Job", progress: bool, as_json: bool) -> None:
    from trident.progress import row_bar
    from trident.scoring.job import score_file

    with ExitStack() as shown:

        def watch(total: int | None, done: "Done") -> "OnProgress":
            name = Path(job.input).name
            return shown.enter_context(row_bar(name, total, done.position, done.rows + done.bad_rows, progress))

        summary = score_file(client, job, watch)
    to = sys.stderr if job.output == "-" else sys.stdout  # where the rows are not
    print(json.dumps(asdict(summary)) if as_json else _describe(summary), file=to)
    if summary.bad_rows:
        raise typer.Exit(1)


def _describe(summary: "Summary") -> str:
    rate = (summary.rows + summary.bad_rows - summary.resumed_rows) / max(summary.duration_s, 1e-3)
    where = "" if summary.output == "-" else f" into {summary.output}"
    text = f"scored {summary.rows:,} rows{where} in {summary.duration_s:.1f} s ({rate:,.0f} rows/s)"
    if summary.resumed_rows:
        text += f"; {summary.resumed_rows:,} were done before"
    if summary.bad_rows:
        text += f"; {summary.bad_rows:,} bad rows" + (f" are in {summary.errors}" if summary.errors else "")
    return text


def _as_json(text: str, prediction: Prediction) -> str:
    labels = [
        {"label": label, "score": round(score, 6)}
        for label, score in zip(prediction.labels, prediction.scores, strict=True)
    ]
    return json.dumps({"text": text, "labels": labels}, ensure_ascii=False)
