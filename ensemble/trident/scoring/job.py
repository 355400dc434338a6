"""A file through a service: what `trident infer --input` does."""

import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from trident_client import Client, ClientError

from trident.errors import ScoringError
from trident.scoring.formats import Answer, CsvFormat, Format, JsonlFormat, LabelAnswer, TsvFormat, ValueAnswer, taken
from trident.scoring.images import ImageSource, is_images
from trident.scoring.journal import Done, Journal
from trident.scoring.loop import Loop, OnProgress
from trident.scoring.records import RecordSource
from trident.scoring.rows import Source
from trident.scoring.scorer import ClientScorer, VersionChanged
from trident.scoring.sinks import Sink, StdoutSink, TextSink
from trident.scoring.targets import FileTarget, Places, StreamTarget
from trident.scoring.text_sources import STDIN, CsvSource, JsonlSource, TsvSource

STDOUT = "-"
OutputKind = Literal["csv", "tsv", "jsonl", "parquet"]
InputKind = Literal["csv", "tsv", "jsonl", "parquet", "images"]

Watch = Callable[[int | None, Done], OnProgress]  # gets the total and what is done; is told when that changes


@dataclass(frozen=True)
class Job:
    """What to score, and how.

    Attributes:
        service: its name.
        input: a file, a folder, a pattern, or `-`.
        output: a file, or `-`.
        column: of the texts; without meaning for a tabular service, whose inputs are columns by name.
        input_kind: the input's format; None: by its name.
        output_kind: the output's; None: by its name, and on stdout the input's, or JSONL.
        prefix: of the names of the prediction's columns.
        top_k: labels of a row; None: the best.
        threshold: leave out lower scores, in [0, 1]; None: the service's default.
        resume: go on with a run that was interrupted, if there is one.
        overwrite: replace what is there.
        concurrency: requests under way at once, ≥ 1.
    """

    service: str
    input: str
    output: str = STDOUT
    column: str = "text"
    input_kind: InputKind | None = None
    output_kind: OutputKind | None = None
    prefix: str = ""
    top_k: int | None = None
    threshold: float | None = None
    resume: bool = False
    overwrite: bool = False
    concurrency: int = 8


@dataclass(frozen=True)
class Summary:
    """What came of it.

    Attributes:
        output: the file, or `-`.
        rows: scored, those of interrupted runs included.
        bad_rows: likewise.
        errors: the file of bad rows, if there are any and the output is a file.
        resumed_rows: of both kinds, that earlier runs had done.
        duration_s: of this run.
    """

    output: str
    rows: int
    bad_rows: int
    errors: str | None
    resumed_rows: int
    duration_s: float


def score_file(client: Client, job: Job, watch: Watch) -> Summary:
    """Score an input row by row.

    Args:
        client: that threads may share.
        job: what to do.
        watch: called once before the first row.

    Raises:
        ScoringError: the input or the output cannot be used, and nothing was changed; or the disk refuses, and what was
            answered before is kept; or another version of the service is released, and what the former one answered
            until the last checkpoint is kept.
        ClientError: the server fails or is gone; what it answered is kept.
    """
    began = time.monotonic()
    output_kind = _output_kind(job)
    places = Places(_followed(Path(job.output))) if job.output != STDOUT else None
    if places is not None:
        _check_places(job, places)
    elif job.resume:
        raise ScoringError("--resume needs a file to go on with; give --output FILE")
    scorer = ClientScorer(
        client,
        job.service,
        "image" if _input_kind(job) == "images" else "text",
        top_k=job.top_k,
        threshold=job.threshold,
        concurrency=job.concurrency,
    )
    answer = ValueAnswer(job.prefix) if scorer.answers_value else LabelAnswer(job.prefix, job.top_k)
    with closing(_source(job, output_kind, scorer)) as source:
        if reason := taken(answer, source.columns):
            raise ScoringError(f"{job.input}: {reason}")
        if places is None:
            loop = _stream(source, scorer, _format(output_kind, source, answer), watch)
            return Summary(job.output, loop.rows, loop.bad_rows, None, 0, time.monotonic() - began)
        try:
            done, before = _files(job, output_kind, places, source, scorer, answer, watch)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)  # Arrow's have more words
            raise ScoringError(
                f"cannot write {error.filename or places.output}: {reason}; what is done is kept. Free space or mend "
                "the path, then go on with --resume"
            ) from error
    errors = str(places.errors) if done.bad_rows else None
    return Summary(job.output, done.rows, done.bad_rows, errors, before, time.monotonic() - began)


def _stream(source: Source, scorer: ClientScorer, form: Format, watch: Watch) -> Loop:
    loop = Loop(source, scorer, StreamTarget(StdoutSink(form)), Done(), watch(source.total, Done()))
    try:
        loop.run()
    except VersionChanged as error:
        raise ScoringError(f"{error}, so that rows of both may be in what was written; start anew") from error
    return loop


