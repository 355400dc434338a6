"""What `--help` says: an example for each command, and summaries that are not cut off."""

from collections.abc import Iterator
from typing import Any

import pytest
import shellingham  # type: ignore[import-untyped]
import typer
from trident.cli import app
from typer.testing import CliRunner


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of each command that does something."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        if not hasattr(command, "commands") or command.invoke_without_command:
            yield (*path, name)


COMMANDS = sorted(commands(typer.main.get_command(app)))
COMMAND_OF_IMPORT: Any = typer.main.get_command(app).commands["import"]  # type: ignore[attr-defined]
# The commands without an option that all others have, and why.
WITHOUT_SERVER = {
    ("backend", "install"): "it copies files",
    ("build",): "it writes files, of which no server reads anything before they are released",
    ("demo",): "it starts a server of its own",
    ("import",): "it writes files",
    ("new", "stage"): "it writes a file",
    ("perf-analyzer",): "all its arguments are perf_analyzer's, -u among them",
    ("serve",): "it is the server; --start-timeout and --exit-timeout are its times",
    ("train",): "it writes files",
    ("tune",): "it measures on servers of its own; --minutes is its time",
}
WITHOUT_TIMEOUT = {("gateway",): "its callers say how long they wait"}
WITHOUT_JSON = {("perf-analyzer",): "all its arguments are perf_analyzer's"}


def options(words: tuple[str, ...]) -> dict[str, Any]:
    """The options of a command by name."""
    command: Any = typer.main.get_command(app)
    for word in words:
        command = command.commands[word]
    return {name: option for option in command.params for name in option.opts}


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_has_an_example_in_its_help(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*words, "--help"])
    assert result.exit_code == 0
    assert f"\n  trident {' '.join(words)}" in result.output


def test_the_help_of_import_fits_on_a_screen_and_explains_every_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = CliRunner().invoke(app, ["import", "--help"]).output.splitlines()
    assert len(lines) <= 50
    assert max(map(len, lines)) <= 80
    options = [option for option in COMMAND_OF_IMPORT.params if option.name != "help"]
    assert len(options) > 25
    assert all(option.help and f"{option.opts[-1]} " in "\n".join(lines) for option in options[1:])


@pytest.mark.parametrize("words", [(), ("backend",), ("models",), ("new",)], ids=" ".join)
def test_no_summary_is_cut_off_in_eighty_columns(words: tuple[str, ...]) -> None:
    lines = CliRunner().invoke(app, [*words, "--help"]).output.splitlines()
    summaries = lines[lines.index("Commands:") + 1 :]
    assert summaries
    assert not [line for line in summaries if line.rstrip().endswith(("…", "..."))]


@pytest.mark.parametrize("words", sorted({*COMMANDS} - {*WITHOUT_SERVER}), ids=" ".join)
def test_a_command_is_told_which_server_and_for_how_long(words: tuple[str, ...]) -> None:
    assert options(words)["--url"].envvar == "TRIDENT_URL"
    assert ("--timeout" in options(words)) == (words not in WITHOUT_TIMEOUT)


@pytest.mark.parametrize("words", sorted({*COMMANDS} - {*WITHOUT_JSON}), ids=" ".join)
def test_a_command_prints_json_for_machines(words: tuple[str, ...]) -> None:
    assert options(words)["--json"].is_flag


def test_the_exceptions_are_commands_that_need_them() -> None:
    assert {*WITHOUT_SERVER, *WITHOUT_JSON, *WITHOUT_TIMEOUT} <= {*COMMANDS}
    assert not [words for words in WITHOUT_SERVER if {"--url", "--timeout"} & {*options(words)}]
    assert not [words for words in WITHOUT_JSON if "--json" in options(words)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [("trident mod", {"models"}), ("trident models ", {"load", "unload", "remove"}), ("trident infer --ur", {"--url"})],
)
def test_a_shell_completes_commands_and_options(line: str, expected: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shellingham, "detect_shell", lambda: ("bash", "/bin/bash"))  # of whoever runs the tests
    asked = {"_TRIDENT_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    result = CliRunner().invoke(app, [], prog_name="trident", env=asked)
    assert set(result.output.split()) == expected
    assert "complete_bash" in CliRunner().invoke(app, ["--show-completion", "bash"], prog_name="trident").output
