"""`make demo` in a fresh clone: trained, built, served, asked, stopped, and nothing left to commit."""

import json
import re

from e2e_project import Project

COMMANDS = ("trident serve", 'trident infer spam "You won a free prize, call now"', "trident --help")


def _rows(output: str, protocol: str) -> list[str]:
    lines = output.split(f"over {protocol}:\n")[1].splitlines()
    return lines[1:6]


def test_the_accuracy_is_printed_and_reached(project: Project) -> None:
    metrics = json.loads((project.folder / "services" / "spam" / "metrics.json").read_text())
    assert f"held-out accuracy {metrics['accuracy']:.4f}" in project.demo
    assert metrics["accuracy"] >= 0.985
    assert metrics["per_class"]["spam"]["f1"] >= 0.94


def test_all_models_are_shown_ready(project: Project) -> None:
    assert len(re.findall(r"spam(_\w+)? +│ 1 +│ READY", project.demo)) == 4


def test_both_protocols_give_the_same_five_answers(project: Project) -> None:
    over_http, over_grpc = (_rows(project.demo, protocol) for protocol in ("HTTP", "gRPC"))
    assert [row.split()[0] for row in over_http] == ["ham", "ham", "ham", "spam", "spam"]
    assert over_http == over_grpc


def test_it_ends_with_three_commands_to_go_on_with(project: Project) -> None:
    last = project.demo.splitlines()[-3:]
    assert [line.split(".venv/bin/")[1] for line in last] == list(COMMANDS)


def test_a_second_run_trains_and_builds_nothing(project: Project) -> None:
    model = project.folder / "services" / "spam" / "metrics.json"
    before = model.stat().st_mtime_ns
    result = project.make("demo")
    assert result.returncode == 0, result.stderr
    assert model.stat().st_mtime_ns == before
    assert "is there already" in result.stdout
    assert not (project.folder / "model_repository" / "spam" / "2").exists()


def test_nothing_is_left_to_commit(project: Project) -> None:
    assert project.git("status", "--porcelain") == ""


def test_the_service_folder_is_complete(project: Project) -> None:
    folder = project.folder / "services" / "spam"
    assert sorted(path.name for path in folder.iterdir()) == [
        "confusion_matrix.png",
        "labels.txt",
        "metrics.json",
        "model.savedmodel",
        "service.toml",
        "tokenizer.json",
    ]
    assert (folder / "confusion_matrix.png").read_bytes().startswith(b"\x89PNG")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert set(metrics) >= {"accuracy", "per_class", "confusion_matrix", "data", "seed", "versions", "training_s"}
    assert sum(map(sum, metrics["confusion_matrix"])) == metrics["data"]["test"]
