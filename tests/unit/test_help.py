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


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_has_an_example_in_its_help(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*words, "--help"])
    assert result.exit_code == 0
    assert f"\n  trident {' '.join(words)}" in result.output


@pytest.mark.parametrize("words", [(), ("backend",), ("models",), ("new",)], ids=" ".join)
def test_no_summary_is_cut_off_in_eighty_columns(words: tuple[str, ...]) -> None:
    lines = CliRunner().invoke(app, [*words, "--help"]).output.splitlines()
    summaries = lines[lines.index("Commands:") + 1 :]
    assert summaries
    assert not [line for line in summaries if line.rstrip().endswith(("…", "..."))]
