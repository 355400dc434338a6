"""What `--help` says: an example for each command, and summaries that are not cut off."""

from collections.abc import Iterator
from typing import Any

import pytest
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
TALKING = {("bench",), ("embed",), ("infer",), ("models",), ("models", "load"), ("models", "unload"), ("status",)}
WITHOUT_JSON = {("demo",), ("logs",), ("new", "stage"), ("perf-analyzer",), ("serve",)}  # they have no result to print


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


def test_commands_that_talk_to_a_server_are_told_which_and_for_how_long() -> None:
    found = {words for words in COMMANDS if "--url" in options(words)}
    assert found == {*TALKING, ("release",), ("rollback",)}  # these two go by the folder, and ask its servers
    for words in TALKING:
        assert options(words)["--url"].envvar == "TRIDENT_URL", words
        assert "--timeout" in options(words), words


def test_commands_print_json_for_machines() -> None:
    assert {words for words in COMMANDS if "--json" not in options(words)} == WITHOUT_JSON


@pytest.mark.parametrize(
    ("line", "expected"),
    [("trident mod", {"models"}), ("trident models ", {"load", "unload", "remove"}), ("trident infer --ur", {"--url"})],
)
def test_a_shell_completes_commands_and_options(line: str, expected: set[str]) -> None:
    asked = {"_TRIDENT_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    result = CliRunner().invoke(app, [], prog_name="trident", env=asked)
    assert set(result.output.split()) == expected
    assert "complete_bash" in CliRunner().invoke(app, ["--show-completion", "bash"], prog_name="trident").output
