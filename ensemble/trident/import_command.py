"""`trident import` and `trident new stage`: the options, and what is printed."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table

from trident.errors import ServiceError
from trident.options import AsJson
from trident.output import print_table

if TYPE_CHECKING:
    from trident.importing import ImportReport


Task = Literal[
    "text-classification", "text-embedding", "token-classification", "image-classification", "tabular", "tensors"
]
Padding = Literal["longest", "pre", "post"]
Truncation = Literal["pre", "post"]
Activation = Literal["softmax", "sigmoid", "none"]
Pooling = Literal["mean", "cls", "max"]
Scaling = Literal["none", "unit", "tf", "caffe", "torch"]
Resize = Literal["stretch", "crop", "pad"]
Request = Literal["columns", "record"]


# ruff: noqa: E501  (an option a line, as in --help)
def import_(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A .keras or .h5 file, or a SavedModel's folder.", show_default=False)],
    task: Annotated[Task, typer.Option(metavar="TASK", help="What the service does, see above.", show_default=False)],
    name: Annotated[str, typer.Option(metavar="NAME", help="Of the service.", show_default=False)],
    services: Annotated[Path, typer.Option(metavar="DIR", help="Where service folders lie.")] = Path("services"),
    tokenizer: Annotated[Path | None, typer.Option(metavar="FILE", exists=True, dir_okay=False, help="tokenizer.json, vocab.txt or Keras' JSON.")] = None,
    labels: Annotated[Path | None, typer.Option(metavar="FILE", exists=True, dir_okay=False, help="A label a line, as the outputs are ordered.")] = None,
    features: Annotated[Path | None, typer.Option(metavar="FILE", exists=True, dir_okay=False, help="tabular: how records become numbers.")] = None,
    signature: Annotated[str, typer.Option(metavar="NAME", help="Of a SavedModel.")] = "serving_default",
    max_length: Annotated[int | None, typer.Option(metavar="N", min=1, max=8192, help="Tokens of a text; else the model's, or 128.")] = None,
    padding: Annotated[Padding | None, typer.Option(metavar="longest|pre|post", help="pre, post: to --max-length, there.")] = None,
    truncation: Annotated[Truncation | None, typer.Option(metavar="pre|post", help="Where a long text loses tokens.")] = None,
    lowercase: Annotated[bool | None, typer.Option(help="Of a vocab.txt; else found out.")] = None,
    activation: Annotated[Activation | None, typer.Option(metavar="softmax|sigmoid|none", help="Else found out.")] = None,
    multi_label: Annotated[bool, typer.Option("--multi-label", help="Any number of labels may be right.")] = False,
    top_k: Annotated[int | None, typer.Option(metavar="N", min=1, help="Labels of an answer; else 1, or all.")] = None,
    threshold: Annotated[float | None, typer.Option(metavar="X", min=0, max=1, help="Leave out lower scores; else 0, or 0.5.")] = None,
    pooling: Annotated[Pooling | None, typer.Option(metavar="mean|cls|max", help="Of token states; else mean.")] = None,
    image_size: Annotated[str | None, typer.Option(metavar="HxW", help="Height and width; else the model's.")] = None,
    scaling: Annotated[Scaling | None, typer.Option(metavar="KIND", help="Pixels: none, unit, tf, caffe, torch.")] = None,
    resize: Annotated[Resize | None, typer.Option(metavar="KIND", help="Images: stretch, crop, pad.")] = None,
    invert: Annotated[bool, typer.Option("--invert", help="Black and white change places.")] = False,
    request: Annotated[Request | None, typer.Option(metavar="columns|record", help="tabular: inputs, or JSON.")] = None,
    input_: Annotated[list[str] | None, typer.Option("--input", metavar="PART=NAME", help="input_ids=..., pixels=...; renames tensors.")] = None,
    output: Annotated[list[str] | None, typer.Option(metavar="PART=NAME", help="logits=..., states=..., output=...")] = None,
    preprocess: Annotated[Path | None, typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Your own stage, see `trident new stage`.")] = None,
    postprocess: Annotated[Path | None, typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Likewise, behind the model.")] = None,
    requirement: Annotated[list[str] | None, typer.Option(metavar="PACKAGE", help="That your stages import.")] = None,
    sample: Annotated[Path | None, typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Verify on it too: a text a line, or .npz.")] = None,
    allow_unsafe: Annotated[bool, typer.Option("--allow-unsafe", help="Run code that the file holds.")] = False,
    custom_objects: Annotated[str | None, typer.Option(metavar="MODULE", help="With the model's own classes.")] = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Turn a trained model into a service folder, and verify it.

    \b
    TASK: text-classification, text-embedding, token-classification,
          image-classification, tabular, tensors
    trident import model.keras --task text-classification --name reviews \\
        --tokenizer tokenizer.json --labels labels.txt
    """  # noqa: D301 - click's mark for lines that stay as they are
    from trident.importing import ImportOptions, import_model

    height, width = _size(image_size)
    options = ImportOptions(
        task=task,
        tokenizer=tokenizer,
        labels=labels,
        features=features,
        signature=signature,
        inputs=_pairs("--input", input_),
        outputs=_pairs("--output", output),
        preprocess=_given(
            max_length=max_length,
            padding=padding,
            truncation=truncation,
            lowercase=lowercase,
            height=height,
            width=width,
            scaling=scaling,
            resize=resize,
            invert=invert or None,
            request=request,
        ),
        postprocess=_given(activation=activation, top_k=top_k, threshold=threshold, pooling=pooling),
        stages=_given(preprocess=preprocess, postprocess=postprocess),
        requirements=tuple(requirement or ()),
        multi_label=multi_label,
        sample=sample,
        allow_unsafe=allow_unsafe,
        custom_objects=custom_objects,
    )
    report = import_model(model, name, services, options)
    if as_json:
        print(json.dumps(asdict(report), default=str, indent=2))
    else:
        _print(report)


