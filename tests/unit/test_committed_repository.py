"""The default service's models that are committed are what `build` writes."""

from pathlib import Path

import pytest
from trident.configs import render
from trident.service import Postprocess, Preprocess, Spec

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "model_repository"
STAGES = ROOT / "ensemble" / "trident" / "stages"
REMEDY = "build it anew: make clean demo"


@pytest.mark.parametrize(
    ("model", "stage", "names"),
    [
        ("spam_preprocess", "text", ["model.py", "preprocess.py", "requirements.txt"]),
        ("spam_postprocess", "classification", ["model.py", "postprocess.py"]),
    ],
)
def test_the_stage_code_is_that_of_the_package(model: str, stage: str, names: list[str]) -> None:
    version = COMMITTED / model / "1"
    sources = [path.name for path in (STAGES / stage).iterdir() if path.suffix in (".py", ".txt")]
    assert sorted({*sources} - {"__init__.py"}) == names
    differing = [name for name in names if (version / name).read_bytes() != (STAGES / stage / name).read_bytes()]
    assert differing == [], REMEDY


def test_the_configs_are_those_of_the_default_service() -> None:
    texts = render(Spec(name="spam", task="text-classification"), classes=2, version=1, kept=[1], ragged=True)
    assert {name: (COMMITTED / name / "config.pbtxt").read_text(encoding="utf-8") for name in texts} == texts, REMEDY


def test_the_settings_are_those_of_the_default_service() -> None:
    preprocess = (COMMITTED / "spam_preprocess" / "1" / "settings.json").read_text(encoding="utf-8")
    postprocess = (COMMITTED / "spam_postprocess" / "1" / "settings.json").read_text(encoding="utf-8")
    assert preprocess == Preprocess().model_dump_json(exclude={"tokenizer"}, indent=2) + "\n", REMEDY
    assert postprocess == Postprocess().model_dump_json(exclude={"labels"}, indent=2) + "\n", REMEDY
