"""Every block of README.md is run, and does what the README shows.

`console` blocks are sessions: lines that begin with `$ ` are commands, the others what they print, where every
number may differ. `trident serve` goes to the background, and all ports are moved to free ones.
"""

import dataclasses
import json
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomlkit
from conftest import ROOT
from e2e_project import Project
from trident.server.lifecycle import _choose_ports
from trident.service import TASKS, TextClassification
from trident.stages.tabular.features import Category, Number, read_features

README = (ROOT / "README.md").read_text(encoding="utf-8")
INSTALL = "trident backend install /opt/tritonserver/backends"
KINDS = {"sh", "text", "console", "python", "toml", "json"}


def section(title: str) -> str:
    """The README's text below a heading, up to the next."""
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def blocks(kind: str, text: str = README) -> list[str]:
    """The fenced blocks of one kind, in order."""
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def session(part: str) -> list[tuple[str, list[str]]]:
    """All commands of a part's console blocks with the lines that they print."""
    steps: list[tuple[str, list[str]]] = []
    for line in "".join(blocks("console", part)).splitlines():
        if line.startswith("$ "):
            steps.append((line[2:], []))
        else:
            steps[-1][1].append(line)
    return steps


def skeleton(text: str) -> str:
    """A text without what may differ from run to run: numbers and the width of blanks."""
    return " ".join(re.sub(r"\d[\d,]*(\.\d+)?(e-\d+)?", "#", text).split())


class Terminal:
    """Runs the README's commands in a folder, on free ports."""

    def __init__(self, folder: Path, environment: dict[str, str], state: Path) -> None:
        self.folder = folder
        self.environment = environment | {"TRIDENT_STATE_DIR": str(state)}
        self.server: subprocess.Popen[str] | None = None
        self._choose_ports()

    def _choose_ports(self) -> None:
        # Below those that connections of other tests take while the server begins to start.
        wanted = iter(random.SystemRandom().sample(range(20_000, 32_000), 3))
        chosen = _choose_ports({"http": next(wanted), "grpc": next(wanted), "metrics": next(wanted)})
        self.ports = {"8000": str(chosen["http"]), "8001": str(chosen["grpc"]), "8002": str(chosen["metrics"])}
        self.environment["TRIDENT_URL"] = f"http://127.0.0.1:{self.ports['8000']}"

    def run(self, command: str) -> str:
        """What a command prints; it must succeed."""
        if command == "trident serve":
            return self._serve()
        result = subprocess.run(
            ["bash", "-c", self.moved(command)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert result.returncode == 0, (command, result.stdout, result.stderr)
        return result.stdout

    def moved(self, text: str) -> str:
        """The text with free ports instead of the default ones."""
        return re.sub(r"\b800[012]\b", lambda match: self.ports[match.group()], text)

    def _serve(self) -> str:
        if self.server is not None:  # the one before has been stopped
            self.server.communicate(timeout=60)
        self._choose_ports()  # just now, since somebody else may have taken those before
        options = [
            f"--{name}-port={self.ports[port]}"
            for name, port in (("http", "8000"), ("grpc", "8001"), ("metrics", "8002"))
        ]
        self.server = subprocess.Popen(
            ["trident", "serve", *options],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.server.stdout is not None
        printed = ""
        while (line := self.server.stdout.readline()) and not line.startswith("log "):
            printed += line
        return printed


@pytest.fixture(scope="module")
def terminal(
    project: Project, shell_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Terminal]:
    """One terminal for the whole session; a server that still runs at the end is stopped."""
    copy = Path(shutil.copytree(project.folder, tmp_path_factory.mktemp("readme") / "project"))
    opened = Terminal(copy, shell_environment, tmp_path_factory.mktemp("readme_state"))
    yield opened
    if opened.server is not None:
        if opened.server.poll() is None:
            opened.server.send_signal(signal.SIGTERM)
        opened.server.communicate(timeout=60)


def test_there_are_no_blocks_of_other_kinds() -> None:
    opening = re.findall(r"^```(\w*)$", README, re.MULTILINE)[::2]
    assert set(opening) == KINDS


@pytest.mark.timeout(600)
def test_the_sessions_do_what_they_show(terminal: Terminal) -> None:
    """In the README's order, one after the other in the same folder."""
    for title, python in (("A session", "From Python"), ("Import a model", "Import a model")):
        for command, shown in session(section(title)):
            if command == "trident stop":  # the Python blocks need the server too
                for code in blocks("python", section(python)):
                    _run_python(terminal, code)
            printed = skeleton(terminal.run(command))
            for line in shown:
                assert skeleton(terminal.moved(line)) in printed, (command, line, printed)


def _run_python(terminal: Terminal, code: str) -> None:
    """Run a block; each comment that begins with a bracket or a capital letter is what it prints."""
    result = subprocess.run(
        [sys.executable, "-c", terminal.moved(code)],
        cwd=terminal.folder,
        env=terminal.environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, (code, result.stderr)
    assert result.stdout.strip()
    for expected in re.findall(r"# ([\[A-Z].*)$", code, re.MULTILINE):
        assert skeleton(expected) in skeleton(result.stdout), (expected, result.stdout)


def test_the_end_of_the_demo_is_as_shown(project: Project) -> None:
    (shown,) = blocks("text")
    printed = skeleton(project.demo)
    for line in shown.splitlines():
        assert skeleton(line) in printed


def test_the_commands_outside_a_session_are_known(project: Project, tmp_path: Path) -> None:
    """`make demo` is what the fixture `project` ran; `make test` is this; the others are tried in other tests."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    serve = "trident serve --model-repository /path/to/your/repository"
    releases = ["trident release spam", "trident rollback spam"]
    gateway = "trident gateway"
    tune = "trident tune spam --texts data/sms_spam.tsv"
    assert lines == ["make demo", "make test", *releases, tune, serve, INSTALL, gateway]
    assert "-m pytest" in project.make("-n", "test").stdout


def test_the_backend_is_put_into_another_triton(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "python").mkdir()
    terminal.run(INSTALL.replace("/opt/tritonserver/backends", str(tmp_path)))
    assert (tmp_path / "tensorflow" / "model.py").is_file()


def test_the_service_toml_shows_all_keys_with_their_defaults() -> None:
    (text,) = blocks("toml")
    shown = tomlkit.parse(text).unwrap()
    defaults = TextClassification(name="spam")
    assert TextClassification.model_validate(shown) == defaults
    assert {key: sorted(value) for key, value in shown.items() if isinstance(value, dict)} == {
        key: sorted(value) for key, value in defaults.model_dump().items() if isinstance(value, dict)
    }


def test_the_features_file_shows_every_key(tmp_path: Path) -> None:
    (text,) = blocks("json")
    (tmp_path / "features.json").write_text(text, encoding="utf-8")
    features = read_features(tmp_path / "features.json")
    assert features.widths() == {"features": 4}
    shown = {key for column in json.loads(text)["columns"] for key in column}
    assert shown == {"type"} | {field.name for kind in (Number, Category) for field in dataclasses.fields(kind)}


def test_the_table_of_the_other_tasks_has_all_their_keys() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \|(.*)\|(.*)\|$", section("service.toml"), re.MULTILINE)
    assert {task for task, _, _ in rows} == set(TASKS) - {"text-classification"}
    for task, *cells in rows:
        for cell, table in zip(cells, ("preprocess", "postprocess"), strict=True):
            declared = TASKS[task].model_fields[table].annotation
            assert declared is not None
            assert cell.strip() == "as above" or set(re.findall(r"`(\w+)`", cell)) == set(declared.model_fields), (
                task,
                table,
            )
