"""The backend's README names what is there: parameters, metrics, configurations, and the tests behind its table."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from triton_tensorflow.settings import PARAMETERS, PRECISIONS, SERVER_OPTIONS, TRITONS_OWN
from tritonclient.grpc import model_config_pb2

ROOT = Path(__file__).parents[2]
BACKEND = ROOT / "ensemble" / "trident" / "backends" / "tensorflow"
README = (BACKEND / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """A section's text, with those below it."""
    _, _, rest = README.partition(f"\n## {title}\n")
    assert rest, f"no section {title}"
    return rest.partition("\n## ")[0]


def tables(text: str) -> list[list[list[str]]]:
    """Tables as rows of cells, without their heads."""
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    return [[re.split(r"(?<!\\)\|", row)[1:-1] for row in block.splitlines()[2:]] for block in blocks]


def names(cell: str) -> list[str]:
    """What stands between backquotes."""
    return re.findall(r"`([^`]+)`", cell)


def defined(*globs: str) -> set[str]:
    """The functions that test files define."""
    files = [path for pattern in globs for path in (ROOT / "tests").glob(pattern)]
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in files]
    return {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def metrics() -> set[str]:
    """The names in `metrics.METRICS`; the module imports what only Triton's stub has."""
    tree = ast.parse((BACKEND / "triton_tensorflow" / "metrics.py").read_text(encoding="utf-8"))
    (found,) = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["METRICS"]
    ]
    values: dict[str, tuple[str, str]] = ast.literal_eval(found)
    return {name for name, _ in values.values()}


def test_every_parameter_is_in_the_table_and_no_other() -> None:
    rows = tables(section("Settings"))[0]
    assert [name for row in rows for name in names(row[0])] == list(PARAMETERS)
    assert all(len(row) == 4 and all(cell.strip() for cell in row) for row in rows)


def test_the_other_settings_are_those_of_the_code() -> None:
    text = section("Settings")
    code = (BACKEND / "triton_tensorflow" / "settings.py").read_text(encoding="utf-8")
    options = set(re.findall(r"--backend-config=tensorflow,([a-z-]+)", text))
    assert options - {"gpu-memory-fraction"} == set(SERVER_OPTIONS)
    assert f"| {', '.join(PRECISIONS)} |" in text
    assert {name for name in re.findall(r"\b[A-Z]{3,}(?:_[A-Z]+)+\b", text) if f'"{name}"' not in code} == set()
    assert "FORCE_CPU_ONLY_INPUT_TENSORS" in TRITONS_OWN


def test_every_metric_is_in_the_table_and_no_other() -> None:
    (rows,) = tables(section("Metrics"))
    assert {name for row in rows for name in names(row[0])} == metrics()


def test_every_row_of_the_parity_table_has_a_verdict_and_tests() -> None:
    parity, beyond = tables(section("Parity"))
    assert len(parity) > 40
    for row in parity:
        what, verdict, tests = (cell.strip() for cell in row)
        assert re.match(r"supported$|supported \(.+\)$|(different|not possible) \(.+\)(; .+)?$", verdict), what
        assert tests, what
    for row in (*parity, *beyond):
        assert re.fullmatch(r"`test_\w+`( `test_\w+`)*", row[-1].strip()), row


def test_every_test_that_is_named_exists() -> None:
    named = {name for table in tables(section("Parity")) for row in table for name in names(row[-1])}
    assert named
    assert named - defined("contract/*.py", "unit/*.py") == set()


def blocks(kind: str) -> list[Any]:
    return re.findall(rf"^```{kind}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("text", blocks("pbtxt"))
def test_every_configuration_is_one(text: str) -> None:
    text_format.Parse(text, model_config_pb2.ModelConfig())


def test_nothing_of_this_machine_is_in_it() -> None:
    assert str(ROOT) not in README
    assert re.search(r"/(?:home|root|work|Users)/", README) is None
