"""What commands print for machines: JSON alone on stdout."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from trident import demo
from trident.cli import app
from trident.demo import DemoReport
from typer.testing import CliRunner

REPORT = DemoReport(
    "services/spam", True, 0.99, 933, 1, True, 6.2, {"http": [{"text": "a", "label": "ham", "score": 1}]}
)


def test_the_demo_prints_its_figures_and_tells_its_story_on_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(data: Path, services: Path, model_repository: Path) -> DemoReport:
        print("1. Train")
        return REPORT

    monkeypatch.setattr(demo, "run", run)
    result = CliRunner().invoke(app, ["demo", "--json"])
    assert json.loads(result.stdout) == asdict(REPORT)
    assert result.stderr == "1. Train\n"
    assert CliRunner().invoke(app, ["demo"]).stdout == "1. Train\n"


def test_new_stage_prints_what_it_wrote(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["new", "stage", str(tmp_path / "mine.py"), "--json"])
    assert json.loads(result.stdout) == {"stage": str(tmp_path / "mine.py")}
    assert (tmp_path / "mine.py").is_file()
