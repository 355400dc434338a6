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
