"""What `trident tune` writes and says, with measurements that are made up."""

import json
from pathlib import Path
from typing import Any

import pytest
from trident.candidates import Candidate, Machine
from trident.cli import app
from trident.errors import BenchError, ServiceError
from trident.service import load_spec
from trident.trials import Trials
from trident.tuning import Figures
from typer.testing import CliRunner, Result


@pytest.fixture(autouse=True)
def _made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two instances gain a half with all callers, and a tenth of the texts differ in bf16."""

    def measure(trials: Trials, candidate: Candidate) -> Figures:
        trials.differing[candidate] = 0.0
        throughput = 150.0 if candidate.model_instances == 2 else 100.0
        return Figures(throughput, 3000 / throughput, 10.0)

    monkeypatch.setattr(Trials, "measure", measure)
    monkeypatch.setattr(Trials, "prepare", lambda trials: None)
    monkeypatch.setattr("trident.trials.this_machine", lambda: Machine(2, 0, bf16=False, openvino=False))
    monkeypatch.setattr("trident.repository.probing.probe", lambda service, pipeline: True)
    monkeypatch.setattr("trident.perf_analyzer.version", lambda: "2.40.0")


def tune(service_folder: Path, *options: object) -> Result:
    texts = service_folder / "texts.txt"
    texts.write_text("a prize\nhello\n", encoding="utf-8")
    folders = ["--services", service_folder.parent, "--model-repository", service_folder.parent / "repository"]
    return CliRunner().invoke(app, [str(part) for part in ("tune", "spam", "--texts", texts, *folders, *options)])


def test_the_best_is_written_and_built(service_folder: Path) -> None:
    before = (service_folder / "service.toml").read_text(encoding="utf-8")
    result = tune(service_folder)
    assert result.exit_code == 0, result.output
    best = "model_instances = 2, parallel_calls = 1"
    assert f"{best}: +50% and +50% in two rounds (requests/s of 32 callers)" in result.stdout
    assert f"wrote model_instances, parallel_calls into {service_folder / 'service.toml'}; built spam" in result.stdout
    assert "untuned: 32 callers 100.0 requests/s, p99 30.0 ms; alone 10.00 ms" in result.stderr
    assert (service_folder / "service.toml").read_text(encoding="utf-8").startswith(before)
    assert load_spec(service_folder).serving.model_instances == 2
    assert "count: 2" in (service_folder.parent / "repository" / "spam_model" / "config.pbtxt").read_text()


def test_what_changed_meanwhile_is_built_with_the_best(service_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten minutes pass, in which others train again and edit the settings."""
    toml = service_folder / "service.toml"

    def change(trials: Trials) -> None:
        (service_folder / "labels.txt").write_text("ham\nscam\n", encoding="utf-8")
        toml.write_text(toml.read_text(encoding="utf-8") + "[serving]\nmax_queue_size = 7\n", encoding="utf-8")

    monkeypatch.setattr(Trials, "prepare", change)
    result = tune(service_folder)
    assert result.exit_code == 0, result.output
    repository = service_folder.parent / "repository"
    assert (repository / "spam_postprocess" / "1" / "labels.txt").read_text() == "ham\nscam\n"
    assert 'string_value: "7"' in (repository / "spam_preprocess" / "config.pbtxt").read_text()
    serving = load_spec(service_folder).serving
    assert (serving.max_queue_size, serving.model_instances) == (7, 2)


def test_a_dry_run_changes_nothing(service_folder: Path) -> None:
    before = (service_folder / "service.toml").read_bytes()
    result = tune(service_folder, "--dry-run")
    assert "--dry-run: " in result.stdout
    assert (service_folder / "service.toml").read_bytes() == before
    assert not (service_folder.parent / "repository").exists()


def test_what_cannot_be_built_is_not_written(service_folder: Path) -> None:
    foreign = service_folder.parent / "repository" / "spam"
    foreign.mkdir(parents=True)
    (foreign / "config.pbtxt").write_text('name: "spam"\nbackend: "python"\n')
    before = (service_folder / "service.toml").read_bytes()
    assert isinstance(tune(service_folder).exception, ServiceError)
    assert (service_folder / "service.toml").read_bytes() == before


def test_what_gains_too_little_changes_nothing(service_folder: Path) -> None:
    before = (service_folder / "service.toml").read_bytes()
    result = tune(service_folder, "--for", "latency")
    assert "the settings stay" in result.stdout
    assert (service_folder / "service.toml").read_bytes() == before


def test_all_of_it_is_printed_for_machines(service_folder: Path) -> None:
    found: dict[str, Any] = json.loads(tune(service_folder, "--json", "--p99-ms", "25").stdout)
    assert (found["changes"], found["written"]) == ({"model_instances": 2, "parallel_calls": 1}, True)
    assert found["goal"] == {"latency": False, "p99_ms": 25.0, "concurrency": 32}
    best = next(trial for trial in found["trials"] if trial["candidate"]["model_instances"] == 2)
    assert (best["figures"]["throughput"], len(best["rounds"])) == (150.0, 2)


def test_only_services_of_texts_are_tuned(service_folder: Path) -> None:
    (service_folder / "service.toml").write_text('name = "spam"\ntask = "tensors"\n')
    result = tune(service_folder)
    assert isinstance(result.exception, BenchError)
    assert str(result.exception) == "'spam' is a service of tensors; only services of texts are tuned"