def new_stage(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it, such as my_stage.py.")],
    as_json: AsJson = False,
) -> None:
    """Write the template of a stage of your own.

    \b
    trident new stage my_stage.py
    trident import model.keras --task tensors --name mine --preprocess my_stage.py
    """  # noqa: D301
    from trident.custom_stages import new_stage as write

    write(path)
    if as_json:
        print(json.dumps({"stage": str(path)}))
        return
    print(f"wrote {path}; edit it, then: trident import MODEL --preprocess {path} ...")


def _given(**values: Any) -> dict[str, Any]:
    """The options that were set."""
    return {key: value for key, value in values.items() if value is not None}


def _pairs(option: str, entries: Sequence[str] | None) -> dict[str, str]:
    pairs = {}
    for entry in entries or ():
        part, equals, name = entry.partition("=")
        if not (part and equals and name):
            raise ServiceError(f"{option} is '{entry}'; expected PART=NAME, such as input_ids=token_ids")
        pairs[part] = name
    return pairs


def _size(text: str | None) -> tuple[int | None, int | None]:
    if text is None:
        return None, None
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if found is None:
        raise ServiceError(f"--image-size is '{text}'; expected HEIGHTxWIDTH in pixels, such as 224x224")
    return int(found[1]), int(found[2])


def _print(report: "ImportReport") -> None:
    table = Table("", "part", "tensor", "data type", "shape")
    for kind, entries in (("in", report.inputs), ("out", report.outputs)):
        for entry in entries:
            row = (entry["part"], entry["tensor"], entry["data_type"], str(entry["shape"]))
            table.add_row(kind, *map(escape, row))
    print_table(table)
    print(f"signature {report.signature}, {report.parameters:,} parameters, {report.size_bytes / 1e6:.1f} MB", end="")
    print(f", loaded by {report.loader}")
    sampled = f", {report.sampled} of them from the sample" if report.sampled else ""
    print(f"verified: export and original agree to {report.difference:.1g} on {report.verified} batches{sampled}")
    for note in report.notes:
        print(f"note: {note}")
    print(f"service folder: {report.service}   next: trident build {report.service}")
