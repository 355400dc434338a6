"""The default service's models that are committed are what `build` writes."""

import json
from pathlib import Path

import pytest
from trident.configs import render
from trident.pipeline import design
from trident.service import load_service

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "model_repository"
STAGES = ROOT / "ensemble" / "trident" / "stages"
REMEDY = "build it anew: make clean demo"


@pytest.mark.parametrize(
    ("model", "stage", "names"),
    [
        ("spam_preprocess", "text", ["keras_tokenizer.py", "preprocess.py", "requirements.txt", "stage.py"]),
        ("spam_postprocess", "classification", ["postprocess.py", "stage.py"]),
    ],
)
def test_the_stage_code_is_that_of_the_package(model: str, stage: str, names: list[str]) -> None:
    version = COMMITTED / model / "1"
    sources = [path.name for path in (STAGES / stage).iterdir() if path.suffix in (".py", ".txt")]
    assert sorted({*sources} - {"__init__.py"}) == names
    for name in ("model.py", "gate.py"):
        assert (version / name).read_bytes() == (STAGES / name).read_bytes(), REMEDY
    differing = [name for name in names if (version / name).read_bytes() != (STAGES / stage / name).read_bytes()]
    assert differing == [], REMEDY


def test_the_configs_are_those_of_the_default_service(service_folder: Path) -> None:
    """The fixture's service has the default settings, the tensors and the number of labels of `spam`."""
    service = load_service(service_folder)
    texts = render(service, design(service), version=1, kept=[1], ragged=True)
    assert {name: (COMMITTED / name / "config.pbtxt").read_text(encoding="utf-8") for name in texts} == texts, REMEDY


def test_the_settings_are_those_of_the_default_service(service_folder: Path) -> None:
    pipeline = design(load_service(service_folder))
    for step, stage in (("preprocess", pipeline.preprocess), ("postprocess", pipeline.postprocess)):
        assert stage is not None
        committed = (COMMITTED / f"spam_{step}" / "1" / "settings.json").read_text(encoding="utf-8")
        assert json.loads(committed) == stage.settings, REMEDY