def _files(
    job: Job, kind: OutputKind, places: Places, source: Source, scorer: ClientScorer, answer: Answer, watch: Watch
) -> tuple[Done, int]:
    """What is done in the end, and how many rows were at the beginning."""
    sink = _sink(kind, places.part, source, answer)
    about = _about(job, kind, source, scorer)
    with FileTarget(places, sink, Journal(places.journal, about), resume=job.resume) as target:
        before = target.done
        if not before.complete:
            try:
                Loop(source, scorer, target, before, watch(source.total, before)).run()
            except ClientError as error:
                raise type(error)(f"{error}; {_kept(target)}, go on with --resume") from error
            except VersionChanged as error:
                raise ScoringError(
                    f"{error}; {_kept(target)}, all by version {scorer.versions}. Go back to it (`trident rollback "
                    f"{job.service}`) and go on with --resume, or start anew with --overwrite"
                ) from error
        if source.fingerprint is not None:
            with closing(_source(job, kind, scorer)) as again:
                if again.fingerprint != source.fingerprint:
                    raise ScoringError(f"{job.input} changed while it was read; start anew with --overwrite")
        target.finish()
        return target.done, before.rows + before.bad_rows


def _kept(target: FileTarget) -> str:
    return f"{target.done.rows + target.done.bad_rows:,} rows are done"


def _followed(output: Path) -> Path:
    """Where a link leads to, so that the file is replaced and not the link."""
    return output.resolve() if output.is_symlink() else output


def _check_places(job: Job, places: Places) -> None:
    if job.resume and job.overwrite:
        raise ScoringError("--resume goes on with what --overwrite would replace; give one of them")
    if job.resume and job.input == STDIN:
        raise ScoringError("--resume cannot read stdin again; give --input FILE")
    for place in (places.output, places.part, places.errors, places.journal):
        if place.exists() and Path(job.input).exists() and place.samefile(job.input):
            raise ScoringError(f"{job.input} is the input, and {place.name} is written; choose another --output")
    places.check(resume=job.resume, overwrite=job.overwrite)


def _about(job: Job, kind: OutputKind, source: Source, scorer: ClientScorer) -> dict[str, object]:
    """What must be the same when a run goes on."""
    return {
        "the input": source.fingerprint,
        "the service": job.service,
        "the service's version": scorer.versions,
        "--column": job.column,
        "--format": _input_kind(job),
        "--output-format": kind,
        "--prefix": job.prefix,
        "--top-k": job.top_k,
        "--threshold": job.threshold,
    }


def _input_kind(job: Job) -> InputKind:
    if job.input_kind is not None:
        if job.input == STDIN and job.input_kind in ("parquet", "images"):
            raise ScoringError(f"{job.input_kind} cannot be read from stdin; give --input FILE")
        return job.input_kind
    if job.input == STDIN:
        raise ScoringError("stdin has no name to tell its format; give --format csv, tsv or jsonl")
    suffix = Path(job.input).suffix.lower().removeprefix(".")
    if suffix in get_args(OutputKind) and Path(job.input).is_file():
        return suffix  # type: ignore[return-value]
    if is_images(job.input):
        return "images"
    if not Path(job.input).exists():
        raise ScoringError(f"no file {job.input} in {Path.cwd()}")
    raise ScoringError(f"{job.input} has another suffix than {_suffixes()}; give --format")


def _output_kind(job: Job) -> OutputKind:
    read = _input_kind(job)
    if job.output != STDOUT:
        suffix = Path(job.output).suffix.lower().removeprefix(".")
        kind = job.output_kind or suffix
        if kind not in get_args(OutputKind):
            raise ScoringError(f"{job.output} has another suffix than {_suffixes()}; give --output-format")
        return kind  # type: ignore[return-value]
    if job.output_kind == "parquet":
        raise ScoringError("Parquet cannot be written to stdout; give --output FILE")
    return job.output_kind or (read if read in ("csv", "tsv") else "jsonl")


def _suffixes() -> str:
    return ", ".join(f".{kind}" for kind in get_args(OutputKind))


def _source(job: Job, output_kind: OutputKind, scorer: ClientScorer) -> Source:
    if scorer.columns is None:
        return _opened(job, output_kind, job.column)
    return RecordSource(_opened(job, output_kind, None), job.input, job.service, scorer.columns)


def _opened(job: Job, output_kind: OutputKind, column: str | None) -> Source:
    kind = _input_kind(job)
    if kind == "images":
        return ImageSource(job.input)
    if kind == "parquet":
        from trident.scoring.parquet import ParquetSource

        return ParquetSource(Path(job.input), column, as_arrow=output_kind == "parquet")
    sources: dict[str, Callable[[str, str | None], Source]] = {"csv": CsvSource, "tsv": TsvSource, "jsonl": JsonlSource}
    return sources[kind](job.input, column)


def _sink(kind: OutputKind, part: Path, source: Source, answer: Answer) -> Sink:
    if kind == "parquet":
        from trident.scoring.parquet import ParquetSink

        return ParquetSink(part, answer, source.columns, getattr(source, "schema", None))
    return TextSink(part, _format(kind, source, answer))


def _format(kind: OutputKind, source: Source, answer: Answer) -> Format:
    if kind == "jsonl":
        return JsonlFormat(answer)
    return {"csv": CsvFormat, "tsv": TsvFormat}[kind](source.columns, answer)
